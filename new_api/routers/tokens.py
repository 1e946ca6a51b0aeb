"""Give out bearer tokens, and say whose a token is."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import OAuth2PasswordRequestForm

from new_api.database import Session
from new_api.identity import TOKEN_LIFETIME, CurrentUser, find_by_password, make_token
from new_api.models import User
from new_api.schemas import Token, UserOut

router = APIRouter(tags=["tokens"])


@router.post("/token")
async def create(form: Annotated[OAuth2PasswordRequestForm, Depends()], session: Session) -> Token:
    """Return a token for a name and a password (OAuth 2's password flow)."""
    user = await find_by_password(session, form.username, form.password)
    if user is None:
        raise HTTPException(401, "Wrong e-mail address or password", {"WWW-Authenticate": "Bearer"})
    return Token(access_token=make_token(user), expires_in=int(TOKEN_LIFETIME.total_seconds()))


@router.get("/me", response_model=UserOut)
async def me(user: CurrentUser) -> User:
    """Show the user who asks."""
    return user
