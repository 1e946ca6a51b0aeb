"""Map the shop's tables, and say how each row looks in JSON.

``to_dict`` writes the JSON that clients have known for years; ``jsonify`` turns what is left of
Python in it (a ``Decimal``, a ``datetime``) into text in Flask's own way.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flask_login import UserMixin
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def now() -> datetime:
    """Return the present second in UTC, without an offset, as the tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def money(cents: int) -> Decimal:
    """Return cents as an amount with two decimals."""
    return Decimal(cents).scaleb(-2)


class Base(DeclarativeBase):
    """Be the root of the app's models."""


class User(UserMixin, Base):  # type: ignore[misc]  # Flask-Login has no types
    """Be a customer or an administrator."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    age: Mapped[int]
    role: Mapped[str] = mapped_column(String(20), default="member")
    # Flask-Login asks for this name, too.
    is_active: Mapped[bool] = mapped_column(default=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    version: Mapped[int] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(default=now)

    # Two people who edit the same user do not overwrite each other.
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own spelling

    @property
    def is_admin(self) -> bool:
        """Tell whether the user may use the admin pages."""
        return self.role == "admin"

    def to_dict(self) -> dict[str, Any]:
        """Return the user as clients see it."""
        return {
            "id": self.id,
            "email": self.email,
            "name": self.name,
            "age": self.age,
            "role": self.role,
            "created_at": self.created_at.isoformat() + "Z",
        }


class Product(Base):
    """Be something that the shop sells."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    price_cents: Mapped[int]

    def to_dict(self) -> dict[str, Any]:
        """Return the product as clients see it."""
        return {"id": self.id, "sku": self.sku, "name": self.name, "price": money(self.price_cents)}


class Order(Base):
    """Be one product bought by one user. ``status``: pending, paid, declined or failed."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    total_cents: Mapped[int]
    status: Mapped[str] = mapped_column(String(20), default="pending")
    payment_reference: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(default=now)

    product: Mapped[Product] = relationship(lazy="joined")

    def to_dict(self) -> dict[str, Any]:
        """Return the order as clients see it; ``jsonify`` writes its date as HTTP does (RFC 822)."""
        return {
            "id": self.id,
            "user_id": self.user_id,
            "product": self.product.to_dict(),
            "quantity": self.quantity,
            "total": money(self.total_cents),
            "status": self.status,
            "payment_reference": self.payment_reference,
            "created_at": self.created_at,
        }


class Avatar(Base):
    """Be one uploaded picture."""

    __tablename__ = "avatars"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    content_type: Mapped[str] = mapped_column(String(40))
    content: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Mail(Base):
    """Be one mail of the shop. ``status``: queued, sent or failed."""

    __tablename__ = "mails"

    id: Mapped[int] = mapped_column(primary_key=True)
    recipient: Mapped[str] = mapped_column(String(254))
    subject: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), default="queued")
    created_at: Mapped[datetime] = mapped_column(default=now)
