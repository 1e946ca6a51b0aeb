"""Migrate an API from Flask to FastAPI endpoint by endpoint, behind one base URL.

The public API is :func:`create_app` (``create_app("routing.yaml") -> FastAPI``) and :func:`load_table`.
Both are imported on first use, so that ``import gateway.compat`` costs a new app nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.app import create_app
    from gateway.loading import load_table

__all__ = ["create_app", "load_table"]


def __getattr__(name: str) -> Any:
    if name == "create_app":
        from gateway.app import create_app

        return create_app
    if name == "load_table":
        from gateway.loading import load_table

        return load_table
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
