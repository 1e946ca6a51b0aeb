"""Read the app's configuration from the environment.

``SECRET_KEY``, ``DATABASE_URL`` and ``PROVIDERS_URL`` are the whole of it. Without a ``SECRET_KEY``
one is made for development, once, in ``var/secret_key``: every process on this machine then agrees.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

VAR = Path(__file__).resolve().parent.parent / "var"


def from_environment() -> dict[str, Any]:
    """Return the app's configuration in Flask's names."""
    return {
        "SECRET_KEY": os.environ.get("SECRET_KEY") or development_secret(VAR / "secret_key"),
        "DATABASE_URL": os.environ.get("DATABASE_URL") or f"sqlite:///{VAR / 'reference.db'}",
        "PROVIDERS_URL": os.environ.get("PROVIDERS_URL") or "http://127.0.0.1:8900",
        "SESSION_COOKIE_SAMESITE": "Lax",
        # A little above the largest avatar, for the form around it.
        "MAX_CONTENT_LENGTH": 2 * 1024 * 1024,
    }


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
