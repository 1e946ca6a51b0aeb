"""Log in and out with Flask's session cookie, which both apps read and write."""

from fastapi import APIRouter, HTTPException, Request

from new_api.database import Session
from new_api.identity import find_by_password, login
from new_api.schemas import Credentials, LoggedIn, LoggedOut, UserOut

router = APIRouter(tags=["session"])


@router.post("/login")
async def log_in(credentials: Credentials, session: Session, request: Request) -> LoggedIn:
    """Open a session for an e-mail address and a password."""
    user = await find_by_password(session, credentials.email, credentials.password)
    if user is None:
        raise HTTPException(401, "Wrong e-mail address or password")
    await login.log_in(request, str(user.id))
    return LoggedIn(user=UserOut.model_validate(user))


@router.post("/logout")
async def log_out(request: Request) -> LoggedOut:
    """Close the session, if there is one."""
    await login.log_out(request)
    return LoggedOut()
