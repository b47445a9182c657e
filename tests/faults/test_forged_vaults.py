"""Vaults whose digests are all right and whose content is a lie: refused, and nothing is written.

Whoever can write to a vault can make such; a reader must not be led outside of its directory, nor
use up memory, nor end with anything but an error of its own kinds.
"""

from __future__ import annotations

import copy
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.composition.engine import open_vault
from chromaseal.digests import blake3_hex, page_digests
from chromaseal.errors import ChromasealError, Conflict, Damaged, Unsupported
from chromaseal.object_store import ObjectStore
from chromaseal.settings import Settings
from chromaseal.snapshot import layer
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.directory_states import contents, made_states
from chromaseal.testing.machine import Machine, RememberingSandbox, copy_objects
from chromaseal.testing.whole import WHOLE, part_of

NAME = "notes"
MIB = 1 << 20


class Forge:
    """A vault with two versions, copies of which get a forged third one.

    Args:
        machine: that published them.
        states: the directories.
        folder: for caches and targets.
    """

    def __init__(self, machine: Machine, states: list[Path], folder: Path) -> None:
        self.machine = machine
        self.states = states
        self.folder = folder
        self._names = itertools.count()
        self.version_id = machine.vault.version(NAME).version_id
        key = keys.manifest(NAME, self.version_id)
        self.genuine: dict[str, Any] = json.loads(machine.store.get(key).body)

    def store(self, plain: object) -> ObjectStore:
        """Give a vault whose newest version's manifest is forged, its id and digest right."""
        store = ObstoreObjectStore("memory://")
        copy_objects(self.machine.store, store)
        body = json.dumps(plain).encode()
        version_id = f"{self.version_id[:-32]}{blake3_hex(body)[:32]}"
        store.create(keys.manifest(NAME, version_id), body)
        pointer = keys.pointer(NAME)
        store.replace(pointer, version_id.encode(), etag=store.get(pointer).etag)
        return store

    def with_layer(self, body: bytes, tail_offset: int) -> ObjectStore:
        """Give a vault whose newest version is one forged base."""
        plain = copy.deepcopy(self.genuine)
        digest = blake3_hex(body[tail_offset:])
        part = {"size_bytes": len(body), "tail_offset": tail_offset, "digest": digest}
        name = f"{plain['number']:06d}-{'f' * 32}-base"
        number = plain["number"]
        numbers = {"first": number, "last": number, "depth": 0}
        plain["layers"] = [{"layer_id": name, "kind": "base", "parts": [part], **numbers}]
        store = self.store(plain)
        store.create(keys.layer_part(NAME, name, 0), body)
        return store

    def try_everything(self, store: ObjectStore) -> set[str]:
        """Pull, look, collect and publish; give what the refusals were.

        Nothing may be written outside of the target, and nothing be left there.
        """
        folder = self.folder / f"try-{next(self._names)}"
        place = folder / "place"
        place.mkdir(parents=True)
        (folder / "precious").write_text("precious")
        reader = self.machine.stranger(folder / "cache", store)
        shutil.copytree(self.states[2], reader.directory)
        acts: list[Callable[[], object]] = [
            lambda: reader.vault.pull(NAME, place / "target"),
            lambda: list(reader.vault.log(NAME)),
            lambda: reader.vault.stats(NAME),
            lambda: reader.vault.gc(NAME, Policy(keep_last=1), dry_run=True),
            lambda: reader.vault.push(reader.directory, NAME, replace=True),
        ]
        found = {kind for act in acts if (kind := refusal(act))}
        left = sorted(path.name for path in place.iterdir())
        assert left in ([], ["target"])
        if left:
            assert contents(place / "target") == contents(self.states[1])
        assert sorted(path.name for path in folder.iterdir()) in (
            ["cache", "cache-directory", "place", "precious"],
            ["cache-directory", "place", "precious"],
        )
        assert (folder / "precious").read_text() == "precious"
        shutil.rmtree(folder)
        return found


def refusal(act: Callable[[], object]) -> str:
    """Do something; give the kind of the refusal, or nothing."""
    try:
        act()
    except ChromasealError as error:
        found: ChromasealError | None = error
    else:
        found = None
    assert found is None or isinstance(found, Damaged | Unsupported | Conflict)
    return found.kind if found else ""


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory, sandbox: ProcessSandbox) -> Forge:
    """Give a vault to forge."""
    folder = tmp_path_factory.mktemp("forged")
    states = made_states()
    remembering = RememberingSandbox(sandbox)
    store = ObstoreObjectStore("memory://")
    machine = Machine(store, folder / "cache", folder / "app", remembering)
    for state in (0, 1):
        machine.push(NAME, states[state])
    # The state that is published on top of forgeries is verified once, before them.
    machine.copy(ObstoreObjectStore("memory://"), folder / "other").push(NAME, states[2])
    return Forge(machine, states, folder)


