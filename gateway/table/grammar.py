"""Read the small languages inside the table's scalars: row keys, shorthands, callers' keys, import strings.

Each is a pure function from the written text to a value of :mod:`gateway.table.spec`, and raises
:class:`Wrong` with the right spelling. What needs the apps (templates, converters) is decided when the
table is compiled, not here.
"""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from gateway.table.spec import ANY_METHOD, WEBSOCKET, KeySource, Pin, RolloutStep, Stage
from gateway.table.spelling import Wrong, listed, nearest, one_word, reading, repair_for_text, shown, text
from gateway.table.units import percent_bp

if TYPE_CHECKING:
    from gateway.table.spec import KeyKind

METHOD_ORDER = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The order of methods in a canonical key; others follow in alphabetical order."""

REFUSED_METHODS = ("CONNECT", "TRACE")
_REGISTERED = frozenset(  # RFC 9110 section 16.1.2, the IANA registry, and what caches use
    (
        *("ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK"),
        *("MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE"),
        *("ORDERPATCH", "PROPFIND", "PROPPATCH", "PURGE", "QUERY", "REBIND", "REPORT", "SEARCH"),
        *("UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL"),
    )
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110 section 5.6.2
_METHOD_ASIDES = {
    **dict.fromkeys(("*", "all", "any"), ANY_METHOD),
    **dict.fromkeys(("websocket", "ws"), WEBSOCKET),
}
_FLASK_PARAMETER = re.compile(
    r"<(?:(?P<converter>[a-zA-Z_]\w*)(?:\((?P<arguments>[^<>]*?)\))?:)?(?P<name>[a-zA-Z_]\w*)>", re.ASCII
)
_STAGE_ASIDES = {
    "old": "legacy",
    "flask": "legacy",
    "off": "legacy",
    "mirror": "shadow",
    "fastapi": "new",
    "v2": "new",
    "removed": "retired",
    "deleted": "retired",
}
_WORDS = tuple(stage.value for stage in Stage)
_KINDS = ("session", "jwt", "header", "cookie", "query", "path", "client")
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class RowKey:
    """Be a row's key, read: ``methods`` in canonical order, ``path`` as written, ``text`` canonical."""

    methods: tuple[str, ...]
    path: str

    @property
    def text(self) -> str:
        """Return the canonical key: methods joined by commas, one space, the path."""
        return f"{','.join(self.methods)} {self.path}"


def parse_row_key(written: str) -> RowKey:
    """Read ``METHODS PATH``; blanks around and between do not matter. Raise :class:`Wrong`."""
    head, slash, tail = written.partition("/")
    if not slash:
        return _without_slash(written)
    path = f"/{tail}".rstrip()
    if not head.strip():
        raise Wrong("the key names no method", f"write GET {path}, or ANY {path} for every method")
    if not head[-1].isspace() and re.fullmatch(r"[A-Za-z, ]+", head):
        repair = f"write {head.strip().upper()} {path}, with a blank between"
        raise Wrong("no blank stands between the methods and the path", repair)
    words = [word.strip() for word in head.split(",")]
    if len(words) == 1 and " " in words[0]:
        repair = f"write {','.join(words[0].split()).upper()} {path}"
        raise Wrong(f"{shown(words[0])} is not one method", repair)
    methods = _methods(words, path)
    _check_path(path, ",".join(methods))
    return RowKey(methods, path)


def _without_slash(written: str) -> RowKey:
    words = written.split()
    if len(words) == 2 and _TOKEN.fullmatch(words[0]):
        raise Wrong("the path does not begin with /", f"write {words[0].upper()} /{words[1]}")
    raise Wrong("is not METHODS PATH", "write a row's key like GET /users/{user_id}")


def sort_methods(methods: tuple[str, ...]) -> tuple[str, ...]:
    """Return methods in the order of a canonical key."""
    rank = {method: index for index, method in enumerate(METHOD_ORDER)}
    return tuple(sorted(methods, key=lambda method: (rank.get(method, len(rank)), method)))


