"""What is kept of a version on a machine is that version, page by page, however it came there."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chromaseal.digests import pages_in
from chromaseal.errors import Conflict, Damaged
from chromaseal.replication.spare import Spare, lead_on, make_spare
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.sealed import Sealed, seal
from chromaseal.snapshot import kept as kept_module
from chromaseal.snapshot.kept import Kept, directory_in, newer_in, read_kept, write_kept
from chromaseal.snapshot.manifest import BASE, LayerEntry, Version
from chromaseal.snapshot.patch import fill_kept
from chromaseal.testing.changing_files import (
    PAGE,
    Change,
    NobodyHolds,
    State,
    histories,
    read,
    states_of,
    write,
)
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.manifest_line import BLANK

BOOT = "this boot"


def sealed_at(directory: Path, kept: Kept | None = None) -> Sealed:
    """Seal a directory, comparing it with what is kept of an earlier one."""
    known = None if kept is None else kept.known({}, 0)
    return seal(directory, open_files=NobodyHolds(), clock=ManualClock(), known=known)


def version_of(sealed: Sealed) -> Version:
    """Make a version that has the files of a directory; what keeping does not ask for is empty."""
    manifest = replace(
        BLANK,
        files=tuple(file.table.entry(file.path) for file in sealed.files),
        layers=(LayerEntry("base", BASE, 1, 1, 0, ()),),
    )
    return Version("x", "x", manifest)


def keep(sealed: Sealed, folder: Path, older: Kept | None) -> Kept:
    """Keep a directory as a version."""
    (folder / "directory").mkdir(parents=True)
    write_kept(folder, sealed.tables, BOOT, stale=fill_kept(sealed, folder, older))
    kept = read_kept(folder, version_of(sealed), BOOT)
    assert kept is not None
    return kept


def copied(kept: Kept, target: Path) -> State:
    """Give the files of a copy of what is kept."""
    target.mkdir()
    for path in kept.tables:
        kept.copy_file(path, target / path)
    return read(target)


@settings(max_examples=80)
@given(histories)
def test_a_line_of_kept_versions_is_each_of_its_states(history: list[list[Change]]) -> None:
    """Each made from the one before, which then goes; compared with, read and copied."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        # So that small files have pages that stand apart, and are written anew now and then.
        patched.setattr(kept_module, "APART_SHARE", 2)
        folder = Path(name)
        kept: Kept | None = None
        for number, state in enumerate(states_of(history)):
            directory = write(folder / f"state-{number}", state)
            sealed = sealed_at(directory, kept)
            assert sealed.tables == sealed_at(directory).tables
            older, kept = kept, keep(sealed, folder / f"kept-{number}", kept)
            if older is not None:
                shutil.rmtree(older.folder)
            assert copied(kept, folder / f"copy-{number}") == state
            for path, content in state.items():
                pages = np.arange(0, pages_in(len(content)), 2, dtype=np.int64)
                with kept.open(path) as file:
                    wanted = b"".join(content[p * PAGE : (p + 1) * PAGE] for p in pages)
                    assert file.read(pages) == wanted


@settings(max_examples=25)
@given(histories)
def test_a_spare_becomes_each_state(history: list[list[Change]]) -> None:
    """A copy that is led on is the next version, or says that it is good for nothing."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        kept: Kept | None = None
        spare: Spare | None = None
        for number, state in enumerate(states_of(history)):
            sealed = sealed_at(write(folder / f"state-{number}", state), kept)
            kept = keep(sealed, folder / f"kept-{number}", kept)
            if spare is not None and spare.tables.keys() == state.keys():
                lead_on(spare, kept)
                assert read(spare.directory) == state
            elif spare is not None:
                with pytest.raises(Damaged, match="cannot become another version"):
                    lead_on(spare, kept)
            spare = make_spare(kept, folder / f"spare-{number}")
            assert read(spare.directory) == state


@settings(max_examples=40)
@given(histories)
def test_a_new_boot_finds_the_same(history: list[list[Change]]) -> None:
    """After the machine has started anew every page is read, those that stand apart too."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        kept: Kept | None = None
        for number, state in enumerate(states_of(history)):
            sealed = sealed_at(write(folder / f"state-{number}", state), kept)
            kept = keep(sealed, folder / f"kept-{number}", kept)
            again = read_kept(kept.folder, kept.version, "another boot")
            assert again is not None
            assert copied(again, folder / f"copy-{number}") == state


@pytest.fixture
def apart(tmp_path: Path) -> Kept:
    """Keep a file of 40 pages, two of which stand apart."""
    old = np.random.default_rng(3).bytes(40 * PAGE)
    before = sealed_at(write(tmp_path / "old", {"a": old}))
    new = old[: 7 * PAGE] + b"x" * PAGE + old[8 * PAGE : 30 * PAGE] + b"y" + old[30 * PAGE + 1 :]
    older = keep(before, tmp_path / "kept-1", None)
    return keep(sealed_at(write(tmp_path / "new", {"a": new})), tmp_path / "kept-2", older)


