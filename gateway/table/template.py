"""Parse path templates, in the table's spelling and in Flask's, into what the matcher walks.

The law of this file: a template is cut into parts exactly where Werkzeug cuts a rule
(werkzeug/routing/rules.py, ``Rule._parse_rule``): one part a segment, and one part for everything from
the first parameter that may span segments to the end. A part's regular expression and weighting are
Werkzeug's, so that both routers read the same template alike. Nothing here knows a framework.

    /users/{user_id:int}        literal 'users', then a part with one parameter
    /reports/{name}.csv         literal text around a parameter
    /files/{name:path}/raw      one part for 'files', one final part for the rest
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import IntEnum
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.table.converters import BUILT_IN, PLAIN, is_plain, make_built_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.table.inventory import Converter

    MakeConverter = Callable[[str, str], Converter]

    Weighting = tuple[int, tuple[tuple[int, int], ...], int, tuple[int, ...]]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FLASK_PARAMETER = re.compile(
    r"<(?:(?P<converter>[a-zA-Z_][a-zA-Z0-9_]*)(?:\((?P<arguments>.*?)\))?:)?"
    r"(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)>"
)
_SLASHES = re.compile("/{2,}")


class TemplateError(GatewayError, ValueError):
    """Refuse a path template; ``repair`` says how to mend it."""

    def __init__(self, message: str, repair: str = "") -> None:
        super().__init__(f"{message}; {repair}" if repair else message)
        self.message = message
        self.repair = repair


class Kind(IntEnum):
    """Order parts by how much they say: the smaller, the more specific."""

    LITERAL = 0
    MIXED = 1
    TYPED = 2
    PLAIN = 3
    PATH = 4


@dataclass(frozen=True, slots=True)
class Parameter:
    """Be one parameter of a template; ``is_open`` when the table wrote ``{name}`` without a converter."""

    name: str
    converter: Converter
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Be one step of a template: a literal segment, or a segment (or the whole rest) with parameters.

    ``pieces`` are literal texts and parameters in order (slashes inside a final part included),
    ``weighting`` is Werkzeug's. ``is_suffixed`` marks a final part that ends in a slash: the slash is
    then a part of its own, as in Werkzeug, so that its absence can be noticed.
    """

    kind: Kind
    pieces: tuple[str | Parameter, ...]
    pattern: str
    weighting: Weighting
    is_final: bool = False
    is_suffixed: bool = False

    @property
    def literal(self) -> str:
        """Return the text of a literal part."""
        return self.pattern


