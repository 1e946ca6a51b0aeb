"""Fill an empty database with demo data: ``python -m reference.seed``.

The data is the same every time, down to the password's salt, so that two copies of the database
start equal. A database that has users already is left as it is.
"""

# ruff: noqa: T201 - a command line prints
from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher
from sqlalchemy import MetaData, create_engine, func, insert, select, text

from reference.environment import database_url
from reference.schema import upgrade

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

DEMO_PASSWORD = "demo-password"  # noqa: S105 - printed on purpose: it opens demo accounts only
DEMO_SALT = b"reference-salt!!"
EPOCH = datetime(2026, 1, 5, 9, 0)  # UTC, as the tables hold it

NAMES = (
    "Ada Lovelace", "Grace Hopper", "Alan Turing", "Edsger Dijkstra", "Barbara Liskov", "Donald Knuth",
    "Frances Allen", "Tony Hoare", "Radia Perlman", "Ken Thompson", "Margaret Hamilton", "Dennis Ritchie",
    "Hedy Lamarr", "John Backus", "Jean Sammet", "Niklaus Wirth", "Karen Spärck Jones", "Leslie Lamport",
    "Shafi Goldwasser", "Robin Milner", "Adele Goldberg", "Alan Kay", "Evelyn Boyd", "Jim Gray",
)  # fmt: skip

PRODUCTS = (
    ("MUG-01", "Enamel mug", 1290),
    ("TEA-07", "Green tea, 250 g", 890),
    ("PEN-03", "Fountain pen", 4950),
    ("INK-11", "Ink, midnight blue", 1195),
    ("PAD-02", "Writing pad, A5", 640),
    ("LMP-05", "Desk lamp “Größe M”", 7900),
    ("BAG-09", "Canvas bag", 2400),
    ("CLK-04", "Wall clock", 5600),
)

ORDER_COUNT = 240


@cache
def demo_password_hash() -> str:
    """Return the demo password's hash, with the same salt every time."""
    return PasswordHasher().hash(DEMO_PASSWORD, salt=DEMO_SALT)


def users() -> list[dict[str, Any]]:
    """Return the demo users: number 1 is the administrator; all share the demo password."""
    return [
        {
            "id": number,
            "email": f"{name.split()[0].lower()}{number if number > 1 else ''}@example.com",
            "name": name,
            "age": 20 + (number * 7) % 50,
            "role": "admin" if number == 1 else "member",
            "is_active": True,
            "password_hash": demo_password_hash(),
            "version": 1,
            "created_at": EPOCH + timedelta(hours=13 * number),
        }
        for number, name in enumerate(NAMES, start=1)
    ]


def orders() -> list[dict[str, Any]]:
    """Return the demo orders, spread evenly over users, products and days."""
    rows = []
    for number in range(1, ORDER_COUNT + 1):
        product = number * 5 % len(PRODUCTS)
        quantity = 1 + number % 4
        rows.append(
            {
                "id": number,
                "user_id": 1 + number % len(NAMES),
                "product_id": 1 + product,
                "quantity": quantity,
                "total_cents": quantity * PRODUCTS[product][2],
                "status": "paid" if number % 9 else "declined",
                "payment_reference": f"pay_demo{number:05}" if number % 9 else None,
                "created_at": EPOCH + timedelta(days=20, hours=3 * number),
            }
        )
    return rows


def seed(url: URL) -> bool:
    """Fill the migrated database at ``url``; return False when it had users already."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            tables = MetaData()
            tables.reflect(connection)
            if connection.scalar(select(func.count()).select_from(tables.tables["users"])):
                return False
            products = [
                {"id": number, "sku": sku, "name": name, "price_cents": price_cents}
                for number, (sku, name, price_cents) in enumerate(PRODUCTS, start=1)
            ]
            for table, rows in (("users", users()), ("products", products), ("orders", orders())):
                connection.execute(insert(tables.tables[table]), rows)
                continue_numbers(connection, table)
            return True
    finally:
        engine.dispose()


def continue_numbers(connection: Connection, table: str) -> None:
    """Make PostgreSQL's next id follow the ids that were inserted; SQLite does so by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT setval(pg_get_serial_sequence(:name, 'id'), (SELECT max(id) FROM " + table + "))"),  # noqa: S608 - our own table names
            {"name": table},
        )


def main() -> None:
    """Migrate the database that ``DATABASE_URL`` names, seed it, and say what is in it."""
    url = database_url()
    upgrade(url)
    is_filled = seed(url)
    print(f"{'Seeded' if is_filled else 'Already seeded:'} {url.render_as_string(hide_password=True)}")
    print(f"Log in as ada@example.com (administrator) or grace2@example.com; the password is {DEMO_PASSWORD}")


if __name__ == "__main__":
    main()
