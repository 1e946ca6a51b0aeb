"""Find out which requests belong together, so that a recording can be replayed session by session.

A session is known by what its requests present: credentials in headers, and cookies whose values are long
enough to be somebody's own. What an answer gives out (a cookie, a token in its body) belongs to the session
that it was given to, so a login leads into the session that it opens, and a cookie that changes with every
answer stays one session. Only keyed digests are remembered, a bounded number of them.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.compare.observation import header_values

if TYPE_CHECKING:
    from gateway.compare.observation import Observation, RequestRecord
    from gateway.compare.redaction import Redactor

ANONYMOUS = "anonymous"
"""The session of requests that present nothing and are given nothing."""

OWN_CHARACTERS = 16
"""A cookie's value must be this long to tell one caller from others; ``lang=en`` does not."""

REMEMBERED = 50_000

_AUTHORIZATION = ("authorization", "proxy-authorization")
_SESSION_LIKE = re.compile(r"sess|sid\b|auth|token|jwt|remember|login", re.IGNORECASE)
_DIGEST = re.compile(rb"redacted:[0-9a-f]{16}")


class Sessions:
    """Name the session of each exchange, in the order in which they are answered."""

    def __init__(self, redactor: Redactor, *, remembered: int = REMEMBERED) -> None:
        self._redactor = redactor
        self._remembered = remembered
        self._known: OrderedDict[str, str] = OrderedDict()

    def session_of(
        self, record: RequestRecord, observation: Observation, redacted_answer: Observation
    ) -> str:
        """Return the session's name. Record and observation come as they were, the last one redacted."""
        presented = self._presented(record)
        given = self._given(observation, redacted_answer)
        session = next((self._known[each] for each in presented if each in self._known), "")
        if not session:
            first = next(iter((*presented, *given)), "")
            session = f"session-{first.rpartition(':')[2][:12]}" if first else ANONYMOUS
        for each in (*presented, *given):
            self._remember(each, session)
        return session

    def _remember(self, digest: str, session: str) -> None:
        self._known.setdefault(digest, session)
        self._known.move_to_end(digest)
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)

    def _presented(self, record: RequestRecord) -> list[str]:
        """Return digests of what the request presents, the likeliest to name a session first."""
        found: list[str] = []
        cookies: list[tuple[bool, str]] = []
        for raw, value in record.headers:
            name, text = raw.decode("latin-1").lower(), value.decode("latin-1").strip()
            if name == "cookie":
                for pair in text.split(";"):
                    key, _, content = pair.strip().partition("=")
                    if len(content) >= OWN_CHARACTERS:
                        cookies.append((not _SESSION_LIKE.search(key), self._redactor.digest(content)))
            elif name in _AUTHORIZATION:
                found.append(self._redactor.digest(text.partition(" ")[2].strip() or text))
            elif self._redactor.is_secret(name) and text:
                found.append(self._redactor.digest(text))
        cookies.sort(key=lambda each: each[0])
        return [*(digest for _, digest in cookies), *found]

    def _given(self, observation: Observation, redacted: Observation) -> list[str]:
        found: list[str] = []
        for line in header_values(observation.headers, b"set-cookie"):
            value = line.partition(";")[0].partition("=")[2].strip()
            if len(value) >= OWN_CHARACTERS:
                found.append(self._redactor.digest(value))
        found.extend(dict.fromkeys(match.decode() for match in _DIGEST.findall(redacted.body.captured)))
        return found
