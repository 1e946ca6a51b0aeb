"""Give out bearer tokens, and say whose a token is."""

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required

from legacy_flask.identity import TOKEN_LIFETIME, find_by_password, make_token
from legacy_flask.validation import text

blueprint = Blueprint("tokens", __name__)


@blueprint.post("/token")
def create() -> ResponseReturnValue:
    """Return a token for a name and a password, sent as a form as OAuth 2 has it."""
    # An empty field counts as a missing one.
    form = {name: value or None for name, value in request.form.items()}
    user = find_by_password(text(form, "username", longest=254), text(form, "password", longest=1000))
    if user is None:
        return {"error": "Wrong e-mail address or password"}, 401, {"WWW-Authenticate": "Bearer"}
    lifetime_s = int(TOKEN_LIFETIME.total_seconds())
    return jsonify({"access_token": make_token(user), "token_type": "bearer", "expires_in": lifetime_s})


@blueprint.get("/me")
@login_required  # type: ignore[untyped-decorator]  # Flask-Login has no types
def me() -> ResponseReturnValue:
    """Show the user who asks."""
    return jsonify(current_user.to_dict())
