"""One flipped bit in a vault's objects: refused by digest, with the object's name, or not used."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import Damaged
from chromaseal.object_store import ObjectInfo, ObjectStore, StoredObject
from chromaseal.snapshot import chain, checkouts, history
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.audit import audit
from chromaseal.testing.directory_states import contents, made_states
from chromaseal.testing.machine import Machine, RememberingSandbox
from chromaseal.testing.whole import part_of

NAME = "notes"
PUBLISHED = (0, 1, 2, 3, 4)
SAMPLES = 60


class FlippedStore:
    """The other store, with one bit of one object flipped.

    Args:
        inner: where the objects are.
        key: of the object.
        place: of the byte; its lowest bit in the first byte, the next one in the second ...
    """

    def __init__(self, inner: ObjectStore, key: str, place: int) -> None:
        self.inner = inner
        self.key = key
        self.place = place
        self.read = False

    @property
    def url(self) -> str:
        """Say where the objects are."""
        return self.inner.url

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object."""
        self.inner.create(key, body)

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object."""
        self.inner.replace(key, body, etag=etag)

    def get(self, key: str) -> StoredObject:
        """Read an object, with its flipped bit."""
        found = self.inner.get(key)
        return StoredObject(self._flipped(key, found.body, 0), found.etag)

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object, with its flipped bit if that is in it."""
        body = self.inner.get_range(key, start=start, length=length)
        return self._flipped(key, body, start)

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object."""
        return self.inner.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of objects."""
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.inner.delete(key)

    def _flipped(self, key: str, body: bytes, start: int) -> bytes:
        place = self.place - start
        if key != self.key or not 0 <= place < len(body):
            return body
        self.read = True
        changed = bytearray(body)
        changed[place] ^= 1 << self.place % 8
        return bytes(changed)


