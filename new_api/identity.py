"""Know who asks: by the session that both apps share, or by a bearer token."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from fastapi import Depends, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import select

from gateway.compat import FlaskLogin, FlaskSessions, Identity
from new_api.database import Session
from new_api.models import User
from new_api.settings import secret_key

TOKEN_LIFETIME = timedelta(hours=1)

# The legacy app's settings: a session opened on one side is open on the other.
sessions = FlaskSessions({"SECRET_KEY": secret_key(), "SESSION_COOKIE_SAMESITE": "Lax"})
login = FlaskLogin(sessions)
bearer = OAuth2PasswordBearer("token", auto_error=False)

hasher = PasswordHasher()
# The hash of a random text, checked when the e-mail is unknown, so that an answer's time does not tell
# which e-mails exist.
NOBODYS_HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$cf0mHcPgZfJhZCTE8aGGUw$dP2E98W9SqZK+3G7a7BtgCOHnlFz3Sue+26luY/yp18"
)


async def get_current_user(
    session: Session,
    identity: Annotated[Identity | None, Depends(login)],
    token: Annotated[str | None, Depends(bearer)],
) -> User:
    """Return the user who asks: whom the session names, else whom the token names; 401 for nobody."""
    for user_id in (identity and identity.user_id, token and read_token(token)):
        user = await session.get(User, int(user_id)) if user_id else None
        if user is not None and user.is_active:
            return user
    raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})


CurrentUser = Annotated[User, Depends(get_current_user)]


async def find_by_password(session: Session, email: str, password: str) -> User | None:
    """Return the active user with this e-mail and password, or None."""
    user = await session.scalar(select(User).where(User.email == email.lower()))
    known_hash = user.password_hash if user else NOBODYS_HASH
    is_right = await run_in_threadpool(is_password, known_hash, password)
    return user if user and is_right and user.is_active else None


def is_password(password_hash: str, password: str) -> bool:
    """Check a password: tens of milliseconds of arithmetic, which do not belong in the event loop."""
    try:
        return hasher.verify(password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


async def hash_password(password: str) -> str:
    """Return the password's hash, computed outside of the event loop."""
    return await run_in_threadpool(hasher.hash, password)


def make_token(user: User) -> str:
    """Return a signed token that names the user for an hour."""
    issued = datetime.now(UTC)
    claims = {"sub": str(user.id), "iat": issued, "exp": issued + TOKEN_LIFETIME}
    return jwt.encode(claims, secret_key(), algorithm="HS256")


def read_token(token: str) -> str | None:
    """Return the user id that a valid token names, or None."""
    try:
        claims = jwt.decode(token, secret_key(), algorithms=["HS256"], options={"require": ["sub", "exp"]})
    except jwt.InvalidTokenError:
        return None
    user_id: str = claims["sub"]
    return user_id if user_id.isdecimal() else None
