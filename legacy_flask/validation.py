"""Check what clients send, by hand. Each function returns the values or raises :class:`InvalidInputError`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

LARGEST_ID = 2**31 - 1


class InvalidInputError(ValueError):
    """Refuse what the client sent; the message is for the client."""


def init_app(app: Flask) -> None:
    """Answer :class:`InvalidInputError` with 400."""
    app.register_error_handler(InvalidInputError, answer_invalid)


def answer_invalid(error: InvalidInputError) -> ResponseReturnValue:
    """Return the message in the shape of every error."""
    return jsonify({"error": str(error)}), 400


def json_object() -> dict[str, Any]:
    """Return the request's JSON object."""
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise InvalidInputError("The body must be a JSON object")
    return body


def text(body: Mapping[str, Any], name: str, *, shortest: int = 1, longest: int) -> str:
    """Return ``body[name]`` as text of ``shortest`` to ``longest`` printable characters."""
    value = body.get(name)
    if value is None:
        raise InvalidInputError(f"{name} is required")
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be text")
    if len(value) < shortest:
        raise InvalidInputError(f"{name} is too short (shortest: {shortest})")
    if len(value) > longest:
        raise InvalidInputError(f"{name} is too long (longest: {longest})")
    if not value.isprintable():
        raise InvalidInputError(f"{name} must be printable text")
    return value


def whole_number(body: Mapping[str, Any], name: str, *, least: int, most: int) -> int:
    """Return ``body[name]`` as a whole number from ``least`` to ``most``."""
    value = body.get(name)
    if value is None:
        raise InvalidInputError(f"{name} is required")
    if type(value) is not int:  # true is an int, too
        raise InvalidInputError(f"{name} must be a whole number")
    return between(value, name, least=least, most=most)


def query_number(name: str, default: int, *, least: int = 1, most: int) -> int:
    """Return a whole number from the query string, or ``default``."""
    value = request.args.get(name)
    if value is None:
        return default
    if len(value) > 10 or not (value.isascii() and value.removeprefix("-").isdigit()):
        raise InvalidInputError(f"{name} must be a whole number")
    return between(int(value), name, least=least, most=most)


def between(value: int, name: str, *, least: int, most: int) -> int:
    """Return ``value`` when it lies within the bounds."""
    if value < least:
        raise InvalidInputError(f"{name} must be at least {least}")
    if value > most:
        raise InvalidInputError(f"{name} must be at most {most}")
    return value


@dataclass(frozen=True, slots=True)
class NewUser:
    """Hold what a new user sent, checked."""

    email: str
    name: str
    age: int
    password: str


def new_user() -> NewUser:
    """Read a new user from the request's body. The e-mail check is as old as the app: it wants an @."""
    body = json_object()
    email = text(body, "email", longest=254)
    if "@" not in email:
        raise InvalidInputError("email must be an e-mail address")
    name = text(body, "name", longest=100)
    age = whole_number(body, "age", least=18, most=150)
    password = text(body, "password", shortest=8, longest=1000)
    return NewUser(email.lower(), name, age, password)