@dataclass
class Stored:
    """A small vault.

    Attributes:
        machine: that published it.
        states: the directories.
        folder: for caches and targets.
    """

    machine: Machine
    states: list[Path]
    folder: Path
    names: Iterator[int] = field(default_factory=itertools.count)

    @functools.cached_property
    def tails(self) -> dict[str, int]:
        """Give where the end of each layer's object begins, which says what is in it."""
        found = {}
        for version_id in audit(self.machine.store, NAME).kept:
            body = self.machine.store.get(keys.manifest(NAME, version_id)).body
            plain = json.loads(body)
            for layer in [*plain["layers"], *([plain["step"]] if plain["step"] else [])]:
                for number, part in enumerate(layer["parts"]):
                    key = keys.layer_part(NAME, layer["layer_id"], number)
                    found[key] = part["tail_offset"]
        return found

    def places(self, key: str) -> list[int]:
        """Choose bytes: all of small objects and of ends, some of the rest."""
        size = len(self.machine.store.get(key).body)
        if key not in self.tails:
            return list(range(size))
        tail = self.tails[key]
        stride = max(tail // SAMPLES, 1)
        return [*range(0, tail, stride), *range(tail, size)]

    def keys_for(self, at: str) -> set[str]:
        """Give the objects that a machine without anything reads to get a version."""
        reader = self.machine.stranger(
            self.folder / f"keys-{next(self.names)}", Noting(self.machine.store)
        )
        reader.vault.parts.checkouts.bring(reader.vault.version(NAME, at))
        assert isinstance(reader.store, Noting)
        return reader.store.noted


class Noting(FlippedStore):
    """The other store, unharmed, which takes note of what is read."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner, "", 0)
        self.noted: set[str] = set()

    def _flipped(self, key: str, body: bytes, start: int) -> bytes:
        del start
        self.noted.add(key)
        return body


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, sandbox: ProcessSandbox) -> Stored:
    """Give a vault with a base, a folded diff, plain diffs, pages of history, a tag, a removal."""
    folder = tmp_path_factory.mktemp("bytes")
    states = made_states()
    machine = Machine(
        ObstoreObjectStore("memory://"),
        folder / "cache",
        folder / "app",
        RememberingSandbox(sandbox),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "CHAIN_LIMIT", 4)
        patch.setattr(chain, "OUTWEIGHED", 100.0)
        patch.setattr(history, "PAGE_VERSIONS", 2)
        for state in PUBLISHED:
            machine.push(NAME, states[state])
    machine.vault.tag(NAME, "gold", at="2")
    machine.vault.gc(NAME, Policy(keep_last=4))
    return Stored(machine, states, folder)


def refusal(stored: Stored, key: str, place: int, at: str) -> str:
    """Pull a version with one bit flipped; give the error, or nothing if what came is right."""
    store = FlippedStore(stored.machine.store, key, place)
    scratch = stored.folder / "scratch"
    reader = stored.machine.stranger(scratch / "cache", store)
    target = scratch / "place" / "target"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        number = reader.vault.pull(NAME, target, at=at).version.manifest.number
    except Damaged as error:
        return error.message if store.read and not any(target.parent.iterdir()) else "left"
    else:
        assert contents(target) == contents(stored.states[PUBLISHED[number - 1]])
        # Whoever was refused has left nothing, so only what came has to go.
        shutil.rmtree(scratch)
        return ""


def is_named(key: str, message: str) -> bool:
    """Whether an error says which object is damaged: its key, or the id of its version."""
    named = keys.parse_manifest(key)
    return key in message or (named is not None and named[1] in message)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("at", ["", "gold"])
def test_a_flipped_bit_is_refused_by_name(stored: Stored, at: str) -> None:
    """Every object that a version is read from: any flipped bit is refused, nothing is left.

    A bit of every third place that is tried with ``make test-whole``.
    """
    flipped = 0
    # What both are read from is tried once.
    used = stored.keys_for(at) - (stored.keys_for("") if at else set())
    for key in sorted(used):
        for place in part_of(stored.places(key)[:: 4 if at else 1], 1 if at else 3):
            message = refusal(stored, key, place, at)
            assert is_named(key, message), (key, place, message)
            flipped += 1
    print(f"{flipped} flipped bits in {len(used)} objects refused, at {at or 'the newest'}")
    assert flipped > 1_000


def test_what_is_not_refused_is_not_used(stored: Stored) -> None:
    """Older steps, the history, tags and removals: the newest version does not depend on them."""
    used = stored.keys_for("")
    others = {info.key for info in stored.machine.store.list(keys.everything(NAME))} - used
    kinds = {key.split("/")[1] for key in others}
    assert kinds == {"snapshot", "layer", "history", "tag", "gc"}
    for key in sorted(others):
        size = len(stored.machine.store.get(key).body)
        for place in {0, size // 2, size - 1}:
            assert refusal(stored, key, place, "") == ""


def pages_of(stored: Stored) -> list[str]:
    """Give the keys of the history's pages."""
    found = [info.key for info in stored.machine.store.list(keys.history_pages(NAME))]
    assert found
    return found


def test_a_damaged_history_is_refused_by_name(stored: Stored) -> None:
    """Whoever needs the line of versions finds any flipped bit of its pages."""
    for key in pages_of(stored):
        for place in range(0, len(stored.machine.store.get(key).body), 3):
            assert key in refusal(stored, key, place, "4")


def test_a_damaged_tag_lets_no_version_go(stored: Stored) -> None:
    """Garbage collection takes nothing while a tag cannot be understood, and names it."""
    key = keys.tag(NAME, "gold")
    before = [info.key for info in stored.machine.store.list("")]
    for place in range(len(stored.machine.store.get(key).body)):
        store = FlippedStore(stored.machine.store, key, place)
        with pytest.raises(Damaged) as caught:
            stored.machine.with_store(store).vault.gc(NAME, Policy(keep_last=1))
        assert key in caught.value.message
    assert [info.key for info in stored.machine.store.list("")] == before


def test_damaged_steps_and_history_are_not_needed(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that goes by steps takes the whole version where it cannot."""
    # So small a version would be fetched whole for the requests that it saves.
    monkeypatch.setattr(checkouts, "_REQUEST_BYTES", 0)
    used = stored.keys_for("") | stored.keys_for("2")
    others = {*stored.tails, *pages_of(stored)} - used
    assert len(others) > 1
    read = 0
    for number, key in enumerate(sorted(others)):
        store = FlippedStore(stored.machine.store, key, stored.tails.get(key, 0) + 5)
        target = tmp_path / f"target-{number}"
        cache = tmp_path / f"cache-{number}"
        stored.machine.stranger(cache).vault.pull(NAME, target, at="2")
        stored.machine.stranger(cache, store).vault.pull(NAME, target)
        assert contents(target) == contents(stored.states[PUBLISHED[-1]])
        read += store.read
    assert read == len(others)
