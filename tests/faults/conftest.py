"""Lend the store's databases to the tests that break them."""

from __future__ import annotations

from tests.store.conftest import state_database

__all__ = ["state_database"]
