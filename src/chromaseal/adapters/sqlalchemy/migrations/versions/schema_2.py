"""Schema 2: leases, and an index that finds runs by their attributes."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from chromaseal.adapters.sqlalchemy.schema import attribute_digest

revision = "2"
down_revision = "1"

_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_AT_ONCE = 1000


def upgrade() -> None:
    """Make the tables, and put the attributes of all runs into the index."""
    index = op.create_table(
        "run_attribute",
        sa.Column("digest", _WORDS),
        sa.Column("run_id", _WORDS, sa.ForeignKey("run.run_id", ondelete="CASCADE")),
        sa.PrimaryKeyConstraint("digest", "run_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "lease",
        sa.Column("collection", _WORDS, primary_key=True),
        sa.Column("owner", _WORDS, nullable=False),
        sa.Column("epoch", _NUMBER, nullable=False),
        sa.Column("expires_us", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    if op.get_bind().dialect.name == "sqlite":
        op.create_table(
            "announcement",
            sa.Column("collection", _WORDS, primary_key=True),
            sa.Column("number", _NUMBER, nullable=False),
            sqlite_strict=True,
        )
    _fill(index)


def _fill(index: sa.Table) -> None:
    run = sa.table("run", sa.column("run_id"), sa.column("attributes"))
    rows = op.get_bind().execute(sa.select(run.c.run_id, run.c.attributes))
    for some in rows.partitions(_AT_ONCE):
        found = [
            {"digest": attribute_digest(name, value), "run_id": run_id}
            for run_id, text in some
            for name, value in json.loads(text).items()
        ]
        if found:
            op.get_bind().execute(sa.insert(index), found)
