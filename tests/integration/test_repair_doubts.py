"""A repair never chooses between two things that a disk says; what ChromaDB ignored stays out."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.errors import Conflict, Damaged
from chromaseal.repair.directory import repair_directory, salvage_directory
from chromaseal.repair.equipment import Equipment
from chromaseal.repair.placing import MARK
from chromaseal.seal.checks import records
from chromaseal.seal.examine import examine
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.verdict import Level, Verdict
from chromaseal.snapshot.checkout import cannot_write
from chromaseal.testing.command_line import chromaseal
from chromaseal.testing.directory_states import contents

pytestmark = pytest.mark.slow
# Each directory of one kind of history; an index is flushed after a hundred entries.
MAKE = """
import random, shutil, sys, chromadb, numpy as np
folder = sys.argv[1]
HNSW = {"space": "l2", "sync_threshold": 100, "batch_size": 100}
def vectors(count, seed):
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
def made(client, name="notes", **more):
    return client.get_or_create_collection(
        name, embedding_function=None, configuration={"hnsw": HNSW | more}, metadata={"owner": "me"}
    )
def plain(n):
    return {"n": 1_000_000 + n, "t": f"word-{n}"}
def put(collection, verb, count, seed, values=plain, name="r"):
    getattr(collection, verb)(
        ids=[f"{name}{n}" for n in range(count)], embeddings=vectors(count, seed),
        documents=[f"document number {n}" for n in range(count)],
        metadatas=[values(n) for n in range(count)],
    )
