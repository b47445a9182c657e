"""Directories of older ChromaDB releases: looked at, repaired and salvaged like today's."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
import struct
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from chromaseal.adapters.chroma.backlog import read_backlogs
from chromaseal.adapters.chroma.hnsw import read_pickle
from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.errors import Damaged
from chromaseal.repair.directory import repair_directory, salvage_directory
from chromaseal.repair.equipment import Equipment
from chromaseal.seal.examine import examine
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.verdict import Level
from chromaseal.testing.corpus.mending import content, same

pytestmark = pytest.mark.slow
FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASES = ("0.5.23", "0.6.3", "1.0.20", "1.2.2", "1.3.7", "1.4.1")
# Of settings that are in segments' metadata, in a configuration, and in a schema.
FORMS = ("0.5.23", "1.2.2", "1.3.7")
SPACES = {"of-l2": "l2", "of-cosine": "cosine", "of-ip": "ip", "small": "l2"}
RECORDS = 3 * 43 + 2
# Distances that ChromaDB itself gives, by which it is known how it measures.
ASK = """
import sys, chromadb
client = chromadb.PersistentClient(sys.argv[1])
for name in ("of-l2", "of-cosine", "of-ip"):
    collection = client.get_collection(name, embedding_function=None)
    answer = collection.query(query_embeddings=[[1.0] * 8], n_results=3, include=["distances"])
    print(name, *answer["ids"][0], *(f"{each:.4f}" for each in answer["distances"][0]))
client.close()
"""

ADD = """
import sys, chromadb, numpy as np
client = chromadb.PersistentClient(sys.argv[1])
collection = client.get_collection("of-l2", embedding_function=None)
ids = [f"l2-{n}" for n in range(30, 90)]
collection.upsert(ids=ids, embeddings=np.random.default_rng(3).standard_normal((60, 8)))
collection.count()
client.close()
"""
FUZZ = """
import pickle, random, resource, sys
from pathlib import Path
from chromaseal.adapters.chroma.hnsw import read_pickle
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
chance, path = random.Random(11), Path(sys.argv[1])
names = {f"r{n}": n for n in range(40)}
whole = pickle.dumps({"id_to_label": names, "total_elements_added": 40})
for _ in range(1000):
    raw = bytearray(whole)
    for place in chance.choices(range(len(raw)), k=chance.randint(1, 8)):
        raw[place] = chance.randrange(256)
    path.write_bytes(raw)
    assert isinstance(read_pickle(path), dict)
