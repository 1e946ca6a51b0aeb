"""Hold the pieces of tables that several tests build on."""

from __future__ import annotations

HEAD = """version: 1
backends:
  legacy: {wsgi: "legacy_flask.app:create_app()"}
  new: {asgi: "new_api.main:app"}
"""
"""The smallest beginning of a table; rows follow."""
