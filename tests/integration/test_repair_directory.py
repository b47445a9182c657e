"""A damaged directory gets its records back, or stays as it is; salvage says what is missing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromaseal.errors import Conflict, Damaged
from chromaseal.repair.directory import repair_directory, salvage_directory
from chromaseal.repair.equipment import Equipment
from chromaseal.seal.quiet import DATABASE
from chromaseal.testing.command_line import chromaseal
from chromaseal.testing.corpus.mending import content, same
from chromaseal.testing.directory_states import contents

pytestmark = pytest.mark.slow
# Two collections with metadata, settings and dimensions of their own; one has no index yet.
MAKE = """
import sys, chromadb, numpy as np
client = chromadb.PersistentClient(sys.argv[1])
chance = np.random.default_rng(7)
for name, count, space, size, most in (("long", 300, "cosine", 12, 24), ("short", 20, "l2", 5, 8)):
    hnsw = {"space": space, "sync_threshold": 100, "max_neighbors": most, "ef_search": 77}
    collection = client.create_collection(
        name, metadata={"owner": name, "size": count}, embedding_function=None,
        configuration={"hnsw": hnsw},
    )
    collection.add(
        ids=[f"{name}-{n}" for n in range(count)],
        embeddings=chance.standard_normal((count, size)).astype(np.float32),
        documents=[f"text {n}{chr(0) * (n == 5)} of {name}" for n in range(count)],
        metadatas=[{"n": n, "x": float(chance.standard_normal()), "tags": ["a", str(n)]}
                   for n in range(count)],
    )
    collection.delete(ids=[f"{name}-3"])
    collection.update(ids=[f"{name}-4"], metadatas=[{"n": -4}])
client.close()
"""
REBUILD = "INSERT INTO embedding_fulltext_search (embedding_fulltext_search) VALUES ('rebuild')"
ASK = """
import json, sys, chromadb
client = chromadb.PersistentClient(sys.argv[1])
found = {}
for each in client.list_collections():
    collection = client.get_collection(each.name, embedding_function=None)
    hnsw = collection.configuration["hnsw"]
    hits = collection.get(where_document={"$contains": "text 7 of"})["ids"]
    found[each.name] = [collection.count(), collection.metadata, hnsw, hits]
    size = collection.peek(1)["embeddings"].shape[1]
    collection.upsert(ids=["new"], embeddings=[[0.5] * size], documents=["a new one"])
    assert collection.count() == found[each.name][0] + 1
