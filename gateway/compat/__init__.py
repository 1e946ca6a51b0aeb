"""Offer authors of the new app what Flask gave them (sessions, identity, flashes, CSRF), and rehearsals."""

from gateway.compat.csrf import FlaskCsrf
from gateway.compat.flashes import flash, take_flashes
from gateway.compat.host import LEGACY_APP_KEY, ROLE_KEY
from gateway.compat.identity import FlaskLogin, Identity
from gateway.compat.reader import SessionReader, read_session
from gateway.compat.rehearsal import rehearsable
from gateway.compat.session import FlaskSession, FlaskSessions, SessionMiddleware

__all__ = [
    "LEGACY_APP_KEY",
    "ROLE_KEY",
    "FlaskCsrf",
    "FlaskLogin",
    "FlaskSession",
    "FlaskSessions",
    "Identity",
    "SessionMiddleware",
    "SessionReader",
    "flash",
    "read_session",
    "rehearsable",
    "take_flashes",
]
