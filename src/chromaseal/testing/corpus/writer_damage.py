"""What writers leave: copies taken while they write, and what is there when they are killed."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np

from chromaseal.seal.quiet import DATABASE
from chromaseal.testing.corpus.case import Damage, Kind
from chromaseal.testing.corpus.file_damage import find
from chromaseal.testing.corpus.healthy import Base

_PAGE = 4096
_JOURNAL = f"{DATABASE}-journal"
_TIMEOUT_S = 60
# With so small a cache SQLite writes pages into the file long before the transaction ends.
_IN_A_TRANSACTION = """
    PRAGMA cache_size = 1;
    BEGIN IMMEDIATE;
    UPDATE embedding_metadata SET string_value = string_value || ' and more'
    WHERE key = 'chroma:document'
"""


def _flushed(base: Base) -> bool:
    return base.flushed


def _torn(name: str, directory: Path, base: Base, chance: np.random.Generator) -> str:
    """Take the first pages of the version before, and the others as they are now."""
    path = find(directory, name)
    older, newer = find(base.older, name).read_bytes(), path.read_bytes()
    pages = min(len(older), len(newer)) // _PAGE
    cut = int(chance.integers(pages // 4, 3 * pages // 4)) * _PAGE
    mixed = older[:cut] + newer[cut:]
    if mixed in {older, newer}:
        raise ValueError(f"both versions of {name} are the same up to there")
    path.write_bytes(mixed)
    return f"{name} is of the version before up to page {cut // _PAGE}"


def _in_a_transaction(kept: tuple[str, ...], directory: Path, _: Base, __: object) -> str:
    """Have the files as they are in the middle of a large transaction."""
    aside = directory.with_name(f"{directory.name}-aside")
    aside.mkdir()
    connection = sqlite3.connect(find(directory, DATABASE), isolation_level=None)
    try:
        for statement in _IN_A_TRANSACTION.split(";"):
            connection.execute(statement)
        for name in (DATABASE, _JOURNAL):
            shutil.copyfile(directory / name, aside / name)
        connection.execute("ROLLBACK")
    finally:
        connection.close()
    if (aside / DATABASE).read_bytes() == (directory / DATABASE).read_bytes():
        raise ValueError("the transaction has written nothing yet")
    for name in kept:
        shutil.move(aside / name, directory / name)
    shutil.rmtree(aside)
    return f"{' and '.join(kept)} as they were in the middle of a transaction"


def _killed(directory: Path, _: Base, __: object) -> str:
    """Let a process of its own write, and die without closing anything."""
    command = [sys.executable, "-m", __name__, str(directory)]
    subprocess.run(command, check=False, timeout=_TIMEOUT_S)  # noqa: S603 - our own module
    return "a writer was killed right after its last call had returned"


def main() -> None:
    """Write, and be killed: the child of ``_killed``."""
    import chromadb  # noqa: PLC0415

    client = chromadb.PersistentClient(sys.argv[1])
    collection = client.list_collections()[0]
    vector = collection.get(limit=1, include=["embeddings"])["embeddings"]
    collection.upsert(ids=["killed"], embeddings=vector, documents=["the last one"])
    os.kill(os.getpid(), signal.SIGKILL)


_COMMITTED = "a call's change is in the log, in one transaction, before the call returns"

DAMAGES: tuple[Damage, ...] = (
    Damage(
        f"{DATABASE} torn between two versions",
        functools.partial(_torn, DATABASE),
        fits=_flushed,
        turns=3,
    ),
    Damage(
        "copied in a transaction, journal dropped",
        functools.partial(_in_a_transaction, (DATABASE,)),
    ),
    Damage(
        "writer killed in a transaction",
        functools.partial(_in_a_transaction, (DATABASE, _JOURNAL)),
    ),
    Damage("writer killed after a call", _killed, Kind.HARMLESS, _COMMITTED),
)


if __name__ == "__main__":
    main()
