"""Hold what the two apps can answer, as plain values that the table is compiled against.

:mod:`gateway.backends.inspect` reads them off live apps; ``flask routes`` output read from a file
gives the same values for a legacy app that runs elsewhere. Nothing here imports a framework.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Converter:
    """Be one parameter converter as a router applies it.

    ``regex`` is the pattern without anchors or groups; ``weight`` is Werkzeug's (lower is tried
    first: int and float 50, default 100, path 200); ``is_isolating`` is False when one value may
    span several segments. ``to_python`` turns the text into a value and raises ``ValueError``
    (Werkzeug's ``ValidationError`` is one) for text that only looked right; None: any text is right.
    """

    name: str
    arguments: str = ""
    regex: str = "[^/]+"
    weight: int = 100
    is_isolating: bool = True
    to_python: Callable[[str], Any] | None = None


@dataclass(frozen=True, slots=True)
class LegacyRule:
    """Be one URL rule of the legacy app.

    ``rule`` is Flask's spelling (``/users/<int:user_id>``). ``methods`` is None for any method and
    holds HEAD and OPTIONS where Flask adds them. ``index`` is the order of registration.
    ``converters`` maps parameter names to the converter that the app would use.
    ``view`` is ``file:line`` of the view function, ``doc`` its docstring.
    """

    rule: str
    endpoint: str
    methods: frozenset[str] | None
    index: int
    is_strict_slashes: bool = True
    is_websocket: bool = False
    host: str = ""
    subdomain: str = ""
    converters: Mapping[str, Converter] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    blueprint: str = ""
    view: str = ""
    doc: str = ""


@dataclass(frozen=True, slots=True)
class LegacyInventory:
    """Be everything that is known of the legacy app's rules.

    ``is_known`` is False when its rules cannot be seen (any WSGI callable, a URL without ``rules``).
    ``make_converter`` builds the app's own converter from a name and its arguments as Flask writes
    them (``("any", "about,help")``) and raises ``LookupError`` for a name the app does not know,
    ``ValueError`` for arguments it does not take.
    """

    is_known: bool
    rules: tuple[LegacyRule, ...] = ()
    make_converter: Callable[[str, str], Converter] | None = None
    converter_names: tuple[str, ...] = ()
    has_host_matching: bool = False
    has_merge_slashes: bool = True


@dataclass(frozen=True, slots=True)
class NewRoute:
    """Be one route of the new app, flattened out of its routers, in the order in which it is tried.

    ``path`` is Starlette's spelling with every prefix (``/users/{user_id:int}``). ``methods`` is
    None for a mount or a websocket. ``kind`` tells an ordinary route from a mount (which answers
    everything below ``path``), a host, or something unknown. ``route`` is the framework's own object,
    for :mod:`gateway.backends` only.
    """

    path: str
    methods: frozenset[str] | None
    index: int
    name: str = ""
    kind: str = "route"  # route, websocket, mount, host, other
    converters: Mapping[str, str] = field(default_factory=dict)
    endpoint: str = ""
    is_in_schema: bool = True
    route: Any = None


@dataclass(frozen=True, slots=True)
class NewInventory:
    """Be what is known of the new app's routes; ``is_known`` is False for a URL or a foreign app."""

    is_known: bool
    routes: tuple[NewRoute, ...] = ()
    redirects_slashes: bool = True
