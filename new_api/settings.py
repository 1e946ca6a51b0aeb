"""Read the app's configuration from the environment.

``SECRET_KEY``, ``DATABASE_URL`` and ``PROVIDERS_URL`` are the whole of it, as for the legacy app: one
secret signs the sessions and tokens of both. Without a ``SECRET_KEY`` one is made for development,
once, in ``var/secret_key``.
"""

import os
import secrets
from functools import cache
from pathlib import Path

from pydantic_settings import BaseSettings

VAR = Path(__file__).resolve().parent.parent / "var"


class Settings(BaseSettings):
    """Hold the addresses of what the app talks to."""

    database_url: str = f"sqlite:///{VAR / 'reference.db'}"
    providers_url: str = "http://127.0.0.1:8900"


@cache
def secret_key() -> str:
    """Return the secret of this process: ``SECRET_KEY``, else the development secret."""
    return os.environ.get("SECRET_KEY") or development_secret(VAR / "secret_key")


def development_secret(path: Path) -> str:
    """Return the secret in ``path``, making it (mode 0600) when it is not there.

    It is written elsewhere and linked into place, so that of several processes one wins and none
    reads half a secret.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32))
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
