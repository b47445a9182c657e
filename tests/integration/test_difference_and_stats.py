"""What diff and stats say, against dictionaries of records and the sizes of files in the store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytest

from chromaseal import Changes
from chromaseal.metering import CountingStore
from chromaseal.object_store import ObjectStore
from chromaseal.replication.difference import CollectionDifference
from chromaseal.snapshot.retention import Policy
from chromaseal.snapshot.stats import Stats
from chromaseal.testing.directory_states import EXTRA, made_states, replace_contents
from chromaseal.testing.records import record
from chromaseal.vault import Vault

pytestmark = pytest.mark.slow

NAME = "app"
DIMENSION = 6
VERSIONS = 4
# Makes the calls of each step, and copies the directory after it: FOLDER/0, FOLDER/1 and so on.
APPLICATION = """
import json, shutil, sys
from pathlib import Path
from chromaseal.adapters.chroma.client import opened
folder = Path(sys.argv[1])
with opened(folder / "live") as client:
    for number, step in enumerate(json.load(sys.stdin)):
        for name in step["dropped"]:
            client.delete_collection(name)
        for name, space in step["created"].items():
            hnsw = {"space": space, "sync_threshold": 20, "batch_size": 20}
            client.create_collection(name, configuration={"hnsw": hnsw}, embedding_function=None)
        for name, method, arguments in step["calls"]:
            collection = client.get_collection(name, embedding_function=None)
            getattr(collection, method)(**arguments)
        shutil.copytree(folder / "live", folder / str(number))
