"""Read, list and make users."""

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from legacy_flask.database import session
from legacy_flask.identity import hasher
from legacy_flask.models import Mail, User
from legacy_flask.providers import send_mail
from legacy_flask.validation import LARGEST_ID, NewUser, new_user, query_number, text

blueprint = Blueprint("users", __name__)


@blueprint.get("/users/<int:user_id>")
def show(user_id: int) -> ResponseReturnValue:
    """Show one user."""
    user = session().get(User, user_id) if user_id <= LARGEST_ID else None
    if user is None:
        return {"error": "Not found"}, 404
    return jsonify(user.to_dict())


@blueprint.get("/users")
def index() -> ResponseReturnValue:
    """List users by id, a page at a time, filtered by role and by a part of the name."""
    page = query_number("page", 1, most=10_000)
    per_page = query_number("per_page", 20, most=100)
    chosen = select(User)
    if request.args.get("role"):
        chosen = chosen.where(User.role == text(request.args, "role", longest=20))
    if request.args.get("q"):
        chosen = chosen.where(User.name.icontains(text(request.args, "q", longest=100), autoescape=True))
    total = session().scalar(select(func.count()).select_from(chosen.subquery()))
    users = session().scalars(chosen.order_by(User.id).limit(per_page).offset((page - 1) * per_page))
    return jsonify(users=[user.to_dict() for user in users], page=page, per_page=per_page, total=total)


@blueprint.post("/users")
def create() -> ResponseReturnValue:
    """Make a user."""
    user = add(new_user())
    if user is None:
        return {"error": "This e-mail address is taken"}, 409
    return jsonify(user.to_dict()), 201, {"Location": url_for("users.show", user_id=user.id)}


@blueprint.post("/signup")
def signup() -> ResponseReturnValue:
    """Make a user and send the welcome mail, while the client waits."""
    user = add(new_user())
    if user is None:
        return {"error": "This e-mail address is taken"}, 409
    mail = Mail(recipient=user.email, subject=f"Welcome, {user.name}")
    mail.status = "sent" if send_mail(mail.recipient, mail.subject) else "failed"
    session().add(mail)
    session().commit()
    return jsonify(user.to_dict()), 201, {"Location": url_for("users.show", user_id=user.id)}


def add(data: NewUser) -> User | None:
    """Store a new user; return None when the e-mail address is taken."""
    user = User(email=data.email, name=data.name, age=data.age, password_hash=hasher.hash(data.password))
    session().add(user)
    try:
        session().commit()
    except IntegrityError:
        session().rollback()
        return None
    return user
