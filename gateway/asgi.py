"""Offer the gateway to any ASGI server: ``uvicorn gateway.asgi:app``, with ``GATEWAY_CONFIG`` set if need be.

A table that is refused ends the process with exit code 3 and every problem on stderr, as
``gateway serve`` does.
"""

from __future__ import annotations

import sys

from gateway.app import create_app
from gateway.errors import TableError

try:
    app = create_app()
except TableError as refused:
    print(f"gateway: the table is refused\n{refused}", file=sys.stderr)  # noqa: T201 - the server's log is not set up yet
    raise SystemExit(3) from refused