def _methods(words: list[str], path: str) -> tuple[str, ...]:
    for word in words:
        _check_method(word, path)
    if len(set(words)) != len(words):
        twice = next(word for word in words if words.count(word) > 1)
        raise Wrong(f"the method {twice} stands twice", "write it once")
    for alone, why in (
        (ANY_METHOD, "ANY already takes every method"),
        (WEBSOCKET, "WS is not an HTTP method"),
    ):
        if alone in words and len(words) > 1:
            raise Wrong(
                f"{alone} stands beside other methods, but {why}", f"write {alone} {path} as a row of its own"
            )
    return sort_methods(tuple(words))


def _check_method(word: str, path: str) -> None:
    known = (*METHOD_ORDER, ANY_METHOD, WEBSOCKET)
    if word in known or word in _REGISTERED:
        return
    if not word:
        raise Wrong("a method is missing between commas", "remove the comma too many")
    if word.upper() in REFUSED_METHODS:
        raise Wrong(f"the gateway refuses {word.upper()} whoever asks", "remove the method from the row")
    if word.lower() in _METHOD_ASIDES:
        raise Wrong(f"the method {word} is not known", f"write {_METHOD_ASIDES[word.lower()]} {path}")
    if _TOKEN.fullmatch(word) is None or "|" in word:
        parts = [part for part in re.split(r"[^A-Za-z-]+", word) if part]
        repair = f"separate methods by commas: {','.join(parts).upper()} {path}" if len(parts) > 1 else ""
        raise Wrong(f"{shown(word)} is not a method", repair or f"write GET {path}")
    if word.upper() in known or (word != word.upper() and word.upper() in _REGISTERED):
        raise Wrong(f"the method {word} is not in capitals", f"write {word.upper()}")
    meant = nearest(word, known, cutoff=0.65)
    if meant is not None:
        raise Wrong(f"the method {word} is not known", f"did you mean {meant}?")
    if word != word.upper():
        raise Wrong(f"the method {word} is not in capitals", f"write {word.upper()}")


def _check_path(path: str, methods: str) -> None:
    outside = re.sub(r"\{[^{}]*\}", "", path)
    if "<" in outside and _FLASK_PARAMETER.search(outside):
        raise Wrong("the path is written in Flask's way", f"write {methods} {_from_flask(path)}")
    if "?" in outside:
        raise Wrong(
            "the path has a query, which rows do not match", f"write {methods} {path.partition('?')[0]}"
        )
    if "#" in outside:
        raise Wrong("the path has a fragment, which no request carries", "remove the # and what follows")
    if any(not letter.isprintable() for letter in path):
        raise Wrong("the path contains a control character", "remove it")
    if path.startswith("//"):
        raise Wrong("the path begins with two slashes", f"write {methods} /{path.lstrip('/')}")


def _from_flask(path: str) -> str:
    def convert(match: re.Match[str]) -> str:
        converter, arguments, name = match["converter"], match["arguments"], match["name"]
        if converter in (None, "default"):
            return f"{{{name}}}"
        name += f":{'str' if converter == 'string' else converter}"
        return f"{{{name}({arguments})}}" if arguments else f"{{{name}}}"

    return _FLASK_PARAMETER.sub(convert, path)


def parameter_names(path: str) -> frozenset[str]:
    """Return the names of a path's parameters, as far as braces tell."""
    return frozenset(re.findall(r"\{([^{}:]+)[:}]", path))


def parse_stage(value: object) -> Stage:
    """Read a stage; raise :class:`Wrong` with the nearest one."""
    if isinstance(value, str) and value.split()[:1] and value.split()[0] in _WORDS and value not in _WORDS:
        stage, *rest = value.split()
        key = "weight" if stage == Stage.CANARY else "sample"
        repair = f"write stage: {stage}"
        if "%" in rest[-1]:
            repair += f" and {key}: {rest[-1]}"
        raise Wrong(f"{shown(value)} is more than a stage", repair)
    return Stage(one_word(value, _WORDS, _STAGE_ASIDES))


