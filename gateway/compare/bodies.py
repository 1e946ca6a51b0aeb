"""Compare two bodies: settle equal bytes at once, else by what they are.

An error's body that is another sort of thing, or says its trouble under other names, is one difference
(``error.shape``) and not a dozen; so is the page under a redirect, which no client reads.

Beyond the cap on captured bytes only lengths and digests are known. Where bytes are what a client gets (text,
images), other digests are a difference. Where they may mean the same (JSON, compressed answers), nothing is
decided, and the comparison says that it did not come to its end.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from gateway.compare.content import Content, content_of
from gateway.compare.difference import Kind
from gateway.compare.found import Found
from gateway.compare.headers import content_type
from gateway.compare.json_diff import JsonDiff
from gateway.compare.json_text import ABSENT
from gateway.compare.observation import header_value
from gateway.compare.rules import Marks
from gateway.compare.spelling import JSON_SPACE, first_reordered, has_same_numbers, spellings
from gateway.compare.text import first_difference, hexadecimal

if TYPE_CHECKING:
    from gateway.compare.observation import Body, Observation
    from gateway.compare.rules import RuleSet

REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class BodyResult:
    """Be what comparing two bodies came to.

    ``is_type_told`` says that a difference tells of the media types, so that the header need not.
    ``undecided`` is a difference in bytes that may mean nothing: it counts where a rule accepts it, and else
    ``note`` says why the comparison did not come to its end. ``more`` counts differences of the kinds,
    equivalences and folded places of some of those ``found``, beyond what is kept one by one.
    """

    found: tuple[Found, ...] = ()
    marks: Marks = field(default_factory=Marks)
    note: str = ""
    is_type_told: bool = False
    undecided: Found | None = None
    more: tuple[tuple[tuple[Kind, str], int], ...] = ()


@dataclass(frozen=True, slots=True)
class BodyTerms:
    """Hold what the comparison of bodies depends on besides the bodies."""

    rules: RuleSet
    base_urls: tuple[str, str]
    identity_keys: tuple[str, ...]


def body_differences(control: Observation, candidate: Observation, terms: BodyTerms) -> BodyResult:
    """Return how two bodies differ; those beyond the cap by digest, as far as that decides it."""
    left, right = control.body, candidate.body
    has_same_coding = _coding(control) == _coding(candidate)
    if left.is_truncated or right.is_truncated:
        if left.length_bytes == right.length_bytes and left.digest == right.digest and has_same_coding:
            return BodyResult()
        return _beyond_the_cap(control, candidate, terms)
    if left.captured == right.captured and has_same_coding and not terms.rules.has_maps:
        return BodyResult()
    mine = content_of(control)
    if has_same_coding and _is_spaced_otherwise(mine, control, candidate):
        theirs = replace(mine, data=right.captured)
    else:
        theirs = content_of(candidate)
    if control.status in REDIRECTS and candidate.status in REDIRECTS:
        return _redirect(mine, theirs)
    is_error = control.status >= 400 and candidate.status >= 400
    if mine.sort != theirs.sort:
        if mine.data == theirs.data:
            return BodyResult()  # the same bytes under another name: the header tells
        kind = Kind.ERROR_SHAPE if is_error else Kind.BODY_TYPE
        return BodyResult((_of_sorts(kind, mine, theirs),), is_type_told=True)
    if mine.sort == "json":
        if is_error and _has_other_shape(mine.value, theirs.value):
            marks = terms.rules.marks(mine.value, theirs.value)
            if any(marks.places.values()):
                return json_differences(mine, theirs, terms)  # a rule speaks of the members one by one
            one = Found(Kind.ERROR_SHAPE, "body", mine.value, theirs.value, *_shape_cause(mine, theirs))
            return BodyResult((one,), marks)
        return json_differences(mine, theirs, terms)
    if mine.data == theirs.data:
        return BodyResult()
    if mine.sort == "bytes":
        at = first_difference(mine.data, theirs.data)
        values = hexadecimal(mine.data, at), hexadecimal(theirs.data, at)
        return BodyResult((Found(Kind.BYTES, "body", *values),))
    if mine.text == theirs.text:
        return BodyResult()  # one text in two charsets: the header tells
    return BodyResult((Found(Kind.TEXT, "body", mine.text, theirs.text),))


def _is_spaced_otherwise(mine: Content, control: Observation, candidate: Observation) -> bool:
    """Tell whether the candidate's is control's JSON text (``mine``) but for white space around it.

    That is how most answers of Flask and FastAPI differ, and they need not be parsed twice. (With a NUL it
    is a text in UTF-16 or 32, where a byte of white space is no character; a BOM is one only at the start.)
    """
    one, other = control.body.captured, candidate.body.captured
    if mine.sort != "json" or mine.data is not one:
        return False
    text = one.strip(JSON_SPACE)
    if text != other.strip(JSON_SPACE) or b"\0" in text or text.startswith(BOM_UTF8):
        return False
    return header_value(control.headers, b"content-type") == header_value(candidate.headers, b"content-type")


def _coding(observation: Observation) -> list[bytes]:
    return [value for name, value in observation.headers if name.lower() == b"content-encoding"]


def _beyond_the_cap(control: Observation, candidate: Observation, terms: BodyTerms) -> BodyResult:
    sides = control, candidate
    largest = max(each.body.length_bytes for each in sides)
    left, right = (_size_and_digest(each.body) for each in sides)
    found = Found(Kind.BYTES, "body", left, right, "digest", str(largest))
    has_other_rules = any(each.rule.rule != "ignore" for each in terms.rules.named("place", "body"))
    if not has_other_rules and not any(_coding(each) for each in sides) and all(map(_is_bytewise, sides)):
        return BodyResult((found,))
    note = (
        f"The bodies differ in their bytes ({left} against {right}) and were not captured whole, so whether "
        "they mean the same is not known: raise the cap (compare.body_cap, --body-cap) above "
        f"{largest} bytes."
    )
    return BodyResult(note=note, undecided=found)


def _is_bytewise(observation: Observation) -> bool:
    """Tell whether the declared type is one whose bytes are its meaning."""
    declared = content_type(header_value(observation.headers, b"content-type"))[0]
    return bool(declared) and "json" not in declared


def _size_and_digest(body: Body) -> str:
    return f"{body.length_bytes} bytes, SHA-256 {(body.digest or sha256(body.captured).hexdigest())[:16]}"


def _redirect(control: Content, candidate: Content) -> BodyResult:
    if control.data == candidate.data:
        return BodyResult()
    one = Found(
        Kind.REDIRECT,
        "body",
        _sort_and_size(control),
        _sort_and_size(candidate),
        "body",
        equivalence="redirect_307_308",
    )
    return BodyResult((one,), is_type_told=True)


def _sort_and_size(content: Content) -> str:
    return f"{_words(content)} ({len(content.data)} bytes)" if content.data else "no body"


def _words(content: Content) -> str:
    return "no body" if content.sort == "nothing" else content.media or content.sort


def _of_sorts(kind: Kind, control: Content, candidate: Content) -> Found:
    cause, detail = "", ""
    if control.is_misdeclared or candidate.is_misdeclared:
        cause = "misdeclared"
    elif candidate.sort == "json" and type(candidate.value) is str:
        is_returned = candidate.value in (control.text, control.text.rstrip("\n"))
        cause = "returned_text" if control.text and is_returned else ""
    elif candidate.sort == "json" and isinstance(candidate.value, dict) and "detail" in candidate.value:
        cause = "detail"
    left = f"{control.sort}: {_beginning(control)}" if control.data else ABSENT
    right = f"{candidate.sort}: {_beginning(candidate)}" if candidate.data else ABSENT
    return Found(kind, "body", left, right, cause, detail)


def _beginning(content: Content) -> str:
    if content.sort == "bytes":
        return f"{len(content.data)} bytes"
    return content.data[:200].decode("utf-8", "backslashreplace")


def _has_other_shape(control: object, candidate: object) -> bool:
    if isinstance(control, dict) and isinstance(candidate, dict):
        return bool(control or candidate) and control.keys().isdisjoint(candidate)
    return isinstance(control, dict | list) != isinstance(candidate, dict | list) or (
        isinstance(control, dict) != isinstance(candidate, dict)
    )


def _shape_cause(control: Content, candidate: Content) -> tuple[str, str]:
    if not isinstance(control.value, dict) or not isinstance(candidate.value, dict):
        return "", ""
    detail = candidate.value.get("detail", ABSENT)
    if isinstance(detail, dict) and not control.value.keys().isdisjoint(detail):
        return "wrapped", ""
    if isinstance(detail, list):
        return "validation", ", ".join(list(control.value)[:5])
    return "keys", ", ".join(list(control.value)[:5])


def json_differences(control: Content, candidate: Content, terms: BodyTerms) -> BodyResult:
    """Return how two JSON bodies differ in value, and where they do not, in spelling."""
    try:
        marks = terms.rules.marks(control.value, candidate.value)
        is_counting = not terms.rules.rules
        diff = JsonDiff(terms.identity_keys, terms.base_urls, marks, is_counting=is_counting)
        is_one = control.value is candidate.value
        is_equal = not marks.has_maps and (is_one or control.value == candidate.value)
        if is_equal and (is_one or has_same_numbers(control.data, candidate.data)):
            diff.reordered = first_reordered(control.value, candidate.value)
        else:
            diff.compare(control.value, candidate.value)
    except RecursionError:
        left, right = (each.data.decode("utf-8", "backslashreplace") for each in (control, candidate))
        found = (Found(Kind.TEXT, "body", left, right),) if left != right else ()
        return BodyResult(found, note="The bodies are nested too deeply to be compared as JSON.")
    if control.data != candidate.data:
        has_same_values = all(each.cause == "map" and each.control == each.candidate for each in diff.found)
        diff.found.extend(
            spellings(control.data, candidate.data, diff.reordered, has_same_values=has_same_values)
        )
    return BodyResult(tuple(diff.found), marks, more=tuple(diff.more.items()))
