"""Schema 1: the vault, runs and their parts, as release 0.1.0 made them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None

_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "vault",
        sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("vault_id", _WORDS, nullable=False),
        sa.CheckConstraint('"only" = 1'),
        sqlite_strict=True,
    )
    op.create_table(
        "run",
        sa.Column("run_id", _WORDS, primary_key=True),
        sa.Column("created_at", _WORDS, nullable=False),
        sa.Column("attributes", _WORDS, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("run_by_age", "run", ["created_at", "run_id"])
    numbers = [sa.Column(n, _NUMBER, nullable=False) for n in ("size_bytes", "changes", "attempts")]
    words = ("version_id", "error", "started_at", "finished_at")
    op.create_table(
        "part",
        sa.Column("run_id", _WORDS, sa.ForeignKey("run.run_id", ondelete="CASCADE")),
        sa.Column("collection", _WORDS),
        sa.Column("state", _WORDS, nullable=False),
        sa.Column("delta_key", _WORDS, nullable=False),
        *numbers,
        *(sa.Column(name, _WORDS, nullable=False) for name in words),
        sa.PrimaryKeyConstraint("run_id", "collection"),
        sa.CheckConstraint("state IN ('PENDING', 'MERGING', 'COMPLETED', 'FAILED')"),
        sqlite_strict=True,
    )
    op.create_index("part_by_state", "part", ["collection", "state"])
