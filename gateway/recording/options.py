"""Say what to record, as a worker is told: JSON in one environment variable, the same after a restart."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.errors import SettingsError

RECORD_VARIABLE = "GATEWAY_RECORD"
"""The environment variable that carries a recording's options to the worker."""

DEFAULT_LIMIT = 10_000
DEFAULT_SIZE_BYTES = 256 * 1024 * 1024
DEFAULT_BODY_CAP_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Hold a recording's bounds.

    ``path`` is the HAR file, ``key`` the secret (hex) of its digests, which the file never holds. The
    recording ends after ``limit`` exchanges, ``for_s`` seconds (None: no such bound) or ``size_bytes``.
    ``sample_bp`` is the share of callers in hundredths of a percent; ``redact`` adds names to the built-in
    ones.
    """

    path: str
    key: str
    limit: int = DEFAULT_LIMIT
    for_s: float | None = None
    size_bytes: int = DEFAULT_SIZE_BYTES
    body_cap_bytes: int = DEFAULT_BODY_CAP_BYTES
    sample_bp: int = 10_000
    is_redacting: bool = True
    redact: tuple[str, ...] = ()

    def encode(self) -> str:
        """Return the environment variable's value."""
        return json.dumps(asdict(self))


def read_options(text: str) -> RecordOptions:
    """Return the options that ``text`` encodes; raise :class:`SettingsError` for anything else."""
    try:
        values = json.loads(text)
        options = RecordOptions(**{**values, "redact": tuple(values.get("redact", ()))})
        if len(bytes.fromhex(options.key)) < 16:
            raise ValueError("its key is too short")
    except (ValueError, TypeError, AttributeError) as exc:
        raise SettingsError(f"{RECORD_VARIABLE}: {exc}; `gateway record` sets it") from exc
    if not Path(options.path).is_absolute():
        raise SettingsError(f"{RECORD_VARIABLE}: the path must be absolute; `gateway record` sets it")
    return options
