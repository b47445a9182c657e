"""What would fill the disk is not begun, and what has room is."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from chromaseal.clock import SystemClock
from chromaseal.compaction.portion import ALL, Portion, needed_bytes
from chromaseal.composition.engine import open_vault
from chromaseal.errors import Interrupted, Unavailable
from chromaseal.fleet import room
from chromaseal.fleet.room import room_for
from chromaseal.parts import Parts
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.snapshot.promises import Promises
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

HAVE_PROMISED = """
import pathlib, sys
from chromaseal.clock import SystemClock
from chromaseal.snapshot.promises import Promises

with Promises(pathlib.Path(sys.argv[1]), SystemClock()).kept(lambda _: 800, lambda: None):
    print("promised", flush=True)
    sys.stdin.read()
"""


def portions(parts: Parts, names: Sequence[str]) -> Mapping[str, Portion]:
    """Give how much of what waits has room."""
    with room_for(parts, names) as chosen:
        return chosen


def test_three_copies_and_the_deltas_have_room() -> None:
    """Whatever else there is to merge."""
    directory = needed_bytes(1_000_000, 0) - needed_bytes(0, 0)
    assert directory == 3_000_000
    assert needed_bytes(0, 1_000_000) - needed_bytes(0, 0) >= 3_000_000
    assert needed_bytes(0, 0) > 0


def test_a_full_disk_is_said_before_anything_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By how much, and what to do; a byte less than is needed is too little."""
    settings = Settings("memory://", "memory://", tmp_path / "cache")
    with open_vault(settings) as vault:
        vault.write({"notes": upserts(record("a"))}, run_id="a")
        (run,) = vault.parts.ledger.waiting("notes")
        needed = needed_bytes(0, run.parts["notes"].size_bytes)
        monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: needed)
        assert portions(vault.parts, ["notes"]) == {"notes": ALL}
        monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: needed - 1)
        with pytest.raises(Unavailable, match="nothing was begun") as caught:
            portions(vault.parts, ["notes"])
        assert caught.value.kind == "disk-full"
        assert "CHROMASEAL_CACHE" in caught.value.hint
        assert vault.run("a").parts["notes"].state is RunState.PENDING
        assert vault.run("a").parts["notes"].attempts == 0
        assert [*(tmp_path / "cache").iterdir()] == [tmp_path / "cache/promises"]


def test_what_has_nothing_to_merge_needs_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no trouble for whoever does nothing."""
    with open_vault(Settings("memory://", "memory://", tmp_path / "cache")) as vault:
        monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: 0)
        assert portions(vault.parts, ["notes"]) == {}


def test_what_is_merged_into_takes_room_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copies come before anything of the runs, so a large one leaves room for few of them."""
    manifest = SimpleNamespace(size_bytes=1_000_000_000)
    newest = SimpleNamespace(version=SimpleNamespace(manifest=manifest))
    monkeypatch.setattr(room, "head", lambda *_: newest)
    with open_vault(Settings("memory://", "memory://", tmp_path / "cache")) as vault:
        for number in range(4):
            vault.write({"notes": upserts(record(f"record-{number}"))}, run_id=f"run-{number}")
        runs = vault.parts.ledger.waiting("notes")
        sizes = [run.parts["notes"].size_bytes for run in runs]

        def taken(free: int) -> int:
            monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: free)
            found = portions(vault.parts, ["notes"])
            return len(found["notes"].of(runs, "notes"))

        needed = [needed_bytes(manifest.size_bytes, sum(sizes[:count])) for count in range(1, 5)]
        assert [taken(free) for free in needed] == [1, 2, 3, 4]
        with pytest.raises(Unavailable, match="nothing was begun"):
            taken(needed[0] - 1)


