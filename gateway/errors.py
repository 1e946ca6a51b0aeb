"""Name every failure that the gateway reports, and say where it happened and how to mend it.

    GatewayError
    ├── SettingsError            an environment variable or option that makes no sense
    ├── TableError               routing.yaml is refused; carries every problem found
    ├── EditError                a machine edit of routing.yaml that cannot be made
    ├── RequestRefused           the request itself is malformed or over a limit (4xx)
    ├── OrderRefused             what a person asked of the running gateway cannot be done (4xx, 503)
    └── BackendError             a backend could not do its part
        ├── BackendImportError   its import string leads nowhere, or importing it failed
        ├── BackendUnavailable   nothing answered at its address (502)
        ├── BackendMalformed     the head of its response must not go on the wire (502)
        ├── BackendOverloaded    its queue is full (503, Retry-After)
        ├── BackendTimeout       no first byte within the row's timeout (504)
        └── BackendTorn          it failed after its response had begun: the connection is cut

A foreign exception is translated at one door, always ``from`` its cause.
This module imports nothing of the gateway but values, so that every floor may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class GatewayError(Exception):
    """Be the root of every exception that the gateway raises on purpose."""


class SettingsError(GatewayError):
    """Report an environment variable or an option that makes no sense."""


class Severity(StrEnum):
    """Tell whether a problem refuses the table (``error``) or is only shown (``warning``)."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """Describe one thing that is wrong with a table, where it stands, and its repair.

    ``line`` counts from 1 (0: the file as a whole); ``row`` is the row's key as written, or the
    dotted place of a key outside the rows (``server.docs``), or empty.
    """

    severity: Severity
    source: str
    line: int
    row: str
    message: str
    repair: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        middle = f"{self.row}: " if self.row else ""
        end = f"; {self.repair}" if self.repair else ""
        return f"{place}: {middle}{self.message}{end}"

    @property
    def is_error(self) -> bool:
        """Tell whether this problem refuses the table."""
        return self.severity is Severity.ERROR


class TableError(GatewayError):
    """Refuse a table; ``problems`` holds every problem found, the text only those that are errors."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        refusing = [problem for problem in self.problems if problem.is_error] or self.problems
        super().__init__("\n".join(str(problem) for problem in refusing))


class EditError(GatewayError):
    """Report that a machine edit of the table cannot be made, and why."""


class RequestRefused(GatewayError):
    """Refuse a request before any backend sees it.

    ``status`` is the HTTP status to answer with, ``headers`` are extra response headers.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        is_closing: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = tuple(headers)
        self.is_closing = is_closing


class OrderRefused(GatewayError):
    """Refuse what a person asked of the running gateway, and say what to do instead.

    ``status`` is 400 (it makes no sense), 404 (there is no such route), 409 (it is not allowed) or 503
    (it cannot be done now).
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class BackendError(GatewayError):
    """Report that the backend called ``backend`` (``legacy`` or ``new``) could not do its part."""

    status = 502

    def __init__(self, backend: str, detail: str) -> None:
        super().__init__(detail)
        self.backend = backend
        self.detail = detail


class BackendImportError(BackendError):
    """Report an import string that leads nowhere, or an app whose import failed."""


class BackendUnavailable(BackendError):
    """Report that nothing answered at the backend's address."""


class BackendMalformed(BackendError):
    """Report a response whose status line or headers would break the message apart."""


class BackendOverloaded(BackendError):
    """Report that the backend's queue is full; ``retry_after_s`` (seconds) is a fair wait."""

    status = 503

    def __init__(self, backend: str, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(backend, detail)
        self.retry_after_s = retry_after_s


class BackendTimeout(BackendError):
    """Report that no first byte of a response came within the row's timeout."""

    status = 504


class BackendTorn(BackendError):
    """Report a failure after the response had begun; the server must cut the connection."""
