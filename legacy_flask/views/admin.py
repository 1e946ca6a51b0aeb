"""Show the admin pages: log in, list users, edit one. Forms carry a CSRF token and hidden fields."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required, login_user, logout_user
from flask_wtf import FlaskForm
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError
from wtforms import (  # type: ignore[import-untyped]  # WTForms has no types
    BooleanField,
    HiddenField,
    IntegerField,
    PasswordField,
    SelectField,
    StringField,
)
from wtforms.validators import InputRequired, Length, NumberRange  # type: ignore[import-untyped]  # the same

from legacy_flask.database import session
from legacy_flask.identity import find_by_password, login_manager
from legacy_flask.models import User
from legacy_flask.validation import LARGEST_ID

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


class LoginForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """Ask for an administrator's e-mail address and password."""

    email = StringField("E-mail", validators=[InputRequired(), Length(max=254)])
    password = PasswordField("Password", validators=[InputRequired(), Length(max=1000)])
    next = HiddenField()


class LogoutForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """Carry the CSRF token of the logout button."""


class UserForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """Edit a user; ``version`` remembers which state of the user the page showed."""

    version = HiddenField(validators=[InputRequired()])
    email = StringField("E-mail", validators=[InputRequired(), Length(max=254)])
    name = StringField("Name", validators=[InputRequired(), Length(max=100)])
    age = IntegerField("Age", validators=[InputRequired(), NumberRange(18, 150)])
    role = SelectField("Role", choices=["member", "admin"])
    is_active = BooleanField("Active")


@blueprint.before_request
def admit_administrators() -> ResponseReturnValue | None:
    """Let nobody else in, but for the login page."""
    if request.endpoint == "admin.login":
        return None
    if not current_user.is_authenticated:
        answer: ResponseReturnValue = login_manager.unauthorized()
        return answer
    if not current_user.is_admin:
        abort(403)
    return None


@blueprint.context_processor
def offer_logout() -> dict[str, FlaskForm]:
    """Give every page its logout button."""
    return {"logout_form": LogoutForm()}


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """Show the login form, and open a session for an administrator."""
    form = LoginForm(next=request.args.get("next", ""))
    if form.validate_on_submit():
        user = find_by_password(form.email.data, form.password.data)
        if user is not None and user.is_admin:
            login_user(user)
            flash(f"Welcome back, {user.name}.", "success")
            return redirect(own_page(form.next.data) or url_for("admin.users"))
        flash("Wrong e-mail address or password.", "error")
    return render_template("admin/login.html", form=form)


def own_page(target: str) -> str | None:
    """Return ``target`` when it is an admin page: a login never sends people to another site."""
    return target if target.startswith("/admin/") and target.isprintable() and "\\" not in target else None


@blueprint.post("/logout")
@login_required  # type: ignore[untyped-decorator]  # Flask-Login has no types
def logout() -> ResponseReturnValue:
    """Close the session."""
    if not LogoutForm().validate_on_submit():
        abort(400)
    logout_user()
    flash("You are logged out.", "success")
    return redirect(url_for("admin.login"))


@blueprint.get("/")
def index() -> ResponseReturnValue:
    """Lead to the first page."""
    return redirect(url_for("admin.users"))


@blueprint.get("/users")
def users() -> ResponseReturnValue:
    """List the users."""
    return render_template("admin/users.html", users=session().scalars(select(User).order_by(User.id)))


@blueprint.route("/users/<int:user_id>", methods=["GET", "POST"])
def edit(user_id: int) -> ResponseReturnValue:
    """Show a user's form, and store what is sent with it."""
    user = session().get(User, user_id) if user_id <= LARGEST_ID else None
    if user is None:
        abort(404)
    form = UserForm(obj=user)
    if not form.validate_on_submit():
        return render_template("admin/edit.html", form=form, user=user)
    if form.version.data != str(user.version):
        flash("Somebody else changed this user meanwhile; here is the present state.", "error")
        return redirect(url_for("admin.edit", user_id=user_id))
    user.email, user.name, user.age = form.email.data.lower(), form.name.data, form.age.data
    user.role, user.is_active = form.role.data, form.is_active.data
    try:
        session().commit()
    except IntegrityError:
        session().rollback()
        flash("This e-mail address is taken.", "error")
    except StaleDataError:
        session().rollback()
        flash("Somebody else changed this user meanwhile; here is the present state.", "error")
    else:
        flash(f"{user.name} is saved.", "success")
    return redirect(url_for("admin.edit", user_id=user_id))