PATHS = [
    "../outside",
    "a/../../outside",
    "/outside",
    "..",
    ".",
    "",
    "a//b",
    "a/",
    "./a",
    "a\\b",
    "nul\0byte",
    "\ud800",
    "a" * 300,
    "a/" * 3000 + "b",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_outside(forge: Forge, path: str) -> None:
    """A file that is called so is refused, by name, before anything is written."""
    plain = copy.deepcopy(forge.genuine)
    plain["files"][-1]["path"] = path
    found = forge.try_everything(forge.store(plain))
    assert found <= {"bad-path", "bad-manifest", "cannot-write", "bad-file"}
    assert found


@pytest.mark.parametrize("path", PATHS)
def test_no_path_in_a_layer_leads_outside(forge: Forge, path: str) -> None:
    """A frame for such a file is refused, or passed over because the version has no such file."""
    writer = one_page("x", bytes(4096))
    entry, body = relabelled(writer, {0: path})
    found = forge.try_everything(forge.with_layer(body, entry.tail_offset))
    assert found <= {"bad-path", "bad-layer", "bad-file"}
    assert found


def one_page(path: str, content: bytes) -> layer.PartWriter:
    """Begin a layer's object with one page of a file."""
    writer = layer.PartWriter()
    page = np.zeros(1, dtype=np.int64)
    writer.add(layer.pack(path, layer.RAW, page, content, page_digests(content), level=3))
    return writer


def relabelled(writer: layer.PartWriter, changes: dict[int, object]) -> tuple[Any, bytes]:
    """Finish a layer's object whose index lies in some columns of its first row."""
    rows: list[list[object]] = []
    genuine = json.dumps

    def dumps(value: list[list[object]], *, separators: tuple[str, str]) -> str:
        rows.extend(value)
        for column, lie in changes.items():
            value[0][column] = lie
        return genuine(value, separators=separators)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json, "dumps", dumps)
        entry, body = writer.finish()
    assert rows
    return entry, body


