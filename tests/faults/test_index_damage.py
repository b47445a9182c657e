"""Damage inside ChromaDB's files that a row count, a query and SQLite's quick check pass over."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.verification import run
from chromaseal.sandbox import no_progress

_DIMENSION = 8


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a closed directory with a flushed index of 1,200 records."""
    directory = tmp_path_factory.mktemp("sound") / "directory"
    vectors = np.random.default_rng(0).normal(size=(1200, _DIMENSION)).astype(np.float32)
    with opened(directory) as client:
        notes = client.create_collection("notes", embedding_function=None)
        ids = [f"r{number}" for number in range(len(vectors))]
        notes.upsert(ids=ids, embeddings=vectors, documents=[f"text of {i}" for i in ids])
    yield directory
    shutil.rmtree(directory)


def lists_above(directory: Path) -> list[tuple[int, int]]:
    """Give place and length of every entry of the link lists that is not empty."""
    content = next(directory.rglob("link_lists.bin")).read_bytes()
    found, position = [], 0
    while position < len(content):
        (length,) = struct.unpack_from("<I", content, position)
        found += [(position + 4, length)] if length else []
        position += 4 + length
    return found


def write(path: Path, offset: int, value: bytes) -> None:
    """Overwrite some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value)


def lead_nowhere(directory: Path) -> None:
    """Let an upper list lead to an element that does not exist."""
    place, _ = lists_above(directory)[0]
    write(next(directory.rglob("link_lists.bin")), place, struct.pack("<II", 1, 999_999))


def lead_too_high(directory: Path) -> None:
    """Let an upper list lead to an element that stands on the ground."""
    content = next(directory.rglob("link_lists.bin")).read_bytes()
    first_ground = 0 if struct.unpack_from("<I", content, 0)[0] == 0 else None
    assert first_ground == 0
    place, _ = lists_above(directory)[0]
    write(next(directory.rglob("link_lists.bin")), place, struct.pack("<II", 1, first_ground))


def lower_the_entry(directory: Path) -> None:
    """Let searches start at an element that is not on the highest level."""
    write(next(directory.rglob("header.bin")), 56, struct.pack("<I", 0))


def raise_the_top(directory: Path) -> None:
    """Claim a level that no element has."""
    write(next(directory.rglob("header.bin")), 52, struct.pack("<i", 9))


def rename(directory: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the pickle of names and labels."""
    path = next(directory.rglob("index_metadata.pickle"))
    names = pickle.loads(path.read_bytes())  # noqa: S301 - our own
    change(names)
    path.write_bytes(pickle.dumps(names, protocol=3))


def rotate_names(directory: Path) -> None:
    """Let every label lead back to another id."""

    def change(names: dict[str, object]) -> None:
        inverse = names["label_to_id"]
        assert isinstance(inverse, dict)
        labels, ids = list(inverse), list(inverse.values())
        names["label_to_id"] = dict(zip(labels, ids[1:] + ids[:1], strict=True))

    rename(directory, change)


def forget_names(directory: Path) -> None:
    """Let no label lead back to an id."""
    rename(directory, lambda names: names.update(label_to_id={}))


def count_too_few(directory: Path) -> None:
    """Let the next label be one that is taken."""
    rename(directory, lambda names: names.update(total_elements_added=1))


def forget_texts(directory: Path) -> None:
    """Take documents out of the full-text index."""
    with closing(sqlite3.connect(directory / "chroma.sqlite3")) as db, db:
        db.execute("DELETE FROM embedding_fulltext_search_content WHERE id < 50")


def change_the_distance(directory: Path) -> None:
    """Let the collection measure otherwise than it is pinned to."""
    with closing(sqlite3.connect(directory / "chroma.sqlite3")) as db, db:
        db.execute("UPDATE collections SET schema_str = replace(schema_str, '\"l2\"', '\"ip\"')")


def verdict(directory: Path) -> list[str]:
    """Give the checks that fail."""
    answer = run(
        {
            "directory": str(directory),
            "deep": True,
            "scratch": str(directory.parent),
            "collection": "notes",
            "space": "l2",
        },
        no_progress,
    )
    return [finding["check"] for finding in answer["findings"] if not finding["passed"]]


def test_a_sound_directory_passes(sound: Path) -> None:
    """No check complains about what ChromaDB has written."""
    assert verdict(sound) == []


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (lead_nowhere, "index-structure"),
        (lead_too_high, "index-structure"),
        (lower_the_entry, "index-structure"),
        (raise_the_top, "index-structure"),
        (rotate_names, "labels"),
        (forget_names, "labels"),
        (count_too_few, "labels"),
        (forget_texts, "full-text"),
        (change_the_distance, "space"),
    ],
)
def test_damage_inside_the_files_is_found(
    sound: Path, tmp_path: Path, damage: Callable[[Path], None], check: str
) -> None:
    """Each of these was seen to kill ChromaDB or to make it answer wrongly."""
    directory = tmp_path / "directory"
    shutil.copytree(sound, directory)
    damage(directory)
    assert check in verdict(directory)
