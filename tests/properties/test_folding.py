"""Directories as bases and diffs, folded or not, come back byte for byte.

Frames, windows, parts and ranges are made small here, so that small files have many of each.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.digests import PAGE_SIZE_BYTES, page_digests
from chromaseal.errors import Damaged
from chromaseal.metering import CountingStore
from chromaseal.object_store import ObjectStore
from chromaseal.sandbox import no_progress
from chromaseal.seal.evidence import FileEntry
from chromaseal.seal.page_table import PageTable, Tables
from chromaseal.seal.sealed import Sealed, seal
from chromaseal.snapshot import fold as fold_module
from chromaseal.snapshot import layer as layer_module
from chromaseal.snapshot import layer_objects, pack
from chromaseal.snapshot.fold import fold
from chromaseal.snapshot.kept import Kept
from chromaseal.snapshot.layer import RAW, XOR
from chromaseal.snapshot.layer_objects import LayerReader, store_parts
from chromaseal.snapshot.manifest import BASE, DIFF, LayerEntry, Version
from chromaseal.snapshot.pack import pack_base, pack_diff
from chromaseal.snapshot.restore import restore
from chromaseal.testing.changing_files import (
    Change,
    NobodyHolds,
    State,
    histories,
    read,
    states_of,
    write,
)
from chromaseal.testing.clock import ManualClock

PAGE = PAGE_SIZE_BYTES
NO_VERSION = cast("Version", None)  # packing and folding do not ask for it


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "FRAME_PAGES", 4)
        patch.setattr(fold_module, "FRAME_PAGES", 4)
        patch.setattr(fold_module, "_WINDOW_PAGES", 6)
        patch.setattr(layer_objects, "PART_LIMIT_BYTES", 9_000)
        patch.setattr(layer_objects, "RANGE_BYTES", 12_000)
        yield


# --- the same through layers -------------------------------------------------------------------


class Line:
    """A line of directories, stored as a base and a diff each."""

    def __init__(self, store: ObjectStore, folder: Path, states: Sequence[State]) -> None:
        self.store = store
        self.folder = folder
        self.states = states
        self.modes: Counter[str] = Counter()
        self.sealed: list[Sealed] = []
        self.diffs: list[LayerEntry] = []
        for number, state in enumerate(states):
            directory = write(folder / f"state-{number}" / "directory", state)
            self.sealed.append(seal(directory, open_files=NobodyHolds(), clock=ManualClock()))
        first = store_parts(store, "abc", "base", pack_base(self.sealed[0]))
        self.base = LayerEntry("base", BASE, 0, 0, 0, first)

    def diff(self, number: int, *, rotten: bool = False) -> LayerEntry:
        """Store what leads from the directory before to this one."""
        before = self.sealed[number - 1]
        folder = before.directory.parent
        if rotten:
            # Every kept page is bad: the diff must not be made from any.
            old = self.states[number - 1].items()
            bad = {path: edited(content, *range(0, len(content), PAGE)) for path, content in old}
            folder = self.folder / f"rotten-{number}"
            write(folder / "directory", bad)
        kept = Kept(NO_VERSION, folder, before.tables)
        frames = list(pack_diff(self.sealed[number], before.tables, kept))
        self.modes.update(frame.mode for frame in frames)
        parts = store_parts(self.store, "abc", f"diff-{number}", frames)
        return LayerEntry(f"diff-{number}", DIFF, number, number, 0, parts)

    def folded(self, layers: Sequence[LayerEntry]) -> LayerEntry:
        """Store the one diff that leads as far as several."""
        first, last = layers[0].first, layers[-1].last
        sizes = {path: len(content) for path, content in self.states[last].items()}
        depth = 1 + max(layer.depth for layer in layers)
        name = f"fold-{first}-{last}-{depth}"
        with LayerReader(self.store, "abc") as reader:
            parts = store_parts(self.store, "abc", name, fold(reader, reader.open(layers), sizes))
        return LayerEntry(name, DIFF, first, last, depth, parts)

    def entries(self, number: int) -> list[FileEntry]:
        """Give what a manifest says of a directory's files."""
        return [file.table.entry(file.path) for file in self.sealed[number].files]

    def check(self, layers: Sequence[LayerEntry], *, start: int | None = None) -> None:
        """Restore the directory that layers lead to, from nothing or from an earlier one."""
        number = layers[-1].last
        wanted = self.states[number]
        before: Tables = {}
        present: State = {}
        if start is not None:
            tables = self.sealed[start].tables
            before = {path: table for path, table in tables.items() if path in wanted}
            present = {path: self.states[start][path] for path in before}
        with TemporaryDirectory(dir=self.folder) as parent:
            target = write(Path(parent) / "target", present)
            with LayerReader(self.store, "abc") as reader:
                found = restore(
                    reader,
                    self.entries(number),
                    reader.open(layers),
                    target,
                    before=before,
                    progress=no_progress,
                )
            assert read(target) == wanted
        assert found == self.sealed[number].tables


