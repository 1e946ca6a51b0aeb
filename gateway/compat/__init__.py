"""Offer authors of the new app what Flask gave them: sessions, identity, JSON, errors."""

from gateway.compat.host import LEGACY_APP_KEY
from gateway.compat.session import (
    FlaskSession,
    FlaskSessions,
    SessionMiddleware,
    SessionReader,
    read_session,
)

__all__ = [
    "LEGACY_APP_KEY",
    "FlaskSession",
    "FlaskSessions",
    "SessionMiddleware",
    "SessionReader",
    "read_session",
]
