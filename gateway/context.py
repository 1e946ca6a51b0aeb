"""Carry the request id in a context variable, so that either app's code and its logging can read it."""

from __future__ import annotations

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("gateway_request_id", default="")
"""The id of the request being served in this context; empty outside a request."""
