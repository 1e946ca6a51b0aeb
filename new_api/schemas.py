"""Say what clients send and what they get: the types that FastAPI checks and documents."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, EmailStr, Field

LARGEST_ID = 2**31 - 1


def printable(value: str) -> str:
    """Return text that holds printable characters only."""
    if not value.isprintable():
        raise ValueError("must be printable text")
    return value


def in_utc(value: datetime) -> datetime:
    """Return the tables' time, which is UTC without saying so, as a time that says so."""
    return value.replace(tzinfo=UTC)


def amount(cents: int) -> Decimal:
    """Return cents as an amount with two decimals."""
    return Decimal(cents).scaleb(-2)


Printable = AfterValidator(printable)
UtcTime = Annotated[datetime, AfterValidator(in_utc)]
Money = Annotated[Decimal, BeforeValidator(amount)]
RowId = Annotated[int, Path(ge=0, le=LARGEST_ID)]


class FromRow(BaseModel):
    """Be the root of answers that are read off a row."""

    model_config = ConfigDict(from_attributes=True)


class UserCreate(BaseModel):
    """Ask for a new user. Unlike the legacy app, it wants an e-mail address that could exist."""

    email: Annotated[EmailStr, Field(max_length=254), AfterValidator(str.lower)]
    name: Annotated[str, Field(min_length=1, max_length=100), Printable]
    age: Annotated[int, Field(ge=18, le=150, strict=True)]
    password: Annotated[str, Field(min_length=8, max_length=1000), Printable]


class UserOut(FromRow):
    """Show a user."""

    id: int
    email: str
    name: str
    age: int
    role: str
    created_at: UtcTime


class UserPage(BaseModel):
    """Show one page of users; ``total`` counts those on all pages."""

    users: list[UserOut]
    page: int
    per_page: int
    total: int


class Credentials(BaseModel):
    """Prove who one is."""

    email: Annotated[str, Field(min_length=1, max_length=254), Printable]
    password: Annotated[str, Field(min_length=1, max_length=1000), Printable]


class LoggedIn(BaseModel):
    """Show who is logged in now."""

    status: str = "logged in"
    user: UserOut


class LoggedOut(BaseModel):
    """Say that nobody is logged in any more."""

    status: str = "logged out"


class Token(BaseModel):
    """Hand out a bearer token, good for ``expires_in`` seconds."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme, no secret
    expires_in: int


class ProductOut(FromRow):
    """Show a product."""

    id: int
    sku: str
    name: str
    price: Annotated[Money, Field(validation_alias="price_cents")]


class Catalogue(BaseModel):
    """Show all products."""

    data: list[ProductOut]


class OrderCreate(BaseModel):
    """Ask for a product."""

    product_id: Annotated[int, Field(ge=1, le=LARGEST_ID, strict=True)]
    quantity: Annotated[int, Field(ge=1, le=100, strict=True)]


class OrderOut(FromRow):
    """Show an order. Its date is ISO 8601, where the legacy app writes RFC 822."""

    id: int
    user_id: int
    product: ProductOut
    quantity: int
    total: Annotated[Money, Field(validation_alias="total_cents")]
    status: str
    payment_reference: str | None
    created_at: UtcTime


class Figures(BaseModel):
    """Show the providers' figures; None stands for a provider that failed."""

    payments: dict[str, int] | None
    mails: dict[str, int] | None
    events: dict[str, int] | None


class AvatarOut(BaseModel):
    """Show what was stored of a picture, ``size`` in bytes, and where it is."""

    id: int
    content_type: str
    size: int
    url: str
