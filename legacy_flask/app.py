"""Make the Flask app from its parts. Serve it with ``flask --app legacy_flask.app run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask

from legacy_flask import database, errors, identity, providers, settings, validation
from legacy_flask.views import admin, avatars, catalogue, dashboard, login, orders, reports, tokens, users

if TYPE_CHECKING:
    from collections.abc import Mapping


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the app, configured from the environment; ``config`` overrides single keys."""
    app = Flask(__name__, static_folder=None)
    app.config.update(settings.from_environment())
    app.config.update(config or {})
    for extension in (database, identity, providers, validation, errors):
        extension.init_app(app)
    for view in (users, login, tokens, catalogue, orders, dashboard, reports, avatars, admin):
        app.register_blueprint(view.blueprint)
    return app
