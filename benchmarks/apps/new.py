"""Be the new app of the benchmarks: FastAPI apps of several sizes, flat or with one router per resource.

Every resource is one GET with a path parameter and a response model.
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel


class Item(BaseModel):
    """Be what every resource answers."""

    id: int
    resource: str


def path_of(resource: int) -> str:
    """Return the template of one resource."""
    return f"/resource-{resource}/{{item_id}}"


def flat(count: int) -> FastAPI:
    """Return an app with ``count`` routes of its own."""
    app = FastAPI()
    for resource in range(count):
        _add(app, path_of(resource), resource)
    return app


def routers(count: int) -> FastAPI:
    """Return an app that includes ``count`` routers with one route each."""
    app = FastAPI()
    for resource in range(count):
        router = APIRouter(prefix=f"/resource-{resource}")
        _add(router, "/{item_id}", resource)
        app.include_router(router)
    return app


def _add(app: FastAPI | APIRouter, path: str, resource: int) -> None:
    name = f"resource-{resource}"

    @app.get(path, response_model=Item)
    async def read(item_id: int) -> Item:
        return Item(id=item_id, resource=name)


def flat_1() -> FastAPI:
    """Return an app with one route."""
    return flat(1)


def flat_10() -> FastAPI:
    """Return an app with 10 routes."""
    return flat(10)


def flat_2000() -> FastAPI:
    """Return an app with 2,000 routes."""
    return flat(2000)


def routers_100() -> FastAPI:
    """Return an app with 100 included routers."""
    return routers(100)


def routers_400() -> FastAPI:
    """Return an app with 400 included routers, near the most that FastAPI starts with."""
    return routers(400)
