"""The ledger's tables, as SQLAlchemy sees them; ``docs/formats/ledger.md`` in Python."""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)

from chromaseal.digests import blake3_hex

# Every change of a table is a number more here and a module more in ``migrations/versions``.
SCHEMA: Final = 3
# Not Alembic's own name for it: a database may have tables of other programs beside ours.
VERSION_TABLE: Final = "chromaseal_schema"
# Compared by bytes, as SQLite does and as ISO times and ids want it, whatever the database's
# language.
WORDS: Final = Text().with_variant(Text(collation="C"), "postgresql")
NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()
vault = Table(
    "vault",
    metadata,
    Column("only", Integer, primary_key=True, autoincrement=False),
    Column("vault_id", WORDS, nullable=False),
    CheckConstraint('"only" = 1'),
    sqlite_strict=True,
)
run = Table(
    "run",
    metadata,
    Column("run_id", WORDS, primary_key=True),
    Column("created_at", WORDS, nullable=False),
    Column("attributes", WORDS, nullable=False),
    Index("run_by_age", "created_at", "run_id"),
    sqlite_strict=True,
)
run_attribute = Table(
    "run_attribute",
    metadata,
    Column("digest", WORDS, primary_key=True),
    Column("run_id", ForeignKey(run.c.run_id, ondelete="CASCADE"), primary_key=True),
    sqlite_strict=True,
)
part = Table(
    "part",
    metadata,
    Column("run_id", ForeignKey(run.c.run_id, ondelete="CASCADE"), primary_key=True),
    Column("collection", WORDS, primary_key=True),
    Column("state", WORDS, nullable=False),
    Column("delta_key", WORDS, nullable=False),
    Column("size_bytes", NUMBER, nullable=False),
    Column("changes", NUMBER, nullable=False),
    Column("attempts", NUMBER, nullable=False),
    Column("version_id", WORDS, nullable=False),
    Column("error", WORDS, nullable=False),
    Column("started_at", WORDS, nullable=False),
    Column("finished_at", WORDS, nullable=False),
    CheckConstraint("state IN ('PENDING', 'MERGING', 'COMPLETED', 'FAILED', 'CANCELLED')"),
    Index("part_by_state", "collection", "state"),
    sqlite_strict=True,
)
lease = Table(
    "lease",
    metadata,
    Column("collection", WORDS, primary_key=True),
    Column("owner", WORDS, nullable=False),
    Column("epoch", NUMBER, nullable=False),
    Column("expires_us", NUMBER, nullable=False),
    sqlite_strict=True,
)
# On SQLite only: PostgreSQL tells listeners by itself, and one row that every writer changes
# would make them wait for each other.
announcement = Table(
    "announcement",
    MetaData(),
    Column("collection", WORDS, primary_key=True),
    Column("number", NUMBER, nullable=False),
    sqlite_strict=True,
)


def attribute_digest(name: str, value: str) -> str:
    """Give what a run with that attribute is found by.

    A digest, because values may be longer than an index takes, and may have characters that a
    database refuses.
    """
    return blake3_hex(json.dumps([name, value]).encode())
