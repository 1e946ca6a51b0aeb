"""Compare what two answers set as cookies, cookie by cookie and attribute by attribute (RFC 6265, 4.1).

Two deletions of one cookie are the same, however they are spelled: ``Max-Age=0`` and a date long past.
``Expires`` is compared as a moment, with room for the time that passed between the two answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.compare.difference import Kind
from gateway.compare.found import Found
from gateway.compare.instants import parse_instant
from gateway.compare.json_text import ABSENT

EXPIRES_ROOM_S = 60
"""Two ``Expires`` this close are the same: both were counted from a clock that went on."""

_LONG_PAST_S = 86_400 * 366
_SPELLINGS = {
    "expires": "Expires",
    "max-age": "Max-Age",
    "domain": "Domain",
    "path": "Path",
    "secure": "Secure",
    "httponly": "HttpOnly",
    "samesite": "SameSite",
    "partitioned": "Partitioned",
}


@dataclass(frozen=True, slots=True)
class SetCookie:
    """Be one ``Set-Cookie``: attribute names are lower-case, one without a value has an empty one."""

    name: str
    value: str
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def is_deletion(self) -> bool:
        """Tell whether a browser that reads this forgets the cookie."""
        age = self.attributes.get("max-age")
        if age is not None:
            return age.startswith("-") or (age.isdigit() and age.strip("0") == "")
        instant = parse_instant(self.attributes.get("expires"))
        return instant is not None and instant.seconds < _LONG_PAST_S


def parse_set_cookie(text: str) -> SetCookie:
    """Return what a ``Set-Cookie`` value says; a text that says nothing has an empty name."""
    first, *rest = text.split(";")
    name, separator, value = first.partition("=")
    if not separator:
        name, value = "", first
    attributes: dict[str, str] = {}
    for part in rest:
        key, _, content = part.partition("=")
        if key.strip():
            attributes[key.strip().lower()] = content.strip()
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return SetCookie(name.strip(), value, attributes)


def cookie_differences(control: tuple[str, ...], candidate: tuple[str, ...]) -> list[Found]:
    """Return how two lists of ``Set-Cookie`` values differ, at ``cookie:NAME`` or ``cookie:NAME;Path``."""
    found: list[Found] = []
    left, right = _by_name(control), _by_name(candidate)
    for name, mine in left.items():
        theirs = right.get(name, [])
        for one, other in zip(mine, theirs, strict=False):
            found.extend(_differences(one, other))
        found.extend(
            Found(Kind.HEADER_MISSING, f"cookie:{name}", _shown(each), ABSENT, "cookie")
            for each in mine[len(theirs) :]
        )
    for name, theirs in right.items():
        found.extend(
            Found(Kind.HEADER_ADDED, f"cookie:{name}", ABSENT, _shown(each), "cookie")
            for each in theirs[len(left.get(name, [])) :]
        )
    return found


def _by_name(values: tuple[str, ...]) -> dict[str, list[SetCookie]]:
    named: dict[str, list[SetCookie]] = {}
    for value in values:
        cookie = parse_set_cookie(value)
        named.setdefault(cookie.name, []).append(cookie)
    for same in named.values():
        same.sort(key=lambda each: (each.attributes.get("domain", ""), each.attributes.get("path", "")))
    return named


def _shown(cookie: SetCookie) -> str:
    return cookie.value


def _differences(control: SetCookie, candidate: SetCookie) -> list[Found]:
    place = f"cookie:{control.name}"
    is_gone = control.is_deletion and candidate.is_deletion
    found: list[Found] = []
    if not is_gone and control.is_deletion != candidate.is_deletion:
        cause = "deleted" if control.is_deletion else "kept"
        found.append(Found(Kind.HEADER_VALUE, place, control.value, candidate.value, cause))
    elif not is_gone and control.value != candidate.value:
        found.append(Found(Kind.HEADER_VALUE, place, control.value, candidate.value, "cookie"))
    ignored = {"expires", "max-age"} if control.is_deletion or candidate.is_deletion else set()
    for key in sorted((control.attributes.keys() | candidate.attributes.keys()) - ignored):
        left, right = control.attributes.get(key), candidate.attributes.get(key)
        if not _is_same_attribute(key, left, right):
            found.append(
                Found(
                    Kind.HEADER_VALUE,
                    f"{place};{_SPELLINGS.get(key, key)}",
                    ABSENT if left is None else left,
                    ABSENT if right is None else right,
                    "attribute",
                )
            )
    return found


def _is_same_attribute(key: str, control: str | None, candidate: str | None) -> bool:
    if control == candidate:
        return True
    if control is None or candidate is None:
        return False
    if key == "expires":
        left, right = parse_instant(control), parse_instant(candidate)
        return left is not None and right is not None and abs(left.seconds - right.seconds) <= EXPIRES_ROOM_S
    if key == "domain":
        return control.lstrip(".").lower() == candidate.lstrip(".").lower()
    if key in ("secure", "httponly", "partitioned"):
        return True
    return key == "samesite" and control.lower() == candidate.lower()