def parse_shorthand(value: str) -> dict[str, Any]:
    """Read a row in one line (``canary 5%``) into the keys of a row: ``stage``, ``weight``, ``sample``."""
    words = value.split()
    if not words:
        raise Wrong("is empty", "write a stage, like legacy")
    if len(words) == 1 and "%" in words[0]:
        raise Wrong(f"{shown(value)} names no stage", f"write canary {words[0]} or shadow {words[0]}")
    stage = Stage(one_word(words[0], _WORDS, _STAGE_ASIDES))
    if len(words) == 1:
        return {"stage": stage.value}
    if len(words) == 3 and words[2] == "%":
        words = [words[0], f"{words[1]}%"]
    if len(words) > 2:
        repair = "write one percentage, or a mapping with stage, weight and sample"
        raise Wrong(f"{shown(value)} is more than a stage with a percentage", repair)
    key = {Stage.CANARY: "weight", Stage.SHADOW: "sample", Stage.NEW: "sample"}.get(stage)
    if key is None:
        raise Wrong(f"{shown(value)}: a percentage means nothing at {stage}", f"write {stage} alone")
    try:
        percent_bp(words[1])
    except Wrong as wrong:
        repair = wrong.repair.replace("write ", f"write {stage} ", 1) if "%" not in words[1] else wrong.repair
        raise Wrong(f"{key} {wrong.message}", repair) from wrong
    return {"stage": stage.value, key: words[1]}


def parse_step(value: object) -> RolloutStep:
    """Read one rung of a rollout: ``shadow``, ``canary 5%`` or ``new``."""
    if not isinstance(value, str):
        raise Wrong(f"must be a step like canary 5%, not {reading(value)}", "write canary 5% or new")
    row = parse_shorthand(value)
    stage = Stage(row["stage"])
    if stage in (Stage.LEGACY, Stage.RETIRED):
        raise Wrong(
            f"{shown(value)} is no step forward that can be automatic", "write shadow, canary N% or new"
        )
    if "sample" in row:
        raise Wrong(
            f"{shown(value)}: only a canary step has a percentage", f"write {stage}, and sample on the row"
        )
    if stage is Stage.CANARY and "weight" not in row:
        raise Wrong("a canary step needs its weight", "write it like canary 5%")
    weight_bp = percent_bp(row["weight"]) if stage is Stage.CANARY else 0
    if stage is Stage.CANARY and weight_bp == 0:
        raise Wrong(f"{shown(value)} sends nobody to new", "write a weight above 0%")
    return RolloutStep(stage, weight_bp)


def parse_key_source(value: object) -> KeySource:
    """Read what identifies a caller: ``session:KEY``, ``jwt:CLAIM``, ``header:NAME``…, or ``client``."""
    if isinstance(value, dict) and len(value) == 1:
        kind, name = next(iter(value.items()))
        if kind in _KINDS:
            raise Wrong("must be text, not a mapping", f"write {kind}:{shown(name)}, without the blank")
    if not isinstance(value, str):
        raise Wrong(f"must be text like header:authorization, not {reading(value)}", repair_for_text(value))
    kind, colon, name = value.partition(":")
    if kind not in _KINDS:
        meant = nearest(kind, _KINDS)
        if meant:
            repair = f"did you mean {meant}{colon}{name}?"
        else:
            repair = "write session:KEY, jwt:CLAIM, header:NAME, cookie:NAME, query:NAME, path:NAME or client"
        raise Wrong(f"{shown(value)} names no part of a request", repair)
    if kind == "client":
        if colon:
            raise Wrong(f"{shown(value)}: client takes no name", "write client")
        return KeySource("client")
    if not name or name != name.strip():
        raise Wrong(f"{shown(value)} names no {kind} key", f"write {kind}:NAME, without blanks")
    if kind in ("header", "cookie") and _TOKEN.fullmatch(name) is None:
        raise Wrong(f"{shown(name)} cannot be the name of a {kind}", "check its spelling")
    if any(not letter.isprintable() for letter in name):
        raise Wrong(f"{shown(value)} contains a control character", "remove it")
    return KeySource(cast("KeyKind", kind), name.lower() if kind == "header" else name)