@dataclass(frozen=True, slots=True)
class Template:
    """Be one path template.

    ``text`` is the table's spelling, ``shape`` its literals with ``{}`` in every parameter's place.
    """

    text: str
    shape: str
    parts: tuple[Part, ...]
    parameters: tuple[Parameter, ...]
    _compiled: list[re.Pattern[str]] = field(default_factory=list, compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the parameters' names, from the left."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def is_literal(self) -> bool:
        """Tell whether the template takes exactly one path."""
        return not self.parameters

    @property
    def has_trailing_slash(self) -> bool:
        """Tell whether the template ends in a slash (the root does, too)."""
        return self.shape.endswith("/")

    @property
    def specificity(self) -> tuple[tuple[Kind, Weighting], ...]:
        """Return what orders templates, segment by segment from the left; smaller is more specific."""
        return tuple((part.kind, part.weighting) for part in self.parts)

    def params(self, path: str) -> dict[str, str]:
        """Return the text of every parameter in the decoded ``path``; empty for a path of another template.

        Leading slashes count as one, and a path that differs by a trailing slash is read as the one
        that does not, since a row can own both. Never raises on anything a client sends.
        """
        if path[:2] == "//":
            path = "/" + path.lstrip("/")
        found = self._regex.match(path)
        if found is None:
            found = self._regex.match(path[:-1] if path[-1:] == "/" else path + "/")
            if found is None:
                return {}
        return {parameter.name: found[f"_{i}"] for i, parameter in enumerate(self.parameters)}

    def matches(self, path: str) -> bool:
        """Tell whether the decoded ``path`` is one of the template's, going by the expressions alone."""
        return self._regex.match(path) is not None

    def accepts(self, path: str) -> bool:
        """Tell whether each parameter's text in ``path`` is right for its converter, not only right-looking.

        Digits beyond ASCII are refused: Werkzeug takes them for numbers, Starlette does not.
        """
        for name, text in self.params(path).items():
            converter = next(each.converter for each in self.parameters if each.name == name)
            if converter.name in ("int", "float") and not text.isascii():
                return False
            if converter.to_python is not None:
                try:
                    converter.to_python(text)
                except ValueError:
                    return False
                except Exception:  # noqa: S112 - a converter that needs its app's context cannot say no here
                    continue
        return True

    def format(self, params: Mapping[str, str]) -> str:
        """Return the decoded path with ``params`` filled in. Raises KeyError for a missing name."""
        texts: list[str] = []
        for part in self.parts:
            texts.append("/")
            texts.extend(piece if isinstance(piece, str) else params[piece.name] for piece in part.pieces)
        return "".join(texts)

    def with_converters(self, converters: Iterable[Converter]) -> Template:
        """Return the same template with other converters, from the left; its text stays as it is."""
        replaced = iter(converters)
        tokens: list[str | Parameter] = []
        for part in self.parts:
            tokens.append("/")
            tokens.extend(
                piece if isinstance(piece, str) else Parameter(piece.name, next(replaced), piece.is_open)
                for piece in part.pieces
            )
        return _assemble(self.text, _split(tokens))

    @property
    def _regex(self) -> re.Pattern[str]:
        # Compiled when first needed: most templates are only ever walked by the matcher.
        if not self._compiled:
            self._compiled.append(_whole_regex(self))
        return self._compiled[0]


def _whole_regex(template: Template) -> re.Pattern[str]:
    number = 0
    texts: list[str] = []
    for part in template.parts:
        texts.append("/")
        for piece in part.pieces:
            if isinstance(piece, str):
                texts.append(re.escape(piece))
            else:
                texts.append(f"(?P<_{number}>{piece.converter.regex})")
                number += 1
        if part.is_suffixed:
            texts.append("(?<!/)")
    return re.compile("".join(texts) + r"\Z")


def parse_template(text: str, make_converter: MakeConverter | None = None) -> Template:
    """Parse a template in the table's spelling (``{name:int}``) or in Flask's (``<int:name>``).

    ``make_converter`` builds the legacy app's own converters; the built-in ones are there anyway.
    Braces that are literal text are doubled. Raises TemplateError.
    """
    if "<" in text and "{" not in text:
        return parse_rule(text, make_converter=make_converter)
    _check_frame(text)
    tokens: list[str | Parameter] = []
    place, literal = 0, ""
    while place < len(text):
        character = text[place]
        if text[place : place + 2] in ("{{", "}}"):
            literal += character
            place += 2
        elif character == "{":
            end = _end_of_parameter(text, place)
            parameter = _parse_parameter(text[place + 1 : end], text, make_converter)
            tokens.extend((literal, parameter))
            place, literal = end + 1, ""
        elif character == "}":
            raise TemplateError(
                f"the path {text!r} closes a brace that it never opened",
                "write {name} for a parameter, or }} for a literal brace",
            )
        else:
            literal += character
            place += 1
    tokens.append(literal)
    _check_names(text, tokens)
    return _assemble(_spell(tokens, "str"), _split(tokens))


def parse_rule(
    rule: str,
    converters: Mapping[str, Converter] | None = None,
    make_converter: MakeConverter | None = None,
) -> Template:
    """Parse a rule in Flask's spelling; ``converters`` (by parameter) come before ``make_converter``.

    Raises TemplateError.
    """
    _check_frame(rule)
    tokens: list[str | Parameter] = []
    place = 0
    for found in _FLASK_PARAMETER.finditer(rule):
        tokens.append(_literal_of(rule, rule[place : found.start()]))
        name, word = found["name"], found["converter"] or "default"
        converter = converters.get(name) if converters else None
        if converter is None:
            converter = _make(word, found["arguments"] or "", rule, make_converter)
        tokens.append(Parameter(name, converter))
        place = found.end()
    tokens.append(_literal_of(rule, rule[place:]))
    _check_names(rule, tokens)
    return _assemble(_spell(tokens), _split(tokens))


def merge_slashes(text: str) -> str:
    """Return ``text`` with runs of slashes made one, as Werkzeug reads a rule."""
    return _SLASHES.sub("/", text)


def make_converter_with(make_converter: MakeConverter | None, name: str, arguments: str) -> Converter:
    """Build a converter: the legacy app's own, else a built-in one.

    Raises LookupError for an unknown name, ValueError for arguments it does not take.
    """
    if name in ("str", "default", "string") and not arguments:
        return PLAIN
    if make_converter is not None:
        try:
            return make_converter(name, arguments)
        except LookupError:
            pass
    return make_built_in(name, arguments)


def spell_converter(converter: Converter) -> str:
    """Return what stands behind the colon in the table; empty for the plain converter."""
    if is_plain(converter):
        return ""
    name = "str" if converter.name in ("default", "string") and not converter.arguments else converter.name
    name = "string" if name == "default" else name
    return f"{name}({converter.arguments})" if converter.arguments else name


def spell(template: Template, *, is_plain_written: bool = False) -> str:
    """Return the table's spelling with every converter written out (plain ones as ``str`` when asked)."""
    tokens: list[str | Parameter] = []
    for part in template.parts:
        tokens.append("/")
        tokens.extend(
            piece if isinstance(piece, str) else Parameter(piece.name, piece.converter)
            for piece in part.pieces
        )
    return _spell(tokens, "str" if is_plain_written else "")


def _check_frame(text: str) -> None:
    if not text.startswith("/"):
        raise TemplateError(f"the path {text!r} does not start with a slash", f"write /{text}")
    outside = re.sub(r"\{[^}]*\}|<[^>]*>", "", text)
    for character, what in (("?", "a query"), ("#", "a fragment")):
        if character in outside:
            raise TemplateError(
                f"the path {text!r} holds {what}, which is no part of a path",
                f"write {text[: text.index(character)]}",
            )


def _check_names(text: str, tokens: list[str | Parameter]) -> None:
    names = [token.name for token in tokens if isinstance(token, Parameter)]
    for name in names:
        if names.count(name) > 1:
            raise TemplateError(
                f"the path {text!r} uses the name {name!r} twice", "give each parameter its own name"
            )


def _end_of_parameter(text: str, start: int) -> int:
    """Return where the brace opened at ``start`` closes; quotes and parentheses in arguments are skipped."""
    depth, quote = 0, ""
    for place in range(start + 1, len(text)):
        character = text[place]
        if quote:
            quote = "" if character == quote else quote
        elif depth and character in "\"'":
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "}" and depth <= 0:
            return place
        elif character == "{" and depth <= 0:
            break
    raise TemplateError(
        f"the path {text!r} opens a brace that it never closes",
        "write {name} for a parameter, or {{ for a literal brace",
    )


def _parse_parameter(inner: str, text: str, make_converter: MakeConverter | None) -> Parameter:
    name, colon, word = inner.partition(":")
    name, word = name.strip(), word.strip()
    if not name:
        raise TemplateError(f"the path {text!r} has a parameter without a name", "write {name}")
    if not _NAME.fullmatch(name):
        raise TemplateError(
            f"{name!r} in {text!r} is no name for a parameter",
            "use letters, digits and underscores, not starting with a digit",
        )
    if not colon:
        return Parameter(name, PLAIN, is_open=True)
    word, parenthesis, arguments = word.partition("(")
    if parenthesis:
        if not arguments.endswith(")"):
            raise TemplateError(
                f"the arguments of {name!r} in {text!r} are not closed", f"write {{{name}:{word}(…)}}"
            )
        arguments = arguments[:-1]
    return Parameter(name, _make(word.strip(), arguments.strip(), text, make_converter))


def _make(name: str, arguments: str, text: str, make_converter: MakeConverter | None) -> Converter:
    try:
        return make_converter_with(make_converter, name, arguments)
    except LookupError:
        known = [*BUILT_IN[:6], *getattr(make_converter, "names", ())]
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        raise TemplateError(
            f"the path {text!r} uses the converter {name!r}, which nobody knows",
            f"did you mean {nearest[0]!r}?" if nearest else f"use one of {', '.join(known)}",
        ) from None
    except ValueError as error:
        raise TemplateError(
            f"the path {text!r}: {error}", "write the arguments as Flask takes them"
        ) from error


def _literal_of(rule: str, literal: str) -> str:
    if "<" in literal:
        raise TemplateError(
            f"the rule {rule!r} has a '<' that starts no parameter", "write <name> or <converter:name>"
        )
    return literal


def _spell(tokens: Iterable[str | Parameter], plain: str = "") -> str:
    texts: list[str] = []
    for token in tokens:
        if isinstance(token, str):
            texts.append(token.replace("{", "{{").replace("}", "}}"))
            continue
        word = "" if token.is_open else spell_converter(token.converter) or plain
        texts.append(f"{{{token.name}:{word}}}" if word else f"{{{token.name}}}")
    return "".join(texts)


def _split(tokens: Iterable[str | Parameter]) -> list[list[str | Parameter]]:
    """Cut tokens at slashes; from a parameter that may span segments on, slashes belong to the part."""
    segments: list[list[str | Parameter]] = []
    is_final = False
    for token in tokens:
        if isinstance(token, Parameter):
            segments[-1].append(token)
            is_final = is_final or not token.converter.is_isolating
            continue
        if is_final:
            if token:
                segments[-1].append(token)
            continue
        first, *others = token.split("/")
        if first:
            segments[-1].append(first)
        segments.extend([other] if other else [] for other in others)
    return segments


def _assemble(text: str, segments: list[list[str | Parameter]]) -> Template:
    parts: list[Part] = []
    for segment in segments:
        parts.extend(_parts_of(segment))
    parameters = tuple(piece for part in parts for piece in part.pieces if isinstance(piece, Parameter))
    shape = "".join("/" + "".join(_shape_of(piece) for piece in part.pieces) for part in parts)
    return Template(text, shape, tuple(parts), parameters)


def _shape_of(piece: str | Parameter) -> str:
    return piece.replace("{", "{{").replace("}", "}}") if isinstance(piece, str) else "{}"


_NOTHING: Weighting = (0, (), 0, ())


def _parts_of(pieces: list[str | Parameter]) -> list[Part]:
    pieces = _join_texts(pieces)
    parameters = [piece for piece in pieces if isinstance(piece, Parameter)]
    if not parameters:
        literal = "".join(piece for piece in pieces if isinstance(piece, str))
        return [Part(Kind.LITERAL, (literal,) if literal else (), literal, _NOTHING)]
    is_final = any(not parameter.converter.is_isolating for parameter in parameters)
    is_suffixed = is_final and isinstance(pieces[-1], str) and pieces[-1].endswith("/")
    if is_suffixed:
        pieces = [*pieces[:-1], str(pieces[-1])[:-1]]
        pieces = [piece for piece in pieces if piece != ""]
    weights = tuple(parameter.converter.weight for parameter in parameters)
    # Werkzeug weighs the literal runs between slashes one by one, slashes excluded.
    runs = [run for piece in pieces if isinstance(piece, str) for run in piece.split("/") if run]
    statics = tuple((number, -len(run)) for number, run in enumerate(runs))
    weighting: Weighting = (-len(statics), statics, -len(weights), weights)
    pattern = _pattern_of(pieces) + ("(?<!/)(/?)" if is_suffixed else "")
    part = Part(
        _kind_of(pieces, parameters, is_final), tuple(pieces), pattern, weighting, is_final, is_suffixed
    )
    return [part, Part(Kind.LITERAL, (), "", _NOTHING)] if is_suffixed else [part]


def _join_texts(pieces: list[str | Parameter]) -> list[str | Parameter]:
    joined: list[str | Parameter] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return joined


def _pattern_of(pieces: Iterable[str | Parameter]) -> str:
    number, texts = 0, []
    for piece in pieces:
        if isinstance(piece, str):
            texts.append(re.escape(piece))
        else:
            texts.append(f"(?P<_{number}>{piece.converter.regex})")
            number += 1
    return "".join(texts)


def _kind_of(pieces: list[str | Parameter], parameters: list[Parameter], is_final: bool) -> Kind:
    if is_final:
        return Kind.PATH
    if any(isinstance(piece, str) for piece in pieces):
        return Kind.MIXED
    return Kind.PLAIN if all(is_plain(parameter.converter) for parameter in parameters) else Kind.TYPED


def assemble(text: str, tokens: Iterable[str | Parameter]) -> Template:
    """Build a template from literal texts and parameters in order; the first starts with a slash."""
    return _assemble(text, _split(tokens))
