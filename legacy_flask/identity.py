"""Know who asks: by Flask-Login's session, or by a bearer token checked by hand."""

from datetime import UTC, datetime, timedelta

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from flask import Flask, Request, current_app, jsonify, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager
from sqlalchemy import select

from legacy_flask.database import session
from legacy_flask.models import User

TOKEN_LIFETIME = timedelta(hours=1)

login_manager = LoginManager()
hasher = PasswordHasher()
# The hash of a random text, checked when the e-mail is unknown, so that an answer's time does not tell
# which e-mails exist.
NOBODYS_HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$cf0mHcPgZfJhZCTE8aGGUw$dP2E98W9SqZK+3G7a7BtgCOHnlFz3Sue+26luY/yp18"
)


@login_manager.user_loader  # type: ignore[untyped-decorator]  # Flask-Login has no types
def load_user(user_id: str) -> User | None:
    """Return the user whom the session names, unless the account is closed."""
    user = session().get(User, int(user_id))
    return user if user is not None and user.is_active else None


@login_manager.request_loader  # type: ignore[untyped-decorator]  # Flask-Login has no types
def load_user_from_token(incoming: Request) -> User | None:
    """Return the user whom the bearer token names, or None."""
    scheme, _, token = incoming.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        claims = jwt.decode(
            token, current_app.config["SECRET_KEY"], algorithms=["HS256"], options={"require": ["sub", "exp"]}
        )
        user: User | None = load_user(claims["sub"])
    except (jwt.InvalidTokenError, ValueError):
        return None
    return user


@login_manager.unauthorized_handler  # type: ignore[untyped-decorator]  # Flask-Login has no types
def answer_unauthorized() -> ResponseReturnValue:
    """Send people to the login page, and tell programs 401."""
    if request.blueprint == "admin":
        return redirect(url_for("admin.login", next=request.path))
    return jsonify({"error": "Not authenticated"}), 401, {"WWW-Authenticate": "Bearer"}


def init_app(app: Flask) -> None:
    """Install the login manager."""
    login_manager.init_app(app)


def find_by_password(email: str, password: str) -> User | None:
    """Return the active user with this e-mail and password, or None."""
    user = session().scalar(select(User).where(User.email == email.lower()))
    try:
        hasher.verify(user.password_hash if user else NOBODYS_HASH, password)
    except (VerifyMismatchError, InvalidHashError):
        return None
    return user if user and user.is_active else None


def make_token(user: User) -> str:
    """Return a signed token that names the user for an hour."""
    issued = datetime.now(UTC)
    claims = {"sub": str(user.id), "iat": issued, "exp": issued + TOKEN_LIFETIME}
    return jwt.encode(claims, current_app.config["SECRET_KEY"], algorithm="HS256")