client = chromadb.PersistentClient(f"{folder}/plain")
put(made(client), "upsert", 100, 0)
put(made(client, "words"), "add", 100, 1, name="w")
client.close()
shutil.copytree(f"{folder}/plain", f"{folder}/later")
client = chromadb.PersistentClient(f"{folder}/later")
put(made(client), "upsert", 100, 2)
client.close()
client = chromadb.PersistentClient(f"{folder}/ignored")
collection = made(client)
put(collection, "add", 100, 0)
put(collection, "add", 60, 3)
collection.update(ids=["ghost"], embeddings=vectors(1, 4), documents=["nobody"])
collection.upsert(ids=["last"], embeddings=vectors(1, 5))
client.close()
client = chromadb.PersistentClient(f"{folder}/young")
put(made(client, sync_threshold=1000), "add", 50, 0)
client.close()
chance = random.Random(1)
client = chromadb.PersistentClient(f"{folder}/floats")
put(made(client), "add", 150, 0, lambda n: {
    "small": chance.random() * 1e-9, "wide": chance.random() * 10.0 ** chance.randint(-300, 300),
    "list": [chance.random() * 1e-9, -0.0], "zero": -0.0, "one": 1.0,
})
client.close()
client = chromadb.PersistentClient(f"{folder}/tenants")
admin = chromadb.AdminClient(client.get_settings())
admin.create_database("second")
admin.create_tenant("other")
admin.create_database("third", "other")
put(made(client), "add", 10, 0)
client.set_tenant("default_tenant", "second")
put(made(client), "add", 20, 1)
client.set_tenant("other", "third")
put(made(client), "add", 30, 2)
put(made(client, "only"), "add", 130, 3)
client.close()
client = chromadb.PersistentClient(f"{folder}/long")
collection = made(client)
collection.add(ids=[f"r{n}" for n in range(100)], embeddings=vectors(100, 0) * np.float32(1e25))
client.close()
client = chromadb.PersistentClient(f"{folder}/deleted-database")
admin = chromadb.AdminClient(client.get_settings())
admin.create_database("second")
client.set_tenant("default_tenant", "second")
put(made(client), "add", 120, 0)
admin.delete_database("second")
client.set_tenant("default_tenant")
put(made(client), "add", 130, 1)
client.close()
"""
FULL_TEXT = "DELETE FROM embedding_fulltext_search_docsize WHERE id = 3"


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directories, to be copied."""
    folder = tmp_path_factory.mktemp("histories")
    command = [sys.executable, "-c", MAKE, str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def content(directory: Path) -> dict[tuple[str, ...], tuple[object, ...]]:
    """Give every record bit for bit, by database, collection and id."""
    return {
        (*each.database, each.name, record.id): (
            np.asarray(record.embedding).tobytes(),
            record.document,
            tuple(sorted(map(repr, record.metadata.items()))),
        )
        for each in inspect(directory, deep=True).collections
        for record in records(each)
    }


def change(directory: Path, *statements: str, values: tuple[object, ...] = ()) -> None:
    """Run statements on the database."""
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        for statement in statements:
            assert db.execute(statement, values).rowcount, statement


def in_tables(directory: Path, old: bytes, new: bytes) -> None:
    """Change bytes in leaf pages of tables, and leave those of indexes as they are."""
    raw = bytearray((directory / DATABASE).read_bytes())
    for start in range(0, len(raw), 4096):
        if raw[start] == 13:
            raw[start : start + 4096] = raw[start : start + 4096].replace(old, new)
    assert raw != (directory / DATABASE).read_bytes()
    (directory / DATABASE).write_bytes(raw)


def other_vector(directory: Path) -> None:
    """Change the vector that the log has kept of the flush."""
    vector = np.full(8, 0.5, np.float32).tobytes()
    change(directory, "UPDATE embeddings_queue SET vector = ? WHERE id = 'r99'", values=(vector,))


def older_index(directory: Path) -> None:
    """Put back the index of before the last flush."""
    for folder in (directory.with_name("plain")).glob("*/"):
        shutil.copytree(folder, directory / folder.name, dirs_exist_ok=True)


def text_of_the_log(directory: Path) -> None:
    """Change a text in the log only; tables and full text agree."""
    change(
        directory,
        "UPDATE embeddings_queue SET metadata = "
        "replace(metadata, 'number 5\"', 'number 9\"') WHERE id = 'r5'",
    )


def lose_words(directory: Path) -> None:
    """Lose everything that says that there is a second collection, but its records."""
    change(
        directory,
        "DELETE FROM embeddings_queue WHERE id LIKE 'w%'",
        "DELETE FROM segments WHERE collection = (SELECT id FROM collections WHERE name = 'words')",
        "DELETE FROM collections WHERE name = 'words'",
    )


CONTRADICTIONS: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    ("plain", lambda d: in_tables(d, b"word-5", b"word-x"), "table and its index"),
    (
        "plain",
        lambda d: in_tables(d, (1_000_005).to_bytes(3, "big"), (1_000_205).to_bytes(3, "big")),
        "table and its index",
    ),
    ("plain", lambda d: in_tables(d, b"ownerme", b"ownexme"), "of collection_metadata"),
    ("plain", lambda d: in_tables(d, b"notes", b"notez"), "of collections"),
    ("plain", lose_words, "record of no collection"),
    ("young", text_of_the_log, "the log has another one"),
    ("plain", other_vector, "the same moment"),
    ("later", older_index, "the same moment"),
    (
        "floats",
        lambda d: change(d, "DROP TABLE embedding_metadata_array"),
        "which values it should",
    ),
)


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions_are_not_decided(
    histories: Path,
    tmp_path: Path,
    equipment: Equipment,
    case: tuple[str, Callable[[Path], None], str],
) -> None:
    """A deep look finds them, repair refuses, and salvage lists them."""
    history, damage, reason = case
    directory = shutil.copytree(histories / history, tmp_path / history)
    shutil.copytree(histories / "plain", tmp_path / "plain", dirs_exist_ok=True)
    truth = content(directory)
    damage(directory)
    assert not deep(directory, equipment).sound
    change(directory, FULL_TEXT)
    before = contents(directory)
    with pytest.raises(Damaged, match=re.escape(reason)) as refused:
        repair_directory(directory, equipment)
    assert refused.value.kind == "cannot-repair"
    assert contents(directory) == before
    salvaged = salvage_directory(directory, tmp_path / "out", equipment)
    lines = [json.loads(line) for line in salvaged.list_path.read_text().splitlines()]
    listed = {line.get("id") for line in lines}
    found = content(tmp_path / "out")
    changed = {key[-1] for key, _ in truth.items() - found.items()}
    # What has no certain name is told as a whole.
    assert changed <= listed or lines[0]["what"].startswith("row ")


def deep(directory: Path, equipment: Equipment) -> Verdict:
    """Look at a directory."""
    return examine(
        directory,
        Level.DEEP,
        sandbox=equipment.sandbox,
        open_files=equipment.open_files,
        clock=equipment.clock,
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE collections SET schema_str = '{}' WHERE name = 'notes'",
        "UPDATE collections SET dimension = 999999999999",
        "UPDATE collection_metadata SET str_value = CAST(str_value AS BLOB)",
    ],
)
def test_of_what_chromadb_cannot_open_all_records_are_salvaged(
    histories: Path, tmp_path: Path, equipment: Equipment, statement: str
) -> None:
    """What is wrong with a collection itself is not carried over with its records."""
    directory = shutil.copytree(histories / "plain", tmp_path / "plain")
    truth = content(directory)
    change(directory, statement)
    assert not deep(directory, equipment).sound
    salvage_directory(directory, tmp_path / "out", equipment)
    assert content(tmp_path / "out") == truth


