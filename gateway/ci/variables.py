"""Fill in ``{{…}}`` in a request, with the answers that this side has given so far.

==========================================  ==========================================================
``{{name}}``                                a variable of the file (``@name = value``)
``{{login.response.body.$.user.id}}``       a JSONPath (RFC 9535) into the answer of ``# @name login``
``{{login.response.body.*}}``               that answer's whole body
``{{login.response.headers.Location}}``     one of its headers
``{{form.response.field.csrf_token}}``      a hidden field of the page
``{{$processEnv NAME}}``                    an environment variable
``{{$guid}}``, ``{{$timestamp}}``           the same on both sides, other in each run
==========================================  ==========================================================
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonpath_rfc9535
from jsonpath_rfc9535 import JSONPathError

from gateway.ci.corpus import CorpusError, as_sent, split_url
from gateway.ci.html_values import hidden_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.ci.corpus import Scenario
    from gateway.ci.exchange import Sent
    from gateway.compare.observation import Observation

_PLACEHOLDER = re.compile(r"\{\{\s*(.+?)\s*\}\}")
_RESPONSE = re.compile(r"(\w+)\.response\.(body|headers|field)\.(.+)")


class Variables:
    """Know what ``{{…}}`` stands for, on one side, within one scenario; learns as answers come."""

    def __init__(self, own: Mapping[str, str], *, environ: Mapping[str, str], seed: str, now_s: int) -> None:
        self._own = own
        self._environ = environ
        self._seed = seed
        self._now_s = now_s
        self._answers: dict[str, Observation | None] = {}
        self._count = 0

    def learn(self, name: str, observation: Observation | None) -> None:
        """Remember the answer to the request called ``name``; None: that there will be one."""
        if name:
            self._answers[name] = observation

    def fill(self, text: str, place: str, depth: int = 0) -> str:
        """Return ``text`` filled in; raises :class:`CorpusError` for what stands for nothing."""
        if "{{" not in text:
            return text
        return _PLACEHOLDER.sub(lambda found: self._value(found[1], place, depth), text)

    def _value(self, word: str, place: str, depth: int) -> str:
        if word in self._own:
            if depth > 10:
                raise CorpusError(f"{place}: {{{{{word}}}}} stands for itself")
            return self.fill(self._own[word], place, depth + 1)
        if word == "$guid":
            self._count += 1
            return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._seed}/{self._count}"))
        if word == "$timestamp":
            return str(self._now_s)
        if word.startswith("$processEnv "):
            name = word.partition(" ")[2].strip()
            if name not in self._environ:
                raise CorpusError(f"{place}: the environment has no {name}")
            return self._environ[name]
        found = _RESPONSE.fullmatch(word)
        if found is None:
            raise CorpusError(f"{place}: {{{{{word}}}}} stands for nothing; a file says `@{word} = value`")
        name, part, rest = found.groups()
        where = f"{place}: {{{{{word}}}}}"
        if name not in self._answers:
            raise CorpusError(f"{where}: no request before this one is called {name!r} (# @name {name})")
        if part == "body" and rest != "*":
            try:
                jsonpath_rfc9535.compile(rest)
            except JSONPathError as exc:
                raise CorpusError(f"{where}: {exc}") from exc
        answer = self._answers[name]
        # While a corpus is only looked at there are names and no answers yet.
        return "" if answer is None else _taken(answer, part, rest, where)


def _taken(answer: Observation, part: str, rest: str, place: str) -> str:
    body = answer.body.captured
    if part == "headers":
        for header, raw in answer.headers:
            if header.decode("latin-1").lower() == rest.lower():
                return raw.decode("latin-1")
        raise Unfilled(f"{place}: the answer ({answer.status}) has no such header")
    text = body.decode("utf-8", "replace")
    if part == "field":
        fields = hidden_fields(text)
        if rest not in fields:
            raise Unfilled(f"{place}: the page ({answer.status}) has no such hidden field")
        return fields[rest]
    if rest == "*":
        return text
    try:
        document: Any = json.loads(text)
        values = [node.value for node in jsonpath_rfc9535.find(rest, document)]
    except ValueError as exc:
        raise Unfilled(f"{place}: the answer ({answer.status}) is no JSON") from exc
    if not values:
        raise Unfilled(f"{place}: the answer ({answer.status}) has nothing there")
    found: Any = values[0]
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


class Unfilled(CorpusError):
    """Report that an answer lacks what a later request needs: that request cannot be sent on this side."""


def check_templates(scenario: Scenario, environ: Mapping[str, str]) -> None:
    """See that everything a scenario asks for can be had, as far as that can be told before it is sent.

    Raises :class:`CorpusError` with the place.
    """
    variables = Variables(dict(scenario.variables), environ=environ, seed=scenario.name, now_s=0)
    for request in scenario.requests:
        body = request.body.decode("utf-8", "surrogateescape")
        if not request.is_literal:
            for text in (request.target, *(value for _, value in request.headers), body):
                variables.fill(text, request.source)
        variables.learn(request.name, None)


def filled(sent: Sent, variables: Variables, place: str) -> Sent:
    """Return a request with its target, headers and body filled in."""
    body = sent.body
    if b"{{" in body:
        text = body.decode("utf-8", "surrogateescape")
        body = variables.fill(text, place).encode("utf-8", "surrogateescape")
    target = variables.fill(sent.target, place)
    if target != sent.target:
        target = split_url(target, place)[1]
    target = as_sent(target)
    return replace(
        sent,
        target=target,
        headers=tuple((name, variables.fill(value, place)) for name, value in sent.headers),
        body=body,
    )