def parse_pin(value: object) -> Pin:
    """Read a pinned caller: ``header:x-team=qa``, ``cookie:vip=1``, ``client=10.0.0.7``."""
    if not isinstance(value, str):
        raise Wrong(f"must be text like header:x-team=qa, not {reading(value)}", repair_for_text(value))
    left, equals, right = value.partition("=")
    if not equals or not right:
        raise Wrong(f"{shown(value)} gives no value to compare with", "write it like header:x-team=qa")
    return Pin(parse_key_source(left.strip()), right.strip())


def check_import_string(value: object) -> str:
    """Return ``module:attribute`` or ``module:factory(literals)``; raise :class:`Wrong` for anything else."""
    written = text(value)
    module, colon, target = written.partition(":")
    if not colon:
        found, _, last = written.partition("(")[0].rpartition(".")
        ending = written[len(found) + 1 :] if found else ""
        repair = f"write {found}:{ending}" if found and "(" in last + ending else f"write {written}:app"
        if written.endswith(".py"):
            repair = f"write {written.removesuffix('.py').replace('/', '.')}:app"
        raise Wrong(f"{shown(written)} names a module but nothing in it", repair)
    if _DOTTED.fullmatch(module) is None:
        repair = (
            f"write {module.removesuffix('.py').strip('./').replace('/', '.')}:{target}"
            if module
            else "write module:attribute"
        )
        raise Wrong(f"{shown(module)} is not the name of a module", repair)
    _check_target(target)
    return written


