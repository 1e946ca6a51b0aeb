"""Read, list and make users."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, HTTPException, Query, Response
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from new_api.database import Session, SessionMaker, Sessions
from new_api.identity import hash_password
from new_api.models import Mail, User
from new_api.providers import Providers, ProvidersClient
from new_api.schemas import Printable, RowId, UserCreate, UserOut, UserPage

router = APIRouter(tags=["users"])


@router.get("/users/{user_id}", response_model=UserOut)
async def show(user_id: RowId, session: Session) -> User:
    """Show one user."""
    user = await session.get(User, user_id)
    if user is None:
        raise HTTPException(404)
    return user


@router.get("/users")
async def index(
    session: Session,
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=100)] = 20,
    role: Annotated[str, Query(max_length=20), Printable] = "",
    q: Annotated[str, Query(max_length=100, description="a part of the name"), Printable] = "",
) -> UserPage:
    """List users by id, a page at a time, filtered by role and by a part of the name."""
    chosen = select(User)
    if role:
        chosen = chosen.where(User.role == role)
    if q:
        chosen = chosen.where(User.name.icontains(q, autoescape=True))
    total = await session.scalar(select(func.count()).select_from(chosen.subquery()))
    users = await session.scalars(chosen.order_by(User.id).limit(per_page).offset((page - 1) * per_page))
    shown = [UserOut.model_validate(user) for user in users]
    return UserPage(users=shown, page=page, per_page=per_page, total=total or 0)


@router.post("/users", status_code=201, response_model=UserOut)
async def create(data: UserCreate, session: Session, response: Response) -> User:
    """Make a user."""
    user = await add(session, data)
    response.headers["Location"] = f"/users/{user.id}"
    return user


@router.post("/signup", status_code=201, response_model=UserOut)
async def signup(
    data: UserCreate,
    session: Session,
    session_maker: SessionMaker,
    providers: ProvidersClient,
    background: BackgroundTasks,
    response: Response,
) -> User:
    """Make a user, and send the welcome mail once the client has its answer."""
    user = await add(session, data)
    mail = Mail(recipient=user.email, subject=f"Welcome, {user.name}")
    session.add(mail)
    await session.commit()
    background.add_task(send, mail.id, session_maker, providers)
    response.headers["Location"] = f"/users/{user.id}"
    return user


async def add(session: Session, data: UserCreate) -> User:
    """Store a new user; 409 when the e-mail address is taken."""
    user = User(email=data.email, name=data.name, age=data.age)
    user.password_hash = await hash_password(data.password)
    session.add(user)
    try:
        await session.commit()
    except IntegrityError as error:
        raise HTTPException(409, "This e-mail address is taken") from error
    return user


async def send(mail_id: int, session_maker: Sessions, providers: Providers) -> None:
    """Send a queued mail, and note how that went."""
    async with session_maker() as session:
        mail = await session.get_one(Mail, mail_id)
        # No transaction stays open while another company thinks.
        await session.commit()
        is_sent = await providers.send_mail(mail.recipient, mail.subject)
        mail.status = "sent" if is_sent else "failed"
        await session.commit()