def test_room_is_shared_by_what_is_compacted_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes its oldest run, and of the rest as many as there is room for."""
    with open_vault(Settings("memory://", "memory://", tmp_path / "cache")) as vault:
        for number in range(6):
            each = upserts(record(f"record-{number}"))
            vault.write({"notes": each, "more": each}, run_id=f"run-{number}")
        waiting = {name: vault.parts.ledger.waiting(name) for name in ("notes", "more")}
        biggest = max(run.parts[n].size_bytes for n in waiting for run in waiting[n])
        free = sum(needed_bytes(0, 3 * biggest) for _ in waiting)
        monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: free)
        chosen = portions(vault.parts, list(waiting))
        needed = 0
        for name, runs in waiting.items():
            taken = chosen[name].of(runs, name)
            assert 3 <= len(taken) < 6
            assert list(taken) == runs[: len(taken)]
            needed += needed_bytes(0, sum(run.parts[name].size_bytes for run in taken))
        assert needed <= free


def two_that_fit_one_by_one(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let runs wait for two collections, with room for one run alone; give what that needs."""
    for number in range(3):
        vault.write({name: upserts(record("a")) for name in ("notes", "more")}, run_id=f"{number}")
    sizes = [part.size_bytes for part in vault.run("0").parts.values()]
    needed = needed_bytes(0, max(sizes))
    monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: needed)
    return needed


def test_room_is_promised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while another thread has the room waits until it is done, and is not refused."""
    order: list[str] = []
    with open_vault(Settings("memory://", "memory://", tmp_path / "cache")) as vault:
        two_that_fit_one_by_one(vault, monkeypatch)
        with ThreadPoolExecutor(1) as pool:
            waits = threading.Event()

            def second() -> None:
                with room_for(vault.parts, ["more"], wait=waits.set) as chosen:
                    order.append("second")
                    assert chosen["more"].runs == 1

            with room_for(vault.parts, ["notes"]) as chosen:
                assert chosen["notes"].runs == 1
                other = pool.submit(second)
                assert waits.wait(60)
                order.append("first")
            other.result(60)
    assert order == ["first", "second"]


def test_what_a_process_was_promised_is_counted_until_it_dies(tmp_path: Path) -> None:
    """Several workers of one machine share its disk, and one that was killed has none of it."""
    promises, told = Promises(tmp_path, SystemClock()), list[int]()

    def claim(others_bytes: int) -> int:
        told.append(others_bytes)
        return 50

    with subprocess.Popen(
        [sys.executable, "-c", HAVE_PROMISED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"promised\n"
        with promises.kept(claim, lambda: None), promises.kept(claim, lambda: None):
            pass
        other.kill()
    with promises.kept(claim, lambda: None):
        pass
    assert told == [800, 850, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["lock"]


def test_one_decides_at_a_time(tmp_path: Path) -> None:
    """Who looks at what is promised while another is about to promise would take the same room."""

    def claim(_: int) -> int:
        with (tmp_path / "lock").open("wb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return 1

    with (
        Promises(tmp_path, SystemClock()).kept(claim, lambda: None),
        (tmp_path / "lock").open("wb") as file,
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_who_waits_for_room_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told to end does, and the room is what it was."""

    def stop() -> None:
        raise Interrupted("enough")

    with open_vault(Settings("memory://", "memory://", tmp_path / "cache")) as vault:
        needed = two_that_fit_one_by_one(vault, monkeypatch)
        with room_for(vault.parts, ["notes"]):
            with pytest.raises(Interrupted), room_for(vault.parts, ["more"], wait=stop):
                raise AssertionError("it had room")
            # What has room beside it is not kept waiting.
            monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: 2 * needed)
            with room_for(vault.parts, ["more"], wait=stop) as chosen:
                assert chosen["more"].runs == 1
        monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: needed)
        with room_for(vault.parts, ["more"], wait=stop):
            pass


def test_free_space_is_asked_for_where_the_cache_would_be(tmp_path: Path) -> None:
    """Also before it is there."""
    there_yet = tmp_path / "not" / "there" / "yet"
    with open_vault(Settings("memory://", "memory://", there_yet)) as vault:
        assert vault.parts.checkouts.free_bytes() > 0
    assert not there_yet.exists()
