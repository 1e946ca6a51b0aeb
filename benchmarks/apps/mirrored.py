"""Be ten resources that both apps answer alike, for shadowing."""

from __future__ import annotations

from fastapi import FastAPI
from flask import Flask, Response, jsonify

RESOURCES = 10


def path_of(resource: int) -> str:
    """Return the template of one resource, in the table's and FastAPI's spelling."""
    return f"/shared-{resource}/{{item_id}}"


def legacy() -> Flask:
    """Return the Flask app."""
    app = Flask(__name__)

    def read(item_id: int) -> Response:
        return jsonify(id=item_id, items=list(range(20)))

    for resource in range(RESOURCES):
        path = path_of(resource).replace("{item_id}", "<int:item_id>")
        app.add_url_rule(path, f"read-{resource}", read)
    return app


def new() -> FastAPI:
    """Return the FastAPI app."""
    app = FastAPI()

    async def read(item_id: int) -> dict[str, object]:
        return {"id": item_id, "items": list(range(20))}

    for resource in range(RESOURCES):
        app.get(path_of(resource))(read)
    return app