"""


class OpenVault(Protocol):
    """What the fixture ``vault_at`` gives; see ``tests/conftest.py``."""

    def __call__(
        self, url: str = "", *, store: Callable[[ObjectStore], ObjectStore] | None = None
    ) -> Vault:
        """Open a vault."""
        ...


class Row(NamedTuple):
    """A record as a dictionary has it."""

    vector: tuple[float, ...]
    document: str
    metadata: tuple[tuple[str, Any], ...]


Rows = dict[str, Row]


@dataclass
class Script:
    """What an application does, step by step, and the records that it must have after each."""

    chance: np.random.Generator
    steps: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, Rows] = field(default_factory=dict)
    after: list[dict[str, Rows]] = field(default_factory=list)

    def begin(self, created: dict[str, str], dropped: tuple[str, ...] = ()) -> None:
        """Begin a step with collections that come and go."""
        self.steps.append({"created": created, "dropped": list(dropped), "calls": []})
        for name in dropped:
            del self.rows[name]
        self.rows |= {name: {} for name in created}

    def end(self) -> None:
        """End a step."""
        self.after.append({name: dict(rows) for name, rows in self.rows.items()})

    def put(self, name: str, method: str, rows: Rows) -> None:
        """Write whole records: new ones, other ones, or the same again."""
        self._call(
            name,
            method,
            ids=list(rows),
            embeddings=[row.vector for row in rows.values()],
            documents=[row.document for row in rows.values()],
            metadatas=[dict(row.metadata) for row in rows.values()],
        )
        self.rows[name] |= rows

    def change_vector(self, name: str, record_id: str) -> None:
        """Change nothing but a vector."""
        vector = self.vector()
        self._call(name, "update", ids=[record_id], embeddings=[vector])
        self.rows[name][record_id] = self.rows[name][record_id]._replace(vector=vector)

    def change_document(self, name: str, record_id: str) -> None:
        """Change nothing but a document; without the vector ChromaDB would make another one."""
        row = self.rows[name][record_id]
        changed = row._replace(document=f"{row.document}, and more")
        arguments = {"documents": [changed.document], "embeddings": [row.vector]}
        self._call(name, "update", ids=[record_id], **arguments)
        self.rows[name][record_id] = changed

    def change_metadata(self, name: str, record_id: str) -> None:
        """Change nothing but a key of the metadata."""
        row = self.rows[name][record_id]
        score = float(self.chance.integers(1_000_000)) / 8
        metadata = dict(row.metadata) | {"score": score}
        self._call(name, "update", ids=[record_id], metadatas=[{"score": score}])
        self.rows[name][record_id] = row._replace(metadata=tuple(sorted(metadata.items())))

    def clear_metadata(self, name: str, record_id: str) -> None:
        """Take a key of the metadata away."""
        row = self.rows[name][record_id]
        kept = tuple((key, value) for key, value in row.metadata if key != "place")
        self._call(name, "update", ids=[record_id], metadatas=[{"place": None}])
        self.rows[name][record_id] = row._replace(metadata=kept)

    def delete(self, name: str, record_id: str) -> None:
        """Remove a record."""
        self._call(name, "delete", ids=[record_id])
        del self.rows[name][record_id]

    def vector(self) -> tuple[float, ...]:
        """Make a vector, exact in float32, of no particular length and direction."""
        numbers = self.chance.normal(size=DIMENSION).astype(np.float32)
        return tuple(map(float, numbers))

    def row(self, place: int) -> Row:
        """Make a record."""
        return Row(self.vector(), f"record {place}", (("place", place), ("score", 0.5)))

    def _call(self, name: str, method: str, **arguments: Any) -> None:  # noqa: ANN401 - ChromaDB's
        self.steps[-1]["calls"].append([name, method, arguments])


def script() -> Script:
    """Write a script in which everything occurs that can happen to a record."""
    made = Script(np.random.default_rng(7))
    spaces = {"plain": "l2", "angles": "cosine", "products": "ip"}
    for number in range(VERSIONS):
        if number == 2:
            made.begin({"late": "cosine"}, dropped=("products",))
        else:
            made.begin({} if number else spaces)
        for name in made.rows:
            first = 100 * number
            added = 30 if number == 0 else 5
            made.put(name, "add", {f"r{n}": made.row(n) for n in range(first, first + added)})
            if number and len(made.rows[name]) > added:
                for change in (
                    made.change_vector,
                    made.change_document,
                    made.change_metadata,
                    made.clear_metadata,
                    made.delete,
                ):
                    change(name, str(made.chance.choice(sorted(made.rows[name]))))
                again = {key: made.rows[name][key] for key in sorted(made.rows[name])[:4]}
                made.put(name, "upsert", again)
        made.end()
    return made


def expected(before: Rows, after: Rows) -> dict[str, list[str]]:
    """Give the difference of two dictionaries."""
    return {
        "added": sorted(after.keys() - before.keys()),
        "changed": sorted(i for i in before.keys() & after.keys() if before[i] != after[i]),
        "removed": sorted(before.keys() - after.keys()),
    }


def plain(found: CollectionDifference) -> dict[str, list[str]]:
    """Give what was found in the same form."""
    kinds = {"added": found.added, "changed": found.changed, "removed": found.removed}
    assert all(each.count == len(each.ids) for each in kinds.values())
    return {kind: list(each.ids) for kind, each in kinds.items()}


def test_a_diff_is_the_difference_of_two_dictionaries(vault: Vault, tmp_path: Path) -> None:
    """From any version to any other, in every collection: whatever of a record has changed."""
    made = script()
    command = [sys.executable, "-c", APPLICATION, str(tmp_path)]
    subprocess.run(command, input=json.dumps(made.steps), text=True, check=True)
    directory = tmp_path / "pushed"
    for number in range(VERSIONS):
        replace_contents(directory, tmp_path / str(number))
        vault.push(directory, NAME)
    changed = 0
    for one, other in permutations(range(VERSIONS), 2):
        before, after = made.after[one], made.after[other]
        found = vault.diff(NAME, str(one + 1), str(other + 1)).collections
        assert {name: plain(each) for name, each in found.items()} == {
            name: expected(before.get(name, {}), after.get(name, {}))
            for name in before.keys() | after.keys()
        }, (one, other)
        changed += sum(each.changed.count for each in found.values())
    assert changed > 50


def test_a_cosine_vector_that_changes_alone_is_a_change(vault: Vault, tmp_path: Path) -> None:
    """Its direction counts, also where neither document nor metadata changed."""
    made = Script(np.random.default_rng(8))
    made.begin({"angles": "cosine"})
    made.put("angles", "add", {f"r{n}": made.row(n) for n in range(5)})
    made.end()
    made.begin({})
    made.change_vector("angles", "r3")
    made.end()
    command = [sys.executable, "-c", APPLICATION, str(tmp_path)]
    subprocess.run(command, input=json.dumps(made.steps), text=True, check=True)
    for number in range(2):
        replace_contents(tmp_path / "pushed", tmp_path / str(number))
        vault.push(tmp_path / "pushed", NAME)
    found = vault.diff(NAME, "1", "2").collections["angles"]
    assert plain(found) == {"added": [], "changed": ["r3"], "removed": []}


def sizes(folder: Path, pattern: str = "*") -> dict[str, int]:
    """Give the size of every file below a folder, by its path in there."""
    files = [path for path in folder.rglob(pattern) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def push_versions(vault: Vault, collection: str, directory: Path, count: int) -> None:
    """Publish versions that differ in two bytes each, so that no chain outweighs its base."""
    replace_contents(directory, made_states()[0])
    content = (directory / EXTRA).read_bytes()
    for number in range(count):
        changed = bytearray(content)
        changed[number] ^= 255
        (directory / EXTRA).write_bytes(changed)
        vault.push(directory, collection)


def assert_adds_up(vault: Vault, folder: Path, found: Stats, scratch: Path) -> None:
    """Compare figures with the files of a vault and with a copy of its newest version."""
    objects, layers = sizes(folder), sizes(folder / "layer")
    assert (found.objects, found.stored_bytes) == (len(objects), sum(objects.values()))
    assert found.delta_bytes == sum(sizes(folder / "delta").values())
    assert found.written_bytes == sum(layers.values())
    pointer = (folder / "snapshot/latest-pointer.txt").read_text()
    manifests = {path.parent.name: path for path in folder.rglob("manifest.json")}
    assert found.versions == len(manifests)
    chain = json.loads(manifests[pointer].read_bytes())["layers"]
    assert [layer.layer_id for layer in found.layers] == [each["layer_id"] for each in chain]
    for layer in found.layers:
        own = [size for name, size in layers.items() if name.startswith(f"{layer.layer_id}-")]
        assert (layer.objects, layer.size_bytes) == (len(own), sum(own))
    assert found.cold_read_bytes == sum(layer.size_bytes for layer in found.layers)
    ends = [(layer.first, layer.last) for layer in found.layers]
    assert ends[0][0] == ends[0][1]
    assert [first for first, _ in ends[1:]] == [last + 1 for _, last in ends[:-1]]
    assert ends[-1][1] == found.versions
    version = vault.open_copy(found.collection, scratch)
    assert found.directory_bytes == sum(sizes(scratch).values())
    assert found.records == version.manifest.records.count
    assert found.month_usd == pytest.approx(found.stored_bytes * 0.023 / 1e9)


def test_stats_of_pushes_are_those_of_the_objects(vault: Vault, tmp_path: Path) -> None:
    """Bytes per layer, chain, amplification; a collection whose name begins alike counts apart."""
    found = []
    for collection, count in (("notes", 4), ("notes-more", 2)):
        push_versions(vault, collection, tmp_path / f"{collection}-app", count)
        found.append(vault.stats(collection))
        assert_adds_up(vault, tmp_path / "vault" / collection, found[-1], tmp_path / collection)
    assert [(each.versions, len(each.layers)) for each in found] == [(4, 4), (2, 2)]
    assert [each.kind for each in found[0].layers] == ["base", "diff", "diff", "diff"]
    assert all(each.write_amplification is None for each in found)
    base = sum(sizes(tmp_path / "vault" / "notes" / "layer", "000001-*-base-*").values())
    everything = sum(sizes(tmp_path / "vault" / "notes" / "layer").values())
    assert found[0].read_amplification == pytest.approx(everything / base)
    assert vault.stats("notes") == found[0]


def test_stats_after_folds_and_garbage_count_what_is_there(vault: Vault, tmp_path: Path) -> None:
    """Folding shortens the chain and counts as written; what garbage collection takes is gone."""
    folder, versions = tmp_path / "vault" / NAME, 18
    push_versions(vault, NAME, tmp_path / "app", versions)
    found = vault.stats(NAME)
    assert_adds_up(vault, folder, found, tmp_path / "copy")
    assert sizes(folder, "*-fold-*")
    assert found.versions == versions
    assert len(found.layers) <= 16
    assert found.written_bytes > found.cold_read_bytes
    garbage = vault.gc(NAME, Policy(keep_last=1))
    after = vault.stats(NAME)
    # The record of what went is an object too.
    records = sizes(folder / "gc")
    assert after.objects == found.objects - len(garbage.doomed) + len(records)
    assert after.stored_bytes == found.stored_bytes - garbage.size_bytes + sum(records.values())
    assert after.stored_bytes == sum(sizes(folder).values()) < found.stored_bytes
    assert (after.versions, after.layers) == (found.versions, found.layers)


def test_stats_of_runs_count_their_deltas(vault: Vault, tmp_path: Path) -> None:
    """Write amplification is layers written for each byte of deltas."""
    for number in range(3):
        notes = [record(f"r{n}", n, run=number) for n in range(10 * number, 10 * number + 20)]
        vault.write({"notes": Changes(upserts=notes)})
        vault.compact()
    found = vault.stats("notes")
    folder = tmp_path / "vault" / "notes"
    assert_adds_up(vault, folder, found, tmp_path / "copy")
    assert (found.versions, found.records) == (3, 40)
    deltas, layers = sizes(folder / "delta"), sizes(folder / "layer")
    assert len(deltas) == 3
    written = sum(layers.values()) / sum(deltas.values())
    assert found.write_amplification == pytest.approx(written)


def test_requests_are_those_that_a_store_gets(vault_at: OpenVault, tmp_path: Path) -> None:
    """A commit and a cold read take as many requests and bytes as stats say."""
    vault = vault_at()
    directory = tmp_path / "app"
    for number in range(3):
        replace_contents(directory, made_states()[number])
        vault.push(directory, NAME)
    counting: list[CountingStore] = []

    def counted(store: ObjectStore) -> ObjectStore:
        counting.append(CountingStore(store))
        return counting[-1]

    stranger = vault_at(store=counted)
    [store] = counting
    before = store.usage
    stranger.open_copy(NAME, tmp_path / "copy")
    read = store.usage.since(before)
    found = stranger.stats(NAME)
    assert found.cold_read_gets == read.requests
    manifest = next((tmp_path / "vault" / NAME).rglob(f"*_{3:06d}_*/manifest.json"))
    pointer = tmp_path / "vault" / NAME / "snapshot/latest-pointer.txt"
    heads_bytes = manifest.stat().st_size + pointer.stat().st_size
    assert found.cold_read_bytes == read.bytes_out - heads_bytes
    assert found.cold_read_usd == pytest.approx(read.requests * 0.0004 / 1000)
    before = store.usage
    shutil.rmtree(directory)
    shutil.copytree(made_states()[3], directory)
    stranger.push(directory, NAME, replace=True)
    wrote = store.usage.since(before)
    assert stranger.stats(NAME).commit_puts == wrote.create + wrote.replace
