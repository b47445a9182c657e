"""Vectors of cosine collections are outside the multiset hash, so merging asks for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chromaseal.adapters.chroma.lost_vectors import waiting_vectors
from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.delta.model import Delta, DeltaHeader, upserts_of
from chromaseal.testing.records import record

# In a process of its own, as ever where ChromaDB has a directory open. Its first argument is what
# ChromaDB does wrong from the second merge on.
MERGE = """
import json, sys
from dataclasses import replace
from chromaseal.adapters.chroma import merge, merge_on
from chromaseal.errors import ChromasealError
wrong, job, *requests = sys.argv[1:]
run = {"merge": merge, "merge-on": merge_on}[job].run
try:
    run(json.loads(requests[0]), lambda *_: None)
    exec(wrong)
    for request in requests[1:]:
        run(json.loads(request), lambda *_: None)
    print(json.dumps({"kind": "", "message": ""}))
except ChromasealError as error:
    print(json.dumps({"kind": error.kind, "message": error.message}))
"""
LOSES_A_NEW_ONE = """
upsert_records = merge.upsert_records
def losing(collection, records, stale):
    lost = [replace(each, embedding=each.embedding[::-1].copy()) for each in records[:1]]
    upsert_records(collection, [*lost, *records[1:]], stale)
merge.upsert_records = losing
"""
# The index does not have what the log had: as if the log had had another one.
LOSES_A_WAITING_ONE = """
waiting_vectors = merge.waiting_vectors
def losing(directory, collection):
    found = waiting_vectors(directory, collection)
    return {**found, "a": found["a"][::-1].copy()}
merge.waiting_vectors = losing
"""


def request_of(tmp_path: Path, *ids: str, space: str = "cosine") -> str:
    """Write a delta, and ask for its merge."""
    header = DeltaHeader("run", "notes", "2026-11-29T12:00:00.000000Z", None)
    rows = upserts_of([record(each, sum(each.encode()) % 97) for each in ids])
    path = tmp_path / ("-".join(ids)[:20] + ".parquet")
    path.write_bytes(ParquetDeltaCodec().encode(Delta(header, rows, {}, ())))
    directory = str(tmp_path / "directory")
    facts = {"directory": directory, "collection": "notes", "deltas": [str(path)]}
    return json.dumps({**facts, "space": space, "default_model": False})


def merged(wrong: str, job: str, *requests: str) -> dict[str, Any]:
    """Merge in a process of its own."""
    command = [sys.executable, "-c", MERGE, wrong, job, *requests]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(told))


@pytest.mark.parametrize("job", ["merge", "merge-on"])
def test_a_vector_that_chromadb_lost_is_no_merge(tmp_path: Path, job: str) -> None:
    """Whether the directory is opened anew or has stayed open."""
    requests = [request_of(tmp_path, "a", "b"), request_of(tmp_path, "c", "d")]
    told = merged(LOSES_A_NEW_ONE, job, *requests)
    assert told["kind"] == "lost-vectors"
    assert told["message"].endswith(" of 1 records: c")


def test_a_vector_that_waited_for_the_index_is_compared(tmp_path: Path) -> None:
    """Its entry may be gone once the merge is over."""
    requests = [request_of(tmp_path, "a", "b"), request_of(tmp_path, "c")]
    told = merged(LOSES_A_WAITING_ONE, "merge", *requests)
    assert told["kind"] == "lost-vectors"
    assert told["message"].endswith(" of 1 records: a")


@pytest.mark.parametrize("job", ["merge", "merge-on"])
def test_what_is_as_it_was_given_merges(tmp_path: Path, job: str) -> None:
    """Divided by its length or not yet; flushed in between, written again, and removed."""
    many = [f"r{n}" for n in range(1100)]
    requests = [request_of(tmp_path, *ids) for ids in (["a", "b"], many, ["b", "c"], ["d"])]
    assert merged("", job, *requests) == {"kind": "", "message": ""}
    waiting = waiting_vectors(tmp_path / "directory", "notes")
    # A flush has taken the others out of the log.
    assert {"b", "c", "d"} <= waiting.keys()
    assert len(waiting) < 1000


def test_where_the_hash_has_them_nobody_asks(tmp_path: Path) -> None:
    """Nor where there is no directory yet."""
    assert waiting_vectors(tmp_path / "nowhere", "notes") == {}
    assert merged("", "merge", request_of(tmp_path, "a", space="l2"))["kind"] == ""
    assert waiting_vectors(tmp_path / "directory", "notes") == {}
