"""Show the shop's figures."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from legacy_flask.providers import summary

blueprint = Blueprint("dashboard", __name__)


@blueprint.get("/dashboard")
def show() -> ResponseReturnValue:
    """Ask the three providers, one after another: the client waits for the sum of their times."""
    return jsonify(payments=summary("payments"), mails=summary("mails"), events=summary("events"))
