"""Schema 3: parts of runs may be CANCELLED."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"

_STATES = "state IN ('PENDING', 'MERGING', 'COMPLETED', 'FAILED', 'CANCELLED')"
_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Allow the state."""
    if op.get_bind().dialect.name == "sqlite":
        _replace_table()
        return
    for old in sa.inspect(op.get_bind()).get_check_constraints("part"):
        op.drop_constraint(str(old["name"]), "part", type_="check")
    op.create_check_constraint("part_state_check", "part", _STATES)


def _replace_table() -> None:
    # SQLite changes no constraint of a table that is there. Nothing refers to this one.
    op.drop_index("part_by_state", "part")
    op.rename_table("part", "part_before")
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
        sa.CheckConstraint(_STATES),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO part SELECT * FROM part_before")
    op.drop_table("part_before")
    op.create_index("part_by_state", "part", ["collection", "state"])