def test_a_small_change_costs_its_pages_alone(apart: Kept) -> None:
    """The file is shared with the version before; two of its pages are written."""
    assert apart.stale["a"].tolist() == [7, 30]
    assert newer_in(apart.folder).stat().st_size == 2 * PAGE
    assert (apart.folder / "directory" / "a").stat().st_nlink == 2


@settings(max_examples=30)
@given(st.integers(0, 2 * PAGE - 1))
def test_a_rotten_page_is_found_by_a_new_boot(position: int) -> None:
    """A power cut may leave the pages that stand apart with the right time and other bytes."""
    with TemporaryDirectory() as name:
        kept = _rotten(Path(name), position)
        assert read_kept(kept.folder, kept.version, BOOT) is not None
        assert read_kept(kept.folder, kept.version, "another boot") is None


def _rotten(folder: Path, position: int | None) -> Kept:
    first = write(folder / "old", {"a": bytes(40 * PAGE)})
    older = keep(sealed_at(first), folder / "kept-1", None)
    second = write(folder / "new", {"a": b"x" * 2 * PAGE + bytes(38 * PAGE)})
    kept = keep(sealed_at(second), folder / "kept-2", older)
    if position is None:
        return kept
    status = newer_in(kept.folder).stat()
    with newer_in(kept.folder).open("r+b") as file:
        file.seek(position)
        file.write(b"z")
    os.utime(newer_in(kept.folder), ns=(status.st_atime_ns, status.st_mtime_ns))
    return kept


def test_a_spare_is_checked_page_by_page(tmp_path: Path) -> None:
    """What has gone bad on this machine is not copied, be it all of it or what is missing."""
    sound = _rotten(tmp_path / "sound", None)
    rotten = _rotten(tmp_path / "rotten", PAGE)
    with pytest.raises(Damaged, match="is not what version 1"):
        make_spare(rotten, tmp_path / "spare")
    assert not (tmp_path / "spare").exists()
    before = sealed_at(write(tmp_path / "before", {"a": bytes(40 * PAGE)}))
    for kept, fails in ((sound, False), (rotten, True)):
        older = keep(before, tmp_path / f"older-{fails}", None)
        spare = make_spare(older, tmp_path / f"spare-{fails}")
        with pytest.raises(Damaged, match="pages of") if fails else nullcontext():
            lead_on(spare, kept)


def test_a_touched_spare_is_not_led_on(apart: Kept, tmp_path: Path) -> None:
    """Nobody is to know of it; where somebody has written there all the same, it is no copy."""
    for number in range(2):
        spare = make_spare(apart, tmp_path / f"spare-{number}")
        (spare.directory / "a").unlink()
        if number:
            (spare.directory / "a").write_bytes(copied(apart, tmp_path / "copy")["a"])
        with pytest.raises(Damaged, match="cannot become another version"):
            lead_on(spare, apart)


def test_a_look_that_was_begun_answers_once(tmp_path: Path) -> None:
    """It tells what the database was when it was looked at; the next question looks anew."""
    old = np.random.default_rng(3).bytes(40 * PAGE)
    kept = keep(sealed_at(write(tmp_path / "old", {DATABASE: old})), tmp_path / "kept", None)
    kept.begin_check()
    assert kept.is_sound(DATABASE)
    with (directory_in(kept.folder) / DATABASE).open("r+b") as file:
        file.write(bytes(PAGE))
    assert not kept.is_sound(DATABASE)
    kept.begin_check()
    assert not kept.is_sound(DATABASE)
    shutil.rmtree(kept.folder)
    kept.begin_check()
    assert not kept.is_sound(DATABASE)


def test_touched_pages_are_thrown_away(apart: Kept) -> None:
    """Whoever writes there has made a copy that is not to be believed."""
    with newer_in(apart.folder).open("r+b") as file:
        file.write(b"z")
    assert read_kept(apart.folder, apart.version, BOOT) is None


def test_a_source_that_changed_is_not_kept(tmp_path: Path) -> None:
    """Between sealing and keeping, the application may have begun to write again."""
    old = bytes(40 * PAGE)
    older = keep(sealed_at(write(tmp_path / "old", {"a": old})), tmp_path / "kept-1", None)
    directory = write(tmp_path / "new", {"a": b"x" + old[1:]})
    sealed = sealed_at(directory)
    (directory / "a").write_bytes(b"y" + old[1:])
    for whole in (False, True):
        folder = tmp_path / f"kept-{whole}"
        (folder / "directory").mkdir(parents=True)
        with pytest.raises(Conflict, match="changed while it was read") as raised:
            fill_kept(sealed, folder, None if whole else older)
        assert raised.value.kind == "changed-while-reading"