def _check_target(target: str) -> None:
    example = "write module:attribute or module:factory()"
    try:
        tree = ast.parse(target, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise Wrong(f"{shown(target)} names nothing in a module", example) from None
    if isinstance(tree, ast.Call):
        arguments = [*tree.args, *(keyword.value for keyword in tree.keywords)]
        has_stars = any(keyword.arg is None for keyword in tree.keywords)
        for argument in arguments:
            try:
                ast.literal_eval(argument)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                has_stars = True
        if has_stars:
            repair = 'write literals only, like create_app("production")'
            raise Wrong(f"{shown(target)} has an argument that is no literal", repair)
        tree = tree.func
    while isinstance(tree, ast.Attribute):
        tree = tree.value
    if not isinstance(tree, ast.Name):
        raise Wrong(f"{shown(target)} names nothing in a module", example)


def check_argv(value: object) -> tuple[str, ...]:
    """Return the words of a command, given as a list; raise :class:`Wrong`, showing the list for one text."""
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError:
            words = value.split()
        repair = "write " + "[" + ", ".join(f'"{word}"' for word in words) + "]" if words else ""
        raise Wrong("must be a list of words, since no shell reads it", repair or "write [program, argument]")
    if not isinstance(value, list) or not value:
        raise Wrong("must be a list of words", "write [program, argument]")
    for word in value:
        if not isinstance(word, str) or not word or "\0" in word:
            raise Wrong(f"{shown(word)} is not text", repair_for_text(word) or "write every word as text")
    return tuple(value)


def check_url(value: object, schemes: tuple[str, ...] = ("http", "https")) -> str:
    """Return a URL with one of the schemes and a host, without user, query or fragment."""
    written = text(value)
    try:
        parts = urlsplit(written)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Wrong(f"{shown(written)} is not a URL", f"write {schemes[0]}://HOST:PORT") from None
    if parts.scheme not in schemes or "://" not in written:
        bare = written.rpartition("://")[2]
        raise Wrong(f"{shown(written)} is not {listed(schemes)}", f"write {schemes[0]}://{bare}")
    if not host or any(letter.isspace() for letter in written):
        raise Wrong(f"{shown(written)} names no host", f"write {parts.scheme}://HOST:PORT")
    return written


def check_upstream_url(value: object) -> str:
    """Return the URL of a backend: scheme, host, perhaps port and path, and nothing else."""
    written = check_url(value)
    parts = urlsplit(written)
    if parts.username is not None or parts.password is not None:
        raise Wrong(
            "the URL carries a user name or password", "remove it: requests bring their own credentials"
        )
    if parts.query or parts.fragment or written.endswith(("?", "#")):
        raise Wrong(f"{shown(written)} has a query or fragment", "write scheme, host, port and path alone")
    return written


def check_public_path(value: object) -> str:
    """Return a fixed path: begins with /, no trailing slash, no parameters, no blanks."""
    written = text(value)
    if not written.startswith("/"):
        raise Wrong(f"{shown(written)} does not begin with /", f"write /{written.strip('/')}")
    if written == "/" or written.startswith("//"):
        raise Wrong(f"{shown(written)} would take every path", "write a path like /-")
    if written.endswith("/"):
        raise Wrong(f"{shown(written)} ends with /", f"write {written.rstrip('/')}")
    if re.search(r"[\s{}<>?#%\\]|/\.{1,2}(?:/|$)", written):
        raise Wrong(f"{shown(written)} is not a fixed path", "write letters, digits, / and -")
    return written


def check_root_path(value: object) -> str:
    """Return a mount prefix: empty, or a fixed path."""
    return "" if value == "" else check_public_path(value)


def check_new_path(value: object) -> str:
    """Return a path template on the new backend; its parameters are checked when it is compiled."""
    written = text(value).strip()
    if not written.startswith("/"):
        meant = f"/{written}" if " " not in written else f"/{written.partition('/')[2]}"
        raise Wrong(f"{shown(written)} does not begin with /", f"write the path alone, like {meant}")
    if _FLASK_PARAMETER.search(re.sub(r"\{[^{}]*\}", "", written)):
        raise Wrong("the path is written in Flask's way", f"write {_from_flask(written)}")
    return written


def check_compare_place(value: object) -> str:
    """Return the place of a comparison rule: a JSONPath, ``header:``, ``cookie:``, ``status`` or ``body``.

    Or of a row that was written: ``rows:TABLE`` or ``rows:TABLE.COLUMN``.
    """
    written = text(value).strip()
    kind, colon, name = written.partition(":")
    if written in ("status", "body"):
        return written
    if colon and kind in ("header", "cookie"):
        if _TOKEN.fullmatch(name) is None:
            raise Wrong(f"{shown(written)} names no {kind}", f"write {kind}:NAME, without blanks")
        return f"header:{name.lower()}" if kind == "header" else written
    if colon and kind == "rows":
        if re.fullmatch(r"[^\s.:]+(\.[^\s.:]+)?", name) is None:
            raise Wrong(f"{shown(written)} names no table", "write rows:TABLE or rows:TABLE.COLUMN")
        return written
    if written.startswith("$"):
        rest = written[1:]
        if rest and (rest[0] not in ".[" or rest.endswith(".") or rest.count("[") != rest.count("]")):
            raise Wrong(f"{shown(written)} is not a JSONPath", "write it like $.items[*].id (RFC 9535)")
        return written
    if re.fullmatch(r"\.?[A-Za-z_][\w.\[\]*]*", written):
        meant = nearest(written, ("status", "body"), cutoff=0.75)
        raise Wrong(
            f"{shown(written)} is no place in an answer", f"write {meant or '$.' + written.lstrip('.')}"
        )
    repair = "write a JSONPath like $.id, header:NAME, cookie:NAME, status, body or rows:TABLE.COLUMN"
    raise Wrong(f"{shown(written)} is no place in an answer", repair)