@pytest.mark.parametrize(
    "history", ["ignored", "young", "floats", "tenants", "long", "later", "deleted-database"]
)
def test_what_comes_back_is_what_chromadb_had(
    histories: Path, tmp_path: Path, equipment: Equipment, history: str
) -> None:
    """Bit for bit, of every database; what ChromaDB logged and ignored stays ignored."""
    directory = shutil.copytree(histories / history, tmp_path / history)
    truth = content(directory)
    assert deep(directory, equipment).sound
    change(
        directory,
        "DELETE FROM max_seq_id WHERE segment_id IN "
        "(SELECT id FROM segments WHERE scope = 'METADATA')",
    )
    assert repair_directory(directory, equipment).sources
    assert content(directory) == truth


def test_owners_and_files_of_others_stay(
    histories: Path, tmp_path: Path, equipment: Equipment
) -> None:
    """Permissions are as before; only ChromaDB's own files are made again."""
    directory = shutil.copytree(histories / "plain", tmp_path / "plain")
    change(directory, FULL_TEXT)
    (directory / f"{DATABASE}.backup").write_text("mine")
    (directory / "mine").mkdir()
    (directory / "mine/header.bin").write_text("mine")
    directory.chmod(0o700)
    (directory / DATABASE).chmod(0o600)
    repair_directory(directory, equipment)
    assert (directory / f"{DATABASE}.backup").read_text() == "mine"
    assert (directory / "mine/header.bin").read_text() == "mine"
    assert directory.stat().st_mode & 0o777 == 0o700
    made = [path for path in directory.rglob("*") if "mine" not in str(path.relative_to(directory))]
    modes = {path.stat().st_mode & 0o777 for path in made if path.name != f"{DATABASE}.backup"}
    assert modes == {0o700, 0o600}
    if os.geteuid() == 0:
        os.chown(directory, 1234, 1234)
        change(directory, "DELETE FROM embedding_fulltext_search_docsize WHERE id = 4")
        repair_directory(directory, equipment)
        assert directory.stat().st_uid == 1234


def test_what_cannot_be_exchanged_leaves_nothing(
    histories: Path, tmp_path: Path, equipment: Equipment
) -> None:
    """A mount point keeps its directory, and no second copy stays beside it."""
    directory = shutil.copytree(histories / "plain", tmp_path / "chroma")
    change(directory, FULL_TEXT)
    before = contents(directory)

    def busy(first: Path, second: Path) -> None:
        assert (second / MARK).exists()
        assert not (first / MARK).exists()
        raise OSError(16, "Device or resource busy", str(first))

    parts = Equipment(equipment.sandbox, equipment.open_files, equipment.clock, equipment.ids, busy)
    with pytest.raises(Conflict) as refused:
        repair_directory(directory, parts)
    assert refused.value.kind == "cannot-write"
    assert contents(directory) == before
    assert [path.name for path in tmp_path.iterdir()] == ["chroma"]


def test_a_mount_point_is_refused_at_once(
    histories: Path, tmp_path: Path, equipment: Equipment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made that could not be put anywhere."""
    directory = shutil.copytree(histories / "plain", tmp_path / "chroma")
    change(directory, FULL_TEXT)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == directory)
    with pytest.raises(Conflict, match="is a mount point"):
        repair_directory(directory, equipment)


def test_write_ahead_mode_is_mended(histories: Path, tmp_path: Path, equipment: Equipment) -> None:
    """ChromaDB does not use it, and whoever copies such a database may lose its log."""
    directory = shutil.copytree(histories / "plain", tmp_path / "chroma")
    truth = content(directory)
    with closing(sqlite3.connect(directory / DATABASE)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    assert "journal-mode" in {finding.check for finding in deep(directory, equipment).failed}
    repair_directory(directory, equipment)
    assert content(directory) == truth


def test_reasons_name_no_private_path(
    histories: Path, tmp_path: Path, equipment: Equipment
) -> None:
    """The copy that was looked at is gone when somebody reads them."""
    directory = shutil.copytree(histories / "plain", tmp_path / "chroma")
    (directory / DATABASE).unlink()
    with pytest.raises(Damaged) as refused:
        repair_directory(directory, equipment)
    assert "unfinished" not in refused.value.message


def test_a_full_disk_is_said_in_words() -> None:
    """Of many files that could not be copied the first one's reason is enough."""
    error = shutil.Error([("from", "to", "[Errno 28] No space left on device")])
    message = cannot_write(Path("chroma"), error).message
    assert message == "chroma cannot be written: [Errno 28] No space left on device"


def test_salvage_in_part_has_an_exit_code(histories: Path, tmp_path: Path) -> None:
    """Programs need not read the list to know that it is not empty."""
    directory = shutil.copytree(histories / "plain", tmp_path / "chroma")
    lose_words(directory)
    out = tmp_path / "out"
    answer = chromaseal("salvage", str(directory), str(out), "--json", cache=tmp_path / "cache")
    assert answer.exit_code == 9
    assert answer.only("salvaged")[0]["missing"] > 100
    assert len(content(out)) == 100