def places(plain: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the way to every value in JSON; of lists the last."""
    yield path
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from places(value, (*path, key))
    elif isinstance(plain, list) and plain:
        yield from places(plain[-1], (*path, len(plain) - 1))


LIES: list[object] = [
    *(None, True, -1, 1.5, 1 << 40, 1 << 80, float("nan")),
    *("", "\ud800", [], {}, [None], {"x": 1}, "9" * 5000),
]


def changed(plain: object, way: tuple[Any, ...], lie: object) -> object:
    """Give JSON with another value at one place."""
    if not way:
        return lie
    made = copy.deepcopy(plain)
    inner: Any = made
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = lie
    return made


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_any_lie_in_a_manifest_is_refused_or_harmless(forge: Forge) -> None:
    """Whatever stands in place of any value: our own errors, and never a wrong byte.

    In each place every other lie, in turn the even and the odd ones; ``make test-whole`` tells all.
    """
    tried, refused = 0, 0
    for number, way in enumerate(places(forge.genuine)):
        for lie in part_of(LIES, 2, start=number % 2):
            try:
                found = forge.try_everything(forge.store(changed(forge.genuine, way, lie)))
            except BaseException as error:
                error.add_note(f"{lie!r} at {way}")
                raise
            tried += 1
            refused += bool(found)
    print(f"{tried} lies, {refused} refused")
    assert tried > (500 if WHOLE else 250)
    assert refused > tried / 2


@pytest.mark.parametrize("key", ["size_bytes", "tail_offset"])
@pytest.mark.parametrize("by", [-(1 << 62), -5, -1, 1, 5, 1 << 20, 1 << 45, 1 << 62, 1 << 70])
def test_sizes_that_lie_are_refused(forge: Forge, key: str, by: int) -> None:
    """A part or a file that is longer or shorter than it says is found out, at little cost."""
    part = copy.deepcopy(forge.genuine)
    part["layers"][0]["parts"][0][key] += by
    assert forge.try_everything(forge.store(part)) & {"bad-layer", "bad-manifest"}
    if key == "size_bytes":
        for number in range(len(part["files"])):
            file = copy.deepcopy(forge.genuine)
            file["files"][number][key] += by
            found = forge.try_everything(forge.store(file))
            assert found & {"bad-layer", "bad-manifest", "bad-file"}


ROWS = ["path", "mode", "runs", "size_bytes", "offset", "frame_size_bytes"]
RUNS: list[object] = [
    [[0, 1 << 40], [0, -(1 << 40)]],
    [[0, 257]],
    [[-1, 1]],
    [[1 << 70, 1]],
    [[0, 0]],
    [[1, 1], [0, 1]],
    [[0.5, 1]],
    [[0, 1, 2]],
    [0, 1],
]


@pytest.mark.parametrize("column", range(len(ROWS)), ids=ROWS)
def test_any_lie_in_a_layer_is_refused_or_harmless(forge: Forge, column: int) -> None:
    """Whatever stands in place of any value of an index: our own errors, never a wrong byte."""
    content = bytes(range(256)) * 16
    for lie in [*LIES, *(RUNS if column == 2 else [])]:
        writer = one_page(forge.genuine["files"][0]["path"], content)
        entry, body = relabelled(writer, {column: lie})
        try:
            found = forge.try_everything(forge.with_layer(body, entry.tail_offset))
        except BaseException as error:
            error.add_note(f"{lie!r} as {ROWS[column]}")
            raise
        assert found & {"bad-layer", "bad-path", "bad-file"}


BOMBS: dict[str, Callable[[], bytes]] = {
    "of 256 MiB": lambda: zstandard.ZstdCompressor().compress(bytes(256 * MIB)),
    "without its size": lambda: zstandard.ZstdCompressor(write_content_size=False).compress(
        bytes(64 * MIB)
    ),
    "of two frames": lambda: zstandard.ZstdCompressor().compress(bytes(4096)) * 2,
    "that is a skippable frame": lambda: b"\x50\x2a\x4d\x18\x04\0\0\0aaaa",
    "cut": lambda: zstandard.ZstdCompressor().compress(bytes(4096))[:-3],
    "that is no zstd": lambda: b"x" * 100,
    "empty": lambda: b"",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(forge: Forge, bomb: str) -> None:
    """A frame that unpacks to something else than it should; its digest is right."""
    writer = layer.PartWriter()
    digests, page = page_digests(bytes(4096)), np.zeros(1, dtype=np.int64)
    frame = layer.PackedPages("chroma.sqlite3", layer.RAW, page, 4096, BOMBS[bomb](), digests)
    writer.add(frame)
    entry, body = writer.finish()
    found = forge.try_everything(forge.with_layer(body, entry.tail_offset))
    assert found & {"bad-layer", "bad-file"}


@pytest.mark.parametrize(
    "text",
    [lambda: bytes(257 * MIB), lambda: layer._LENGTH.pack(1_000_000) + b"[" * 1_000_000],
    ids=["too large", "nested for ever"],
)
def test_an_index_that_is_a_bomb_is_refused(forge: Forge, text: Callable[[], bytes]) -> None:
    """An index that unpacks to more than any index has, or nests deeper than Python follows."""
    index = zstandard.ZstdCompressor().compress(text())
    footer = layer._FOOTER.pack(0, len(index), layer.MAGIC)
    assert "bad-layer" in forge.try_everything(forge.with_layer(index + footer, 0))


POINTERS = [
    b"",
    b"v1.2.3",
    b"2026-11-20T10:00:00",
    b"\xff\xfe\x00",
    b"<html>" * 10_000,
    b"20261123_171405_377752_000011_" + b"0" * 32,
    b"20261123_171405_377752_000011_../../../../etc/passwd",
    b"99999999_999999_999999_000001_" + b"0" * 32,
]


@pytest.mark.parametrize("body", POINTERS, ids=range(len(POINTERS)))
def test_a_pointer_of_another_program_is_refused(forge: Forge, body: bytes) -> None:
    """Whatever else stands in ``latest-pointer.txt``: every verb says so, nothing changes."""
    store = ObstoreObjectStore("memory://")
    copy_objects(forge.machine.store, store)
    pointer = keys.pointer(NAME)
    store.replace(pointer, body, etag=store.get(pointer).etag)
    before = [info.key for info in store.list("")]
    found = forge.try_everything(store)
    assert found <= {"bad-version-id", "missing-object"}
    assert found
    assert [info.key for info in store.list("")] == before
    with pytest.raises(Damaged, match="latest-pointer"):
        forge.machine.with_store(store).vault.version(NAME)


def test_a_bucket_of_another_program_is_no_vault(tmp_path: Path) -> None:
    """A prefix with other objects is refused and left as it is."""
    folder = tmp_path / "bucket"
    (folder / NAME / "snapshot").mkdir(parents=True)
    (folder / NAME / "snapshot" / "latest-pointer.txt").write_text("v17")
    (folder / "index.html").write_text("<html>")
    before = contents(folder)
    for create in (True, False):
        with pytest.raises(ChromasealError) as caught:
            open_vault(Settings(folder.as_uri(), "memory://", tmp_path / "c"), create=create)
        assert caught.value.kind in {"not-a-vault", "no-vault"}
    assert contents(folder) == before


def test_garbage_collection_leaves_strangers_alone(forge: Forge) -> None:
    """Objects under our prefixes that have no name of ours stay where they are."""
    store = ObstoreObjectStore("memory://")
    copy_objects(forge.machine.store, store)
    layers, manifests = keys.layers(NAME), keys.manifests(NAME)
    strangers = [
        *(f"{layers}{name}" for name in ("readme.txt", "000001.layer", "1-ff-base-0000.layer")),
        *(f"{manifests}{name}" for name in ("v1/manifest.json", "x", "000001-ff/manifest.json")),
        *(f"{keys.history_pages(NAME)}{name}" for name in ("1.json", "000001.txt")),
        *(f"{keys.tags(NAME)}{name}" for name in ("x.md", "a/b.txt")),
        *(f"{keys.everything(NAME)}{name}" for name in ("other", "layers/000001-ff.layer")),
    ]
    for key in strangers:
        store.create(key, b"somebody else's")
    machine = forge.machine.with_store(store)
    machine.vault.gc(NAME, Policy(keep_last=1))
    assert {info.key for info in store.list("")} >= set(strangers)
