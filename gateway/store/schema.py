"""Lay out the store's tables. They are prefixed, for the database may be the application's own.

Every table is made by a migration (:mod:`gateway.store.migrations`); a test keeps the two equal. Sums and
sketches are keyed so that any number of workers may add to the same row without knowing of each other.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

HEAD = "0002"
"""The newest migration: a database at this version is opened without loading Alembic."""

VERSION_TABLE = "gateway_schema_version"

metadata = MetaData()

_SERIAL = BigInteger().with_variant(Integer, "sqlite")

counters = Table(
    "gateway_counters",
    metadata,
    Column("route_id", String(12), primary_key=True),
    Column("run", Integer, primary_key=True),
    Column("step", String(48), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("name", String(48), primary_key=True),
    Column("n", BigInteger, nullable=False),
)

sketches = Table(
    "gateway_sketches",
    metadata,
    Column("route_id", String(12), primary_key=True),
    Column("run", Integer, primary_key=True),
    Column("step", String(48), primary_key=True),
    Column("side", String(6), primary_key=True),
    Column("word", SmallInteger, primary_key=True, autoincrement=False),
    Column("bits", BigInteger, nullable=False),
    Column("day", Integer, nullable=False),
)

error_callers = Table(
    "gateway_error_callers",
    metadata,
    Column("route_id", String(12), primary_key=True),
    Column("run", Integer, primary_key=True),
    Column("caller", BigInteger, primary_key=True, autoincrement=False),
    Column("step", String(48), nullable=False),
    Column("side", String(6), nullable=False),
    Column("day", Integer, nullable=False),
)

writers = Table(
    "gateway_writers",
    metadata,
    Column("worker", String(64), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("seen_at", Double, nullable=False),
)

positions = Table(
    "gateway_positions",
    metadata,
    Column("route_id", String(12), primary_key=True),
    Column("key", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("origin_stage", String(16), nullable=False),
    Column("origin_weight_bp", Integer, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("weight_bp", Integer, nullable=False),
    Column("run", Integer, nullable=False),
    Column("since", Double, nullable=False),
    Column("is_held", Boolean, nullable=False),
    Column("is_rolled_back", Boolean, nullable=False),
    Column("moved_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("version", Integer, nullable=False),
)

events = Table(
    "gateway_events",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("route_id", String(12), nullable=False),
    Column("key", Text, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("before", String(48), nullable=False),
    Column("after", String(48), nullable=False),
    Column("caused_by", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("numbers", Text, nullable=False),
    Index("gateway_events_route", "route_id", "id"),
)

findings = Table(
    "gateway_findings",
    metadata,
    Column("route_id", String(12), primary_key=True),
    Column("signature", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("place", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("is_waived", Boolean, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("first_seen", Double, nullable=False),
    Column("last_seen", Double, nullable=False),
    Index("gateway_findings_seen", "last_seen"),
)

examples = Table(
    "gateway_examples",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("route_id", String(12), nullable=False),
    Column("signature", String(64), nullable=False),
    Column("at", Double, nullable=False),
    Column("document", Text, nullable=False),
    Index("gateway_examples_finding", "route_id", "signature"),
)

leases = Table(
    "gateway_leases",
    metadata,
    Column("name", String(48), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", Double, nullable=False),
)

receivers = Table(
    "gateway_receivers",
    metadata,
    Column("receiver", String(64), primary_key=True),
    Column("last_id", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failing_since", Double, nullable=False),
    Column("next_try_at", Double, nullable=False),
    Column("is_stopped", Boolean, nullable=False),
    Column("delivered", BigInteger, nullable=False),
    Column("given_up", BigInteger, nullable=False),
    Column("last_error", String(200), nullable=False),
    Column("seen_at", Double, nullable=False),
)
