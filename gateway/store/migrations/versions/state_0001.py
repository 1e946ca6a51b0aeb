"""Make the tables of the state: evidence, positions, events, findings, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "gateway_counters",
        sa.Column("route_id", sa.String(length=12), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=48), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=48), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("route_id", "run", "step", "day", "name"),
    )
    op.create_table(
        "gateway_error_callers",
        sa.Column("route_id", sa.String(length=12), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("caller", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.String(length=48), nullable=False),
        sa.Column("side", sa.String(length=6), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("route_id", "run", "caller"),
    )
    op.create_table(
        "gateway_events",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("route_id", sa.String(length=12), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("before", sa.String(length=48), nullable=False),
        sa.Column("after", sa.String(length=48), nullable=False),
        sa.Column("caused_by", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("numbers", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("gateway_events_route", "gateway_events", ["route_id", "id"], unique=False)
    op.create_table(
        "gateway_examples",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("route_id", sa.String(length=12), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("gateway_examples_finding", "gateway_examples", ["route_id", "signature"], unique=False)
    op.create_table(
        "gateway_findings",
        sa.Column("route_id", sa.String(length=12), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("is_waived", sa.Boolean(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.Double(), nullable=False),
        sa.Column("last_seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("route_id", "signature"),
    )
    op.create_index("gateway_findings_seen", "gateway_findings", ["last_seen"], unique=False)
    op.create_table(
        "gateway_leases",
        sa.Column("name", sa.String(length=48), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "gateway_positions",
        sa.Column("route_id", sa.String(length=12), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("origin_stage", sa.String(length=16), nullable=False),
        sa.Column("origin_weight_bp", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("weight_bp", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("is_held", sa.Boolean(), nullable=False),
        sa.Column("is_rolled_back", sa.Boolean(), nullable=False),
        sa.Column("moved_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("route_id"),
    )
    op.create_table(
        "gateway_sketches",
        sa.Column("route_id", sa.String(length=12), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=48), nullable=False),
        sa.Column("side", sa.String(length=6), nullable=False),
        sa.Column("word", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("bits", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("route_id", "run", "step", "side", "word"),
    )
    op.create_table(
        "gateway_writers",
        sa.Column("worker", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("worker"),
    )


def downgrade() -> None:
    """Drop every table."""
    for name in (
        "gateway_counters",
        "gateway_error_callers",
        "gateway_events",
        "gateway_examples",
        "gateway_findings",
        "gateway_leases",
        "gateway_positions",
        "gateway_sketches",
        "gateway_writers",
    ):
        op.drop_table(name)
