"""Build a small migration, by hand, that the tests of the description and of its page share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, FastAPI
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel

from gateway.table.inventory import Converter, LegacyRule, NewRoute
from gateway.table.route import Matcher, Route, Snapshot
from gateway.table.spec import BackendSpec, RouteSpec, Stage, TableSpec

if TYPE_CHECKING:
    from gateway.table.template import Template


def legacy_rule(rule: str, endpoint: str, *methods: str, index: int = 0, **details: Any) -> LegacyRule:
    """Return a Flask rule; HEAD and OPTIONS are added as Flask does."""
    known = frozenset(methods or ("GET",)) | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return LegacyRule(rule=rule, endpoint=endpoint, methods=known, index=index, **details)


def new_route(path: str, *methods: str, **details: Any) -> NewRoute:
    """Return a route of the new app."""
    return NewRoute(path=path, methods=frozenset(methods or ("GET",)), index=0, **details)


def row(
    methods: str,
    path: str,
    stage: Stage = Stage.LEGACY,
    *,
    legacy: tuple[LegacyRule, ...] = (),
    new: NewRoute | None = None,
    is_listed: bool = True,
    **spec: Any,
) -> Route:
    """Return a compiled row; its template is of no use to a description."""
    words = tuple(sorted(methods.split(",")))
    key = f"{methods} {path}"
    written = RouteSpec(key=key, written=key, line=1, methods=words, path=path, stage=stage, **spec)
    return Route(
        id=key,
        key=key,
        methods=None if words == ("ANY",) else frozenset(words),
        template=cast("Template", None),
        spec=written,
        is_listed=is_listed,
        legacy_rules=legacy,
        new_route=new,
    )


def implicit(rule: LegacyRule) -> Route:
    """Return the row that stands for a rule the table does not list."""
    return row(",".join(rule.methods or ()), rule.rule, legacy=(rule,), is_listed=False)


def snapshot(*routes: Route) -> Snapshot:
    """Return a generation of the table with these rows."""
    return Snapshot(
        generation=1,
        spec=TableSpec("routing.yaml", "", BackendSpec("legacy", "wsgi"), BackendSpec("new", "asgi")),
        routes=routes,
        matcher=cast("Matcher", None),
        websocket_matcher=cast("Matcher", None),
    )


class Address(BaseModel):
    """Be where a user lives."""

    city: str


class User(BaseModel):
    """Be a user."""

    name: str
    address: Address


class Unserved(BaseModel):
    """Be what only an operation speaks of that no row serves."""

    secret: str


bearer = OAuth2PasswordBearer("/token")


def new_app() -> FastAPI:
    """Return a new app with more operations than any row serves."""
    app = FastAPI(title="Shop", version="2.0", openapi_tags=[{"name": "people", "description": "Users"}])

    @app.get("/users/{id}", tags=["people"])
    async def read_user(id: int, token: Annotated[str, Depends(bearer)]) -> User:  # noqa: A002  (as authors write it)
        """Return one user."""
        raise AssertionError

    @app.put("/users/{id}", tags=["people"])
    async def change_user(id: int, user: User) -> User:  # noqa: A002  (as authors write it)
        return user

    @app.get("/v2/search/{term:path}")
    async def search(term: str, limit: int = 10) -> list[str]:
        return [term]

    @app.get("/unlisted")
    async def unlisted() -> Unserved:
        raise AssertionError

    return app


INT = Converter("int", regex=r"\d+", weight=50)


def migration() -> Snapshot:
    """Return a migration in its midst."""
    user = legacy_rule(
        "/users/<int:user_id>",
        "people.user",
        "GET",
        "PUT",
        "DELETE",
        index=1,
        converters={"user_id": INT},
        blueprint="people",
        doc="Show one user.\n\n    Answers 404 when there is none.\n    ---\n    tags: [flasgger]\n    ",
    )
    return snapshot(
        row("GET", "/users/{user_id}", Stage.NEW, legacy=(user,), new=new_route("/users/{id}", "GET")),
        row(
            "PUT",
            "/users/{user_id}",
            Stage.CANARY,
            legacy=(user,),
            new=new_route("/users/{id}", "PUT"),
            weight_bp=550,
        ),
        row(
            "GET",
            "/search/{term:path}",
            Stage.SHADOW,
            legacy=(
                legacy_rule("/search/<path:term>", "search", index=2, converters={"term": Converter("path")}),
            ),
            new=new_route("/v2/search/{term:path}"),
            new_path="/v2/search/{term}",
        ),
        implicit(user),
        implicit(legacy_rule("/reports/<name>.csv", "monthly_report", "GET", "POST", index=3)),
        implicit(legacy_rule("/static/<path:filename>", "static", index=4)),
        implicit(legacy_rule("/shop/static/<path:filename>", "shop.static", index=5)),
        implicit(
            legacy_rule(
                "/pages/<any(about, help):page>",
                "pages.page",
                index=6,
                converters={"page": Converter("any", "about, help")},
                blueprint="pages",
            )
        ),
    )