client.close()
print(json.dumps(found))
"""


def run(program: str, directory: Path) -> str:
    """Run a program of a user of ChromaDB's; when it is over, nothing is open."""
    command = [sys.executable, "-c", program, str(directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory that a test may copy."""
    directory = tmp_path_factory.mktemp("healthy") / "chroma"
    run(MAKE, directory)
    # A NUL in a document breaks the full-text index; a healthy directory has it rebuilt.
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        db.execute(REBUILD)
    (directory / "note.txt").write_text("not ChromaDB's")
    return directory


@pytest.fixture(scope="module")
def healthy_answers(healthy: Path) -> dict[str, Any]:
    """Give what ChromaDB says of it."""
    again = shutil.copytree(healthy, healthy.parent / "again")
    return dict(json.loads(run(ASK, again)))


@pytest.fixture
def directory(healthy: Path, tmp_path: Path) -> Path:
    """Give a copy to be damaged."""
    return shutil.copytree(healthy, tmp_path / "chroma")


def holds_the_same(directory: Path, other: Path) -> bool:
    """Whether two directories have the same records; one collection measures by cosine."""
    found, wanted = content(directory), content(other)
    return found.keys() == wanted.keys() and all(
        same(found[i], wanted[i], "cosine" if i.startswith("long") else "l2") for i in found
    )


def index_file(directory: Path, name: str) -> Path:
    """Give a file of the only index that was ever flushed."""
    (folder,) = directory.glob("*/index_metadata.pickle")
    return folder.with_name(name)


def change(directory: Path, statement: str) -> None:
    """Run a statement on the database."""
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        assert db.execute(statement).rowcount


def break_links(directory: Path) -> None:
    """Cut the links of the index."""
    path = index_file(directory, "link_lists.bin")
    path.write_bytes(path.read_bytes()[:-7])


def break_header(directory: Path) -> None:
    """Lose the header of the index."""
    index_file(directory, "header.bin").write_bytes(b"")


def break_full_text(directory: Path) -> None:
    """Lose the full-text index."""
    change(directory, "DELETE FROM embedding_fulltext_search_data WHERE id > 10")


def break_places(directory: Path) -> None:
    """Lose where the segments are in the log."""
    change(directory, "DELETE FROM max_seq_id")


@pytest.mark.parametrize("damage", [break_links, break_header, break_full_text, break_places])
def test_everything_comes_back(
    directory: Path,
    healthy: Path,
    healthy_answers: dict[str, Any],
    equipment: Equipment,
    damage: object,
) -> None:
    """Records, settings and files of others are as before; the damaged directory is kept."""
    assert callable(damage)
    damage(directory)
    damaged = contents(directory)
    repaired = repair_directory(directory, equipment)
    assert repaired.sources, repaired
    assert repaired.records == 318
    assert holds_the_same(directory, healthy)
    assert (directory / "note.txt").read_text() == "not ChromaDB's"
    assert repaired.kept is not None
    assert contents(repaired.kept) == damaged
    assert sorted(path.name for path in directory.parent.iterdir()) == sorted(
        [directory.name, repaired.kept.name]
    )
    told = json.loads(run(ASK, directory))
    assert told == healthy_answers
    assert told["long"][2]["max_neighbors"] == 24


def test_a_dry_run_changes_nothing(directory: Path, equipment: Equipment) -> None:
    """It makes and proves everything, and leaves every byte as it was."""
    break_links(directory)
    before = contents(directory)
    repaired = repair_directory(directory, equipment, dry_run=True)
    assert repaired.sources
    assert repaired.kept is None
    assert contents(directory) == before
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_a_healthy_directory_is_left_alone(directory: Path, equipment: Equipment) -> None:
    """There is nothing to repair, and so no copy is made."""
    before = contents(directory)
    repaired = repair_directory(directory, equipment)
    assert (repaired.problem, repaired.sources, repaired.kept) == ("", (), None)
    assert contents(directory) == before


def test_what_has_no_source_is_refused_and_salvaged(
    directory: Path, healthy: Path, equipment: Equipment, tmp_path: Path
) -> None:
    """Nothing is made up: repair leaves the directory, salvage lists what is missing and why."""
    index_file(directory, "index_metadata.pickle").unlink()
    before = contents(directory)
    with pytest.raises(Damaged) as refused:
        repair_directory(directory, equipment)
    assert refused.value.kind == "cannot-repair"
    assert "index_metadata.pickle is missing" in refused.value.message
    assert contents(directory) == before
    out = tmp_path / "out"
    salvaged = salvage_directory(directory, out, equipment)
    assert contents(directory) == before
    lines = [json.loads(line) for line in salvaged.list_path.read_text().splitlines()]
    truth, found = content(healthy), content(out)
    assert {line["id"] for line in lines} == truth.keys() - found.keys()
    assert all(same(truth[i], found[i], "cosine") for i in found)
    assert {f"short-{n}" for n in range(20) if n != 3} <= found.keys()
    assert lines[0]["document"].startswith("text ")
    with pytest.raises(Conflict):
        salvage_directory(directory, out, equipment)


def test_a_zeroed_page_costs_what_lies_on_it(
    directory: Path, healthy: Path, equipment: Equipment, tmp_path: Path
) -> None:
    """Neighbours whose vectors reach into the page are not passed off as whole."""
    path = index_file(directory, "data_level0.bin")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))
    out = tmp_path / "out"
    salvaged = salvage_directory(directory, out, equipment)
    truth, found = content(healthy), content(out)
    listed = {json.loads(line)["id"] for line in salvaged.list_path.read_text().splitlines()}
    # A row of 24 neighbours and 12 numbers has 252 bytes, so 17 or 18 touch the page.
    assert listed == truth.keys() - found.keys()
    assert 16 <= len(listed) <= 19
    assert all(same(truth[i], found[i], "cosine") for i in found)


def test_what_is_written_meanwhile_is_not_lost(directory: Path, equipment: Equipment) -> None:
    """A directory that changes while it is made again stays in its place."""
    break_links(directory)

    def meddle(step: str, *_: int) -> None:
        if step == "make it again from its log":
            (directory / "note.txt").write_text("written meanwhile")

    with pytest.raises(Conflict) as refused:
        repair_directory(directory, equipment, progress=meddle)
    assert refused.value.kind == "changed-while-reading"
    assert (directory / "note.txt").read_text() == "written meanwhile"
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_a_hot_journal_is_rolled_back(directory: Path, equipment: Equipment, healthy: Path) -> None:
    """What a killed writer left half done is undone by its own journal."""
    program = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1] + "/chroma.sqlite3", isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE embedding_metadata SET string_value = 'half' WHERE string_value IS NOT NULL")
print(db.execute("SELECT count(*) FROM embedding_metadata").fetchone())
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program, str(directory)], check=False)
    assert (directory / f"{DATABASE}-journal").stat().st_size > 0
    repaired = repair_directory(directory, equipment)
    assert repaired.sources == (f"{DATABASE}-journal, rolled back",)
    assert contents(directory) == contents(healthy)


def test_an_open_directory_is_not_repaired(directory: Path, equipment: Equipment) -> None:
    """Whoever has it open would go on with the damaged one."""
    break_links(directory)
    program = "import sys; f = open(sys.argv[1] + '/chroma.sqlite3'); print(1, flush=True); input()"
    command = [sys.executable, "-c", program, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(Conflict) as refused:
            repair_directory(directory, equipment)
        holder.communicate(b"\n")
    assert refused.value.kind == "still-open"


def test_on_the_command_line(directory: Path, tmp_path: Path) -> None:
    """Repair and salvage tell people and programs what they did."""
    break_links(directory)
    out = tmp_path / "out"
    salvaged = chromaseal("salvage", str(directory), str(out), "--json", cache=tmp_path / "cache")
    assert salvaged.exit_code == 0, salvaged.errors
    assert salvaged.only("salvaged")[0]["missing"] == 0
    answer = chromaseal("repair", ".", cache=tmp_path / "cache", folder=directory)
    assert answer.exit_code == 0, answer.errors
    assert "the damaged directory is now" in answer.out
    inside = chromaseal("salvage", ".", "out", cache=tmp_path / "cache", folder=directory)
    assert inside.exit_code == 2
    again = chromaseal("repair", str(directory), "--json", cache=tmp_path / "cache")
    assert again.only("repaired-directory")[0]["problem"] == ""
    assert np.isclose(again.only("repaired-directory")[0]["records"], 318)