@settings(max_examples=60, deadline=None)
@given(histories, st.data())
def test_any_chain_restores_any_directory(history: list[list[Change]], data: st.DataObject) -> None:
    """Base and diffs, with any ranges folded again and again, give the last directory."""
    states = states_of(history)
    with TemporaryDirectory() as folder:
        line = Line(ObstoreObjectStore("memory://"), Path(folder), states)
        rotten = data.draw(st.integers(0, 2 * len(states)))
        diffs = [line.diff(n, rotten=n == rotten) for n in range(1, len(states))]
        line.check([line.base, *diffs])
        chain = diffs
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(chain) - 1))
            end = data.draw(st.integers(start + 1, len(chain)))
            chain = [*chain[:start], line.folded(chain[start:end]), *chain[end:]]
            line.check([line.base, *chain])


@settings(max_examples=40, deadline=None)
@given(histories, st.data())
def test_steps_lead_from_any_earlier_directory(
    history: list[list[Change]], data: st.DataObject
) -> None:
    """What was brought before becomes any later directory by the steps in between, or a fold."""
    states = states_of(history)
    with TemporaryDirectory() as folder:
        line = Line(ObstoreObjectStore("memory://"), Path(folder), states)
        diffs = [line.diff(n) for n in range(1, len(states))]
        start = data.draw(st.integers(0, len(diffs) - 1))
        end = data.draw(st.integers(start + 1, len(diffs)))
        line.check(diffs[start:end], start=start)
        line.check([line.folded(diffs[start:end])], start=start)


def edited(content: bytes, *places: int) -> bytes:
    """Change one byte at each place."""
    changed = bytearray(content)
    for place in places:
        changed[place] ^= 1
    return bytes(changed)


