"""Lend the store's databases to the tests of what works on it."""

from __future__ import annotations

from tests.store.conftest import postgres_url, sqlite_url, state_database, url

__all__ = ["postgres_url", "sqlite_url", "state_database", "url"]
