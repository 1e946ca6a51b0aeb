"""Put a connection to a SQLite file on a copy of that file in memory, where it may write as it likes.

SQLite has one writer at a time: an outer transaction on the file itself would make every other writer wait,
and some of them fail with "database is locked". The copy is the committed state of one moment, taken
by SQLite itself; what the app has set up on the connection (functions, collations, pragmas) stays.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

COPY_LIMIT_BYTES = 64 * 1024 * 1024

# In a SQLite file's header, the two bytes that say by which journal it is read and written: 2 is WAL, which
# a database in memory cannot have, 1 is a rollback journal (https://sqlite.org/fileformat2.html, 1.3.3).
_JOURNALS = slice(18, 20)
_ROLLBACK_JOURNAL = b"\x01\x01"


def put_on_copy(connection: sa.Connection) -> str:
    """Put ``connection``, by ``sqlite3`` or ``aiosqlite`` and just opened, on a copy; return why not, or "".

    In a greenlet of SQLAlchemy's where the driver is asynchronous.
    """
    proxied = connection.connection
    if connection.dialect.driver == "pysqlite":
        raw: Any = proxied.driver_connection
        return _replace(raw)
    adapted: Any = proxied.dbapi_connection

    async def replace(aiosqlite_connection: Any) -> str:
        # aiosqlite has no public way to its thread but for the calls that it knows itself.
        reason: str = await aiosqlite_connection._execute(lambda: _replace(aiosqlite_connection._conn))
        return reason

    reason: str = adapted.run_async(replace)
    return reason


def _replace(raw: sqlite3.Connection) -> str:
    if raw.in_transaction:
        raw.rollback()
    if sys.version_info >= (3, 12):
        raw.autocommit = sqlite3.LEGACY_TRANSACTION_CONTROL
    # From here on a transaction begins and ends where SQLAlchemy says so, savepoints included.
    raw.isolation_level = None
    cursor = raw.cursor()
    cursor.row_factory = None
    try:
        attached = [row for row in cursor.execute("PRAGMA database_list") if row[1] != "temp"]
        if len(attached) != 1:
            return "it has other databases attached"
        if not attached[0][2]:
            return "its SQLite database is in memory, which cannot be copied for a rehearsal"
        pages, page_bytes = (
            cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
        )
        if pages * page_bytes > COPY_LIMIT_BYTES:
            return f"its SQLite database is larger than {COPY_LIMIT_BYTES // 1024 // 1024} MiB"
        image = raw.serialize()
        if image[_JOURNALS] != _ROLLBACK_JOURNAL:
            image = b"".join((image[: _JOURNALS.start], _ROLLBACK_JOURNAL, image[_JOURNALS.stop :]))
        raw.deserialize(image)
    finally:
        cursor.close()
    return ""