NOISE = np.random.default_rng(5).bytes(30 * PAGE)
TEXT = b"".join(b"row %06d; " % number for number in range(30 * PAGE // 12))
EXAMPLES = [
    {"a": NOISE, "b": TEXT},
    {"a": edited(NOISE, 5, 9 * PAGE), "b": TEXT.replace(b"row", b"ROW")},
    {"a": edited(NOISE, 5, 9 * PAGE, 10 * PAGE), "b": TEXT[: 3 * PAGE + 9]},
    {"b": TEXT[: 3 * PAGE + 9]},
    {"a": NOISE[: 20 * PAGE + 1], "b": TEXT},
]


def test_sparse_changes_are_stored_as_differences(tmp_path: Path) -> None:
    """A few bytes in noise travel as XOR, many as they are; differences of differences compose."""
    line = Line(ObstoreObjectStore("memory://"), tmp_path, EXAMPLES)
    diffs = [line.diff(number) for number in range(1, len(EXAMPLES))]
    assert line.modes[XOR] >= 2
    assert line.modes[RAW] >= 2
    one, two = diffs[:2]
    assert one.size_bytes + two.size_bytes < 40_000
    folded = line.folded([one, two])
    with LayerReader(line.store, "abc") as reader:
        (opened,) = reader.open([folded])
    frames = [frame for part in opened.parts for frame in part.frames if frame.path == "a"]
    assert {frame.mode for frame in frames} == {XOR}
    assert sorted(itertools.chain(*(f.pages.tolist() for f in frames))) == [0, 9, 10]
    assert sum(frame.frame_size_bytes for frame in frames) < 500
    line.check([line.base, folded, *diffs[2:]])
    assert line.folded(diffs[:3]).parts == line.folded([folded, diffs[2]]).parts


def test_no_difference_is_made_from_a_rotten_copy(tmp_path: Path) -> None:
    """Where the kept pages are not what they should be, the new ones are stored as they are."""
    line = Line(ObstoreObjectStore("memory://"), tmp_path, EXAMPLES)
    line.check([line.base, line.diff(1, rotten=True)])
    assert line.modes.keys() == {RAW}


def test_a_difference_on_top_of_other_pages_is_refused(tmp_path: Path) -> None:
    """A copy that is not the version that steps lead from gives an error, not another content."""
    line = Line(ObstoreObjectStore("memory://"), tmp_path, EXAMPLES)
    diffs = [line.diff(1), line.diff(2)]
    line.check(diffs, start=0)
    for page in (0, 9, 10):
        rotten = EXAMPLES[0] | {"a": edited(NOISE, page * PAGE + 77)}
        target = write(tmp_path / f"target-{page}", rotten)
        with LayerReader(line.store, "abc") as reader, pytest.raises(Damaged) as caught:
            restore(
                reader,
                line.entries(2),
                reader.open(diffs),
                target,
                before=line.sealed[0].tables,
                progress=no_progress,
            )
        assert caught.value.kind == "bad-layer"


def test_a_flipped_byte_in_any_object_is_refused(tmp_path: Path) -> None:
    """In a base, a diff and a fold, at every single byte; the error names the object."""
    root = tmp_path / "store"
    states = [{"a": b"x" * (PAGE + 9)}, {"a": b"x" * PAGE + b"y"}, {"a": b"z" * PAGE + b"y"}]
    line = Line(LocalObjectStore(root), tmp_path, states)
    diffs = [line.diff(1), line.diff(2)]
    chains = ([line.base, *diffs], [line.base, line.folded(diffs)])
    read_by = [(chain, layer) for chain in chains for layer in chain]
    flips = 0
    for chain, layer in read_by:
        (path,) = (root / "abc" / "layer").glob(f"{layer.layer_id}-*")
        sound = path.read_bytes()
        for place in range(len(sound)):
            path.write_bytes(edited(sound, place))
            with pytest.raises(Damaged) as caught:
                line.check(chain)
            assert path.name in caught.value.message
            flips += 1
        path.write_bytes(sound)
        line.check(chain)
    assert flips > 500


@pytest.mark.parametrize("size_bytes", [10**15, 2 * PAGE + 1, PAGE])
def test_sizes_that_lie_take_no_room(tmp_path: Path, size_bytes: int) -> None:
    """A file that its layers do not bear out is refused, before a disk or memory is full of it."""
    line = Line(
        CountingStore(ObstoreObjectStore("memory://")), tmp_path, [{"a": NOISE[: 2 * PAGE]}]
    )
    (entry,) = line.entries(0)
    lying = [FileEntry(entry.path, size_bytes, entry.digest)]
    target = tmp_path / "target"
    with LayerReader(line.store, "abc") as reader, pytest.raises(Damaged) as caught:
        restore(reader, lying, reader.open([line.base]), target, before={}, progress=no_progress)
    assert caught.value.kind in {"bad-file", "bad-layer"}
    assert sum(path.stat().st_size for path in target.rglob("*")) <= 2 * PAGE


def test_a_page_that_is_not_what_it_says_is_not_folded(tmp_path: Path) -> None:
    """Whoever folds finds such a page, before it becomes a part of every version to come."""
    line = Line(ObstoreObjectStore("memory://"), tmp_path, [{"a": NOISE[:PAGE]}])
    lying = layer_module.pack("a", RAW, np.array([0]), NOISE[1 : PAGE + 1], bytes(16))
    diff = LayerEntry("lying", DIFF, 0, 0, 0, store_parts(line.store, "abc", "lying", [lying]))
    with pytest.raises(Damaged, match="lying-0000") as caught:
        line.folded([diff])
    assert caught.value.kind == "bad-layer"


def test_a_page_that_is_cut_short_is_not_filled_up(tmp_path: Path) -> None:
    """A page of fewer bytes than its place asks for is refused, though its digest is right."""
    pieces = [NOISE[:100], NOISE[PAGE : 2 * PAGE]]
    frames = [
        layer_module.pack("a", RAW, np.array([number]), piece, page_digests(piece))
        for number, piece in enumerate(pieces)
    ]
    store = ObstoreObjectStore("memory://")
    base = LayerEntry("base", BASE, 0, 0, 0, store_parts(store, "abc", "base", frames))
    told = PageTable(2 * PAGE, b"".join(map(page_digests, pieces))).entry("a")
    with LayerReader(store, "abc") as reader, pytest.raises(Damaged) as caught:
        restore(reader, [told], reader.open([base]), tmp_path, before={}, progress=no_progress)
    assert caught.value.kind == "bad-layer"


def test_a_page_that_no_layer_has_is_refused(tmp_path: Path) -> None:
    """A file of zeros in the place of pages that are missing is not the file."""
    line = Line(ObstoreObjectStore("memory://"), tmp_path, EXAMPLES[:3])
    diffs = [line.diff(number) for number in (1, 2)]
    for chain in ([line.base, diffs[1]], [line.base, diffs[1], diffs[0]], [diffs[0], diffs[1]]):
        with pytest.raises(Damaged):
            line.check(chain)
    assert page_digests(bytes(PAGE)) not in line.sealed[2].tables["a"].digests


def test_a_frame_whose_pages_lie_apart_is_fetched_once(tmp_path: Path) -> None:
    """What a fold costs goes by the pages that changed, not by the size of their file."""
    content = bytearray(np.random.default_rng(4).bytes(400 * PAGE))
    states: list[State] = []
    for number in range(4):
        for page in (0, 120, 250, 399):
            content[page * PAGE + number] ^= 1
        states.append({"chroma.sqlite3": bytes(content)})
    store = CountingStore(ObstoreObjectStore("memory://"))
    line = Line(store, tmp_path, states)
    diffs = [line.diff(number) for number in (1, 2, 3)]
    before = store.usage
    folded = line.folded(diffs)
    used = store.usage.since(before)
    assert used.requests == 2 * len(diffs) + 1
    line.check([line.base, folded])