print("1000 read")
"""


def unpacked(release: str, folder: Path) -> Path:
    """Give a directory that a release has written."""
    with tarfile.open(FIXTURES / f"chromadb-{release}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "chroma"


def distances(directory: Path) -> str:
    """Let today's ChromaDB open a copy and measure."""
    copy = shutil.copytree(directory, directory.with_name("asked"))
    command = [sys.executable, "-c", ASK, str(copy)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(copy)
    return answer


def holds_the_same(directory: Path, other: Path) -> bool:
    """Whether two directories have the same records."""
    found, wanted = content(directory), content(other)
    return found.keys() == wanted.keys() and all(
        same(found[i], wanted[i], "cosine" if i.startswith("cosine") else "l2") for i in found
    )


def raises_no_alarm(directory: Path, equipment: Equipment) -> None:
    """Let a deep look find nothing, and the settings of all collections."""
    verdict = examine(
        directory,
        Level.DEEP,
        sandbox=equipment.sandbox,
        open_files=equipment.open_files,
        clock=equipment.clock,
    )
    assert [(each.check, each.evidence) for each in verdict.failed] == []
    assert len(content(directory)) == RECORDS
    spaces = {each.name: each.space for each in inspect(directory, deep=False).collections}
    assert spaces == SPACES
    thresholds = {each.collection: each.threshold for each in read_backlogs(directory)}
    assert thresholds == {"of-l2": 20, "of-cosine": 20, "of-ip": 20, "small": 1000}


@pytest.mark.parametrize("release", RELEASES)
def test_an_older_release_raises_no_alarm(
    release: str, tmp_path: Path, equipment: Equipment
) -> None:
    """Every check of a deep look holds, and spaces and thresholds are read where they stand."""
    raises_no_alarm(unpacked(release, tmp_path), equipment)


def test_other_names_in_a_schema_are_known(tmp_path: Path, equipment: Equipment) -> None:
    """ChromaDB reads a schema by either of two names for the same, and so is it looked at."""
    directory = unpacked("1.3.7", tmp_path)
    before = distances(directory)
    renamed = """
        UPDATE collections SET schema_str = replace(replace(
            schema_str, '"float_list"', '"#float_list"'), '"vector_index"', '"$vector_index"')
    """
    with closing(sqlite3.connect(directory / DATABASE)) as connection, connection:
        connection.execute(renamed)
    assert distances(directory) == before
    raises_no_alarm(directory, equipment)


@pytest.mark.parametrize("release", FORMS)
def test_an_older_release_is_repaired(release: str, tmp_path: Path, equipment: Equipment) -> None:
    """The same records come out, and ChromaDB measures their distances as it did before."""
    healthy = unpacked(release, tmp_path / "healthy")
    directory = shutil.copytree(healthy, tmp_path / "chroma")
    for links in directory.glob("*/link_lists.bin"):
        links.write_bytes(b"\x01")
    repaired = repair_directory(directory, equipment)
    assert repaired.sources
    assert holds_the_same(directory, healthy)
    assert distances(directory) == distances(healthy)


@pytest.mark.parametrize("release", FORMS)
def test_an_older_release_is_salvaged(release: str, tmp_path: Path, equipment: Equipment) -> None:
    """Without one collection's names the others come out whole, measured as before."""
    healthy = unpacked(release, tmp_path / "healthy")
    directory = shutil.copytree(healthy, tmp_path / "chroma")
    (lost,) = (each for each in inspect(directory, deep=False).collections if each.name == "of-ip")
    (directory / lost.vector_segment / "index_metadata.pickle").unlink()
    salvage_directory(directory, tmp_path / "out", equipment)
    found, wanted = content(tmp_path / "out"), content(healthy)
    kept = {i for i in wanted if not i.startswith("ip")}
    assert kept <= found.keys()
    assert all(same(found[i], wanted[i], i.partition("-")[0]) for i in found)
    before, after = distances(healthy).splitlines(), distances(tmp_path / "out").splitlines()
    assert before[:2] == after[:2]


@pytest.mark.parametrize("release", FORMS)
def test_what_memory_left_behind_the_elements_is_nobodys(
    release: str, tmp_path: Path, equipment: Equipment
) -> None:
    """There may be old rows, and garbage; neither is believed, nor held against others."""
    healthy = unpacked(release, tmp_path / "healthy")
    directory = shutil.copytree(healthy, tmp_path / "chroma")
    for rows in directory.glob("*/data_level0.bin"):
        raw = bytearray(rows.read_bytes())
        count, size = struct.unpack_from("<QQ", rows.with_name("header.bin").read_bytes(), 20)
        used = count * size
        raw[used : used + 4 * size] = raw[size : 5 * size]
        # Garbage, and a row of another index that had more elements.
        raw[used + 4 : used + size - 8] = b"\x41" * (size - 12)
        raw[used + 2 * size - 8 : used + 2 * size] = struct.pack("<Q", count + 2)
        rows.write_bytes(raw)
        rows.with_name("link_lists.bin").write_bytes(b"\x01")
    repair_directory(directory, equipment)
    assert holds_the_same(directory, healthy)


def test_newer_elements_behind_the_last_are_held_against_it(
    tmp_path: Path, equipment: Equipment
) -> None:
    """Vectors of a later moment than names and tables are not passed off as right."""
    old = unpacked("1.3.7", tmp_path / "old")
    new = shutil.copytree(old, tmp_path / "new")
    subprocess.run([sys.executable, "-c", ADD, str(new)], check=True)
    for rows in new.glob("*/data_level0.bin"):
        shutil.copyfile(rows, old / rows.relative_to(new))
    with pytest.raises(Damaged) as caught:
        repair_directory(old, equipment)
    assert caught.value.kind == "cannot-repair"
    salvaged = salvage_directory(old, tmp_path / "out", equipment)
    assert "not of the same moment" in salvaged.list_path.read_text()


def test_the_distance_of_an_older_release_is_not_guessed(
    tmp_path: Path, equipment: Equipment
) -> None:
    """Where the rows that say it cannot be read, the list says that it is lost."""
    directory = unpacked("0.5.23", tmp_path)
    with closing(sqlite3.connect(directory / DATABASE)) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'segment_metadata'"
        (page,) = db.execute(query).fetchone()
        (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    with (directory / DATABASE).open("r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(b"\xff" * page_bytes)
    salvaged = salvage_directory(directory, tmp_path / "out", equipment)
    listed = salvaged.list_path.read_text()
    assert listed.count("distance and sizes of the index cannot be read") == len(SPACES)


def test_an_old_objects_names_execute_nothing(tmp_path: Path) -> None:
    """One class is known by its name alone; a function beside it is refused."""
    path = tmp_path / "index_metadata.pickle"
    known = b"cchromadb.segment.impl.vector.local_persistent_hnsw\nPersistentData\n"
    path.write_bytes(b"\x80\x02" + known + b")\x81}U\x0bid_to_label}U\x01aK\x01ssb.")
    assert read_pickle(path) == {"id_to_label": {"a": 1}}
    marker = tmp_path / "executed"
    path.write_bytes(
        b"\x80\x02cbuiltins\nopen\n" + pickle.dumps((str(marker), "w"), 2)[2:-1] + b"R."
    )
    assert read_pickle(path) == {}
    assert not marker.exists()
    # To be given attributes, and to be called, leads nowhere.
    path.write_bytes(b"\x80\x02" + known + b"N}U\x0c__setstate__" + known + b"s\x86b.")
    assert read_pickle(path) == {}
    path.write_bytes(b"\x80\x02" + known + b"(K\x01tR.")
    assert read_pickle(path) == {}


def test_pickles_of_chance_execute_nothing(tmp_path: Path) -> None:
    """Whatever bytes there are, a process with a child's limits reads plain data, and lives on."""
    command = [sys.executable, "-c", FUZZ, str(tmp_path / "index_metadata.pickle")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    assert answer.stdout == "1000 read\n"
