"""Find which route of the new app answers a row: the one that Starlette's router would pick.

Starlette takes the first route in order that matches path and method, so a loose route registered
early hides a fitting one behind it. Its converters are starlette/convertors.py's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.table.coverage import TemplateIndex, covers
from gateway.table.inventory import Converter
from gateway.table.template import Parameter, Template, assemble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.table.inventory import NewInventory, NewRoute

_PARAMETER = re.compile("{([a-zA-Z_][a-zA-Z0-9_]*)(:[a-zA-Z_][a-zA-Z0-9_]*)?}")
_CONVERTERS: Mapping[str, Converter] = {
    "str": Converter("str", regex="[^/]+"),
    "path": Converter("path", regex=".*", weight=200, is_isolating=False),
    "int": Converter("int", regex="[0-9]+", weight=50),
    "float": Converter("float", regex=r"[0-9]+(\.[0-9]+)?", weight=50),
    "uuid": Converter(
        "uuid", regex="[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}"
    ),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Be the new route that a request of a row reaches.

    ``hidden`` is the route written for the row when ``route``, an earlier and looser one, comes first.
    ``rival`` is an earlier one that takes some of the row's paths though it is not more specific.
    """

    route: NewRoute
    template: Template | None
    hidden: NewRoute | None = None
    rival: NewRoute | None = None


class NewRoutes:
    """Answer questions about the new app's routes of one kind (``route`` or ``websocket``)."""

    def __init__(self, new: NewInventory, kind: str) -> None:
        self.kind = kind
        self.routes = tuple(route for route in new.routes if route.kind in (kind, "mount"))
        # What a host or a foreign kind of route takes cannot be told from outside.
        self.unsettled = next((route for route in new.routes if route.kind in ("host", "other")), None)
        self.templates = {route.index: template_of(route) for route in self.routes}
        self._index = TemplateIndex((self.templates[route.index], route) for route in self.routes)

    def pick(self, template: Template, method: str | None) -> Answer | None:
        """Return what answers ``method`` (None: any) on the paths of ``template``, or None."""
        near = [(other, route) for other, route in self._index.overlapping(template) if fits(route, method)]
        own = next(((other, route) for other, route in near if other.shape == template.shape), None)
        loose = next(((other, route) for other, route in near if covers(other, template)), None)
        if loose is not None and own is not None and loose[1].index < own[1].index:
            return Answer(loose[1], loose[0], hidden=own[1])
        picked = own or loose
        if picked is not None:
            return Answer(picked[1], picked[0], rival=_rival(template, picked[1], near))
        return None if self.unsettled is None else Answer(self.unsettled, None)

    def same_shape(self, shape: str) -> Iterator[NewRoute]:
        """Yield the routes whose path has ``shape``."""
        return (route for route in self.routes if self.templates[route.index].shape == shape)


def _rival(template: Template, route: NewRoute, near: list[tuple[Template, NewRoute]]) -> NewRoute | None:
    """Return an earlier route that takes some paths which the table's order gives to ``template``.

    A more specific one takes them in the table, too, unless Starlette's converter takes more texts than
    the table's of that name: a float without a dot, a UUID without dashes, an empty path.
    """
    return next(
        (
            other_route
            for other, other_route in near
            if other_route.index < route.index
            and not (_is_more_specific(other, template) and _is_read_alike(other))
        ),
        None,
    )


def _is_read_alike(template: Template) -> bool:
    return all(parameter.converter.name in ("str", "int") for parameter in template.parameters)


def _is_more_specific(one: Template, other: Template) -> bool:
    for this, that in zip(one.parts, other.parts, strict=False):
        if (this.kind, this.weighting) != (that.kind, that.weighting):
            return (this.kind, this.weighting) < (that.kind, that.weighting)
    return False


def fits(route: NewRoute, method: str | None) -> bool:
    """Tell whether a route answers ``method``; HEAD is answered by a GET, as the gateway serves it."""
    if method is None or route.methods is None:
        return True
    return method in route.methods or (method == "HEAD" and "GET" in route.methods)


def template_of(route: NewRoute) -> Template:
    """Return a new route's path as a template; a mount's takes everything below it."""
    path = route.path.rstrip("/") + "/{path:path}" if route.kind == "mount" else route.path
    tokens: list[str | Parameter] = []
    place = 0
    for found in _PARAMETER.finditer(path):
        word = (found[2] or ":str")[1:]
        # A convertor that the app registered itself: one segment, as far as anybody can tell.
        converter = _CONVERTERS.get(word) or Converter(f"starlette:{word}", regex="[^/]+", weight=99)
        tokens.extend((path[place : found.start()], Parameter(found[1], converter)))
        place = found.end()
    tokens.append(path[place:])
    if not path.startswith("/"):
        tokens.insert(0, "/")
    return assemble(path, tokens)
