"""Ask again as somebody who should be kept out: does new let in what legacy keeps out?

Each request that legacy answered (2xx) and that carries credentials is sent again, before the real one: as
nobody, as another user of the corpora, with credentials that are not genuine, with a session that is days and
years old (where the clock can be moved: ``--freeze``), and with a wrong CSRF token. No rule and no
equivalence applies to what is found here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from gateway.ci.html_values import is_csrf_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.ci.exchange import Sent

AGES_S = (("with a session two days old", 172_800), ("with an expired session", 315_360_000))
"""How far the clock is moved: an app may end a session long before its signature does (ten years)."""

_CREDENTIALS = frozenset({"authorization", "cookie", "x-api-key", "x-auth-token", "api-key"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """Be one request as somebody else would send it; ``later_s`` says how much later."""

    who: str
    sent: Sent
    later_s: int = 0


@dataclass(frozen=True, slots=True)
class Attempted:
    """Be what came of an attempt on one side."""

    number: int
    attempt: Attempt
    status: int


def credentials(sent: Sent) -> tuple[tuple[str, str], ...]:
    """Return the headers that say who asks."""
    return tuple((name, value) for name, value in sent.headers if name.lower() in _CREDENTIALS)


def attempts(
    sent: Sent, others: tuple[tuple[tuple[str, str], ...], ...], *, can_move_clock: bool
) -> Iterator[Attempt]:
    """Yield the request as others would send it; ``others`` are credentials seen elsewhere in the corpora."""
    own = credentials(sent)
    if own:
        yield Attempt("as nobody", _with(sent, ()))
        stranger = next((each for each in others if each != own), None)
        if stranger is not None:
            yield Attempt("as another user", _with(sent, stranger))
        yield Attempt(
            "with forged credentials", _with(sent, tuple((name, forged(value)) for name, value in own))
        )
        if can_move_clock:
            for who, later_s in AGES_S:
                yield Attempt(who, sent, later_s)
    wrong = _with_wrong_csrf(sent)
    if wrong is not None:
        yield Attempt("with a wrong CSRF token", wrong)


def _with(sent: Sent, given: tuple[tuple[str, str], ...]) -> Sent:
    kept = tuple((name, value) for name, value in sent.headers if name.lower() not in _CREDENTIALS)
    return replace(sent, headers=(*kept, *given))


def forged(value: str) -> str:
    """Return credentials with one character of each long word changed, where a signature would notice."""

    def change(found: re.Match[str]) -> str:
        word = found[0]
        # The last character of base64 may hold unused bits: the one before always counts.
        at = len(word) - 3
        return word[:at] + ("A" if word[at] != "A" else "B") + word[at + 1 :]

    return re.sub(r"[A-Za-z0-9_-]{8,}", change, value)


def _with_wrong_csrf(sent: Sent) -> Sent | None:
    headers = tuple((name, "wrong" if is_csrf_name(name) else value) for name, value in sent.headers)
    kind = next((value for name, value in sent.headers if name.lower() == "content-type"), "")
    body = sent.body
    if "x-www-form-urlencoded" in kind:
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
        except ValueError:
            pairs = []
        if any(is_csrf_name(name) for name, _ in pairs):
            body = urlencode(
                [(name, "wrong" if is_csrf_name(name) else value) for name, value in pairs]
            ).encode()
    changed = replace(sent, headers=headers, body=body)
    return changed if changed != sent else None


@dataclass(slots=True)
class Hole:
    """Be a way in that new opens, found on ``count`` requests; ``example`` repeats the first."""

    route: str
    who: str
    control_status: int
    candidate_status: int
    example: str
    count: int = 1

    def __str__(self) -> str:
        times = f" ({self.count} requests)" if self.count > 1 else ""
        return (
            f"{self.route}: {self.who}, control keeps out ({self.control_status}) and the candidate lets in "
            f"({self.candidate_status}){times}; no waiver covers this: {self.example}"
        )


def is_let_in(status: int) -> bool:
    """Tell whether an answer gives what was asked for."""
    return 200 <= status < 300
