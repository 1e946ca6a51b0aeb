"""Log in and out with Flask's session cookie."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from flask_login import login_user, logout_user

from legacy_flask.identity import find_by_password
from legacy_flask.validation import json_object, text

blueprint = Blueprint("login", __name__)


@blueprint.post("/login")
def login() -> ResponseReturnValue:
    """Open a session for an e-mail address and a password."""
    body = json_object()
    user = find_by_password(text(body, "email", longest=254), text(body, "password", longest=1000))
    if user is None:
        return {"error": "Wrong e-mail address or password"}, 401
    login_user(user)
    return jsonify(status="logged in", user=user.to_dict())


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """Close the session, if there is one."""
    logout_user()
    return jsonify(status="logged out")
