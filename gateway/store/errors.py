"""Name how the store fails. It never fails the caller who records, only the one who asks.

GatewayError
└── StoreUnavailable   the database is down, locked, full, read-only, or belongs to a newer gateway
"""

from __future__ import annotations

from gateway.errors import GatewayError


class StoreUnavailable(GatewayError):
    """Report that the state could not be read or written now; trying again later may help."""


def describe(error: BaseException) -> str:
    """Return the first line of what a driver says, without SQL, parameters or passwords."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]
