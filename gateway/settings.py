"""Read the process settings from the environment (prefix ``GATEWAY_``), apart from ``routing.yaml``.

What a deployment decides stands here (where to listen, how loud to be); what a migration decides stands
in the table. The supervisor never imports this module: pydantic would double its memory, so ``gateway serve``
reads the same variables through its options, and a test keeps the two equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.errors import SettingsError

LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseSettings):
    """Hold one process's settings; every field is the environment variable ``GATEWAY_<FIELD>``.

    ``admin`` is ``HOST:PORT`` or ``off``; ``grace`` is how many seconds a stopping worker may take to finish
    what it is serving; without ``admin_token`` one is made at start and printed.
    """

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", env_ignore_empty=True, frozen=True)

    config: Path = Path("routing.yaml")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=512)
    admin: str = "127.0.0.1:8001"
    admin_token: SecretStr | None = None
    grace: float = Field(default=10.0, ge=0, le=3600)
    log_level: LogLevel = "info"


def read_settings() -> Settings:
    """Return what the environment sets; raise :class:`SettingsError` naming each bad variable."""
    try:
        return Settings()
    except ValidationError as exc:
        lines = (f"GATEWAY_{str(error['loc'][0]).upper()}: {error['msg']}" for error in exc.errors())
        raise SettingsError("\n".join(lines)) from exc
