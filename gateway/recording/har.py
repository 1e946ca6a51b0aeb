"""Write one exchange as a HAR entry (HTTP Archive 1.2, http://www.softwareishard.com/blog/har-12-spec/).

Pure: values in, JSON-able values out; what comes in has passed the redactor already. Bodies that are
UTF-8 stand as text, all others as base64, so that each is read back byte for byte. Fields whose names begin
with ``_`` are the format's way to say more: ``_session``, ``_served_by``, ``_truncated``, ``_raised``.
"""

from __future__ import annotations

import base64
import codecs
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from gateway.compare.content import decoded
from gateway.compare.observation import Body, header_value, header_values

if TYPE_CHECKING:
    from gateway.compare.observation import Headers, Observation, RequestRecord

Json = dict[str, object]

UNKNOWN = -1
"""HAR's value for a size or a time that was not measured."""


def unwrapped(observation: Observation) -> Observation:
    """Return an observation whose body is without its content coding, as HAR wants it, where that can be.

    The header ``Content-Encoding`` goes with the coding, so that a redactor can look into the body.
    """
    if observation.body.is_truncated or not header_value(observation.headers, b"content-encoding"):
        return observation
    plain = decoded(observation)
    if plain is None:
        return observation
    headers = tuple(pair for pair in observation.headers if pair[0].lower() != b"content-encoding")
    return replace(observation, headers=headers, body=Body.of(plain))


def har_entry(
    record: RequestRecord,
    observation: Observation,
    *,
    started_at: float,
    session: str,
    served_by: str,
    coding: str = "",
) -> Json:
    """Return the entry of one exchange that began at ``started_at`` (seconds since the epoch).

    ``coding`` is the content coding that :func:`unwrapped` took off the answer.
    """
    first_s, end_s = observation.first_byte_s, observation.end_s
    whole_ms = _milliseconds(end_s)
    wait_ms = _milliseconds(first_s if first_s is not None else end_s)
    entry: Json = {
        "startedDateTime": moment(started_at),
        "time": max(whole_ms, 0),
        "request": _request(record),
        "response": _response(observation, coding),
        "cache": {},
        "timings": {"send": 0, "wait": max(wait_ms, 0), "receive": max(round(whole_ms - wait_ms, 3), 0)},
        "pageref": session,
        "_session": session,
        "_served_by": served_by,
    }
    if observation.raised is not None:
        raised = observation.raised
        entry["_raised"] = {"type": raised.type, "message": raised.message}
    return entry


def page(session: str, began: str) -> Json:
    """Return the HAR page that stands for a session; ``began`` is its first entry's ``startedDateTime``."""
    return {"startedDateTime": began, "id": session, "title": session, "pageTimings": {}}


def moment(at_s: float) -> str:
    """Return a time in ISO 8601, UTC, in milliseconds."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _milliseconds(seconds: float | None) -> float:
    return UNKNOWN if seconds is None else round(seconds * 1000, 3)


def _request(record: RequestRecord) -> Json:
    query = record.url.partition("#")[0].partition("?")[2]
    request: Json = {
        "method": record.method,
        "url": record.url,
        "httpVersion": "HTTP/1.1",
        "cookies": [
            {"name": name.strip(), "value": value.strip()}
            for line in header_values(record.headers, b"cookie")
            for name, separator, value in (pair.partition("=") for pair in line.split(";"))
            if separator
        ],
        "headers": _headers(record.headers),
        "queryString": [
            {"name": unquote_plus(name), "value": unquote_plus(value)}
            for name, _, value in (pair.partition("=") for pair in query.split("&"))
            if name
        ],
        "headersSize": UNKNOWN,
        "bodySize": record.body.length_bytes,
    }
    if record.body.length_bytes:
        posted: Json = {"mimeType": header_value(record.headers, b"content-type")}
        request["postData"] = posted | _text(record.body)
    return request


def _response(observation: Observation, coding: str) -> Json:
    body, headers = observation.body, observation.headers
    content: Json = {"size": body.length_bytes, "mimeType": header_value(headers, b"content-type")}
    if coding:
        content["comment"] = f"sent with Content-Encoding: {coding}"
    return {
        "status": observation.status,
        "statusText": _phrase(observation.status),
        "httpVersion": "HTTP/1.1",
        "cookies": [_cookie(value) for value in header_values(headers, b"set-cookie")],
        "headers": _headers(headers),
        "content": content | _text(body),
        "redirectURL": header_value(headers, b"location"),
        "headersSize": UNKNOWN,
        "bodySize": UNKNOWN if coding else body.length_bytes,
    }


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _headers(headers: Headers) -> list[Json]:
    return [
        {"name": name.decode("latin-1"), "value": value.decode("latin-1").strip()} for name, value in headers
    ]


def _cookie(line: str) -> Json:
    first, *attributes = line.split(";")
    name, _, value = first.partition("=")
    cookie: Json = {"name": name.strip(), "value": value.strip()}
    for attribute in attributes:
        key, _, text = attribute.strip().partition("=")
        match key.lower():
            case "path" | "domain" | "expires":
                cookie[key.lower()] = text
            case "httponly":
                cookie["httpOnly"] = True
            case "secure":
                cookie["secure"] = True
            case "samesite":
                cookie["sameSite"] = text
    return cookie


def _text(body: Body) -> Json:
    """Return the fields that carry a body: readable where it is UTF-8; what is missing is said."""
    data = body.captured
    found: Json = {}
    try:
        if body.is_truncated:
            decoder = codecs.getincrementaldecoder("utf-8")()
            found["text"] = decoder.decode(data)  # a character that the cap cut in two is left out
        else:
            found["text"] = data.decode()
    except UnicodeDecodeError:
        found |= {"text": base64.b64encode(data).decode(), "encoding": "base64"}
    if body.is_truncated:
        found["_truncated"] = {"captured": len(data), "length": body.length_bytes, "digest": body.digest}
    return found
