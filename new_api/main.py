"""Make the FastAPI app from its routers. Serve it with ``uvicorn new_api.main:app``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import Depends, FastAPI

from new_api import errors
from new_api.database import make_engine, make_sessions
from new_api.identity import login, sessions
from new_api.providers import Providers
from new_api.routers import avatars, catalogue, dashboard, orders, reports, session, tokens, users
from new_api.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the app, configured from the environment unless ``settings`` say otherwise."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = make_engine(settings.database_url)
        app.state.sessions = make_sessions(engine)
        async with httpx.AsyncClient(base_url=settings.providers_url, timeout=10) as client:
            app.state.providers = Providers(client)
            yield
        await engine.dispose()

    # Flask-Login looks into the session on every request, so every answer of the legacy app says
    # `Vary: Cookie`. Asking who is logged in everywhere keeps caches as careful as they were.
    app = FastAPI(title="Shop", version="2.0", lifespan=lifespan, dependencies=[Depends(login)])
    sessions.install(app)
    errors.install(app)
    for resource in (users, session, tokens, catalogue, orders, dashboard, reports, avatars):
        app.include_router(resource.router)
    return app


app = create_app()
