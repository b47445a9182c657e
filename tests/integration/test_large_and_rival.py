"""Collections past the flush threshold, compactors that race, merges that die in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.compaction.outcome import Compaction
from chromaseal.run.model import RunPart, RunState
from chromaseal.snapshot.manifest import Version
from chromaseal.testing.oracle import Rows, assert_same_rows, change
from chromaseal.testing.records import record, upserts, vector_of
from chromaseal.vault import Vault

RIVAL = """
import sys
import chromaseal
from chromaseal.testing.records import record, upserts

with chromaseal.open(sys.argv[1], ledger=sys.argv[2]) as vault:
    for turn in range(int(sys.argv[4])):
        name = f"{sys.argv[3]}-{turn}"
        vault.write({"notes": upserts(record(name, turn))}, run_id=name)
        (done,) = vault.compact(["notes"])
        print(done.lost_races)
"""


class OpenVault(Protocol):
    """What the fixture ``vault_at`` gives; see ``tests/conftest.py``."""

    def __call__(self, url: str = "") -> Vault:
        """Open a vault."""
        ...


def rows_of(vault: Vault) -> Rows:
    """Give what a reader of ``notes`` sees."""
    with vault.reader("notes") as reader:
        return {each.id: each for each in reader.records()}


def check_straight_line(vault: Vault, run_ids: set[str]) -> None:
    """Every version follows from the one before, and every run came in exactly once."""
    versions = [entry.version for entry in vault.log("notes")]
    assert [v.number for v in versions] == list(range(len(versions), 0, -1))
    ids = [v.version_id for v in versions]
    assert ids == sorted(ids, reverse=True)
    merged = [run_id for version in versions for run_id, _ in version.runs]
    assert sorted(merged) == sorted(run_ids)


def test_rivals_on_one_vault_lose_nothing(vault_at: OpenVault) -> None:
    """Two compactors at once: the loser applies its runs on top of the winner's version."""
    vaults = [vault_at(), vault_at()]
    vaults[0].write({"notes": upserts(record("first", 0))}, run_id="first")

    def work(number: int) -> None:
        for turn in range(2):
            name = f"r{number}-{turn}"
            vaults[number].write({"notes": upserts(record(name, turn))}, run_id=name)
            vaults[number].compact(["notes"])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    names = {"first", "r0-0", "r0-1", "r1-0", "r1-1"}
    check_straight_line(vaults[0], names)
    assert set(rows_of(vaults[1])) == names
    for name in names:
        assert vaults[0].run(name).parts["notes"].state is RunState.COMPLETED


def test_a_lost_race_is_run_again_on_the_winner(vault_at: OpenVault) -> None:
    """A compactor that is overtaken while it merges ends up on top, and says how often."""
    slow, fast = vault_at(), vault_at()
    slow.write({"notes": upserts(record("a", 1))}, run_id="a")
    overtaken: list[Compaction] = []

    def overtake(_: str, step: str, done: int, total: int) -> None:
        del done, total
        if step == "seal" and not overtaken:
            fast.write({"notes": upserts(record("b", 2))}, run_id="b")
            overtaken.extend(fast.compact(["notes"]))

    (done,) = slow.compact(["notes"], progress=overtake)
    assert (done.lost_races, done.version, done.failed) == (1, None, {})
    assert set(overtaken[0].merged) == {"a", "b"}
    check_straight_line(slow, {"a", "b"})


@pytest.mark.slow
def test_rival_processes_lose_nothing(vault_at: OpenVault, tmp_path: Path) -> None:
    """Two processes with ledgers of their own fill one vault; its history is one line."""
    vault = vault_at()
    vault.write({"notes": upserts(record("first", 0))}, run_id="first")
    ledgers = [f"sqlite:///{tmp_path}/{name}.sqlite" for name in ("left", "right")]
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, vault.url, ledger, f"p{number}", "3"],
            env={**os.environ, "CHROMASEAL_CACHE": str(tmp_path / "rivals")},
            cwd=tmp_path,
        )
        for number, ledger in enumerate(ledgers)
    ]
    assert [rival.wait() for rival in rivals] == [0, 0]
    vault.compact()
    names = {"first"} | {f"p{number}-{turn}" for number in range(2) for turn in range(3)}
    check_straight_line(vault, names)
    assert set(rows_of(vault)) == names


@pytest.mark.slow
def test_a_merge_that_is_killed_leaves_all_as_it_was(
    vault_at: OpenVault, sandbox: ProcessSandbox
) -> None:
    """SIGKILL in the middle of ChromaDB's writing: the old version stands, a retry works."""
    vault = vault_at()
    vault.write({"notes": upserts(record("old", 1))}, run_id="old")
    vault.compact()
    before = vault.version("notes")
    stored = {each.key for each in vault.parts.store.list("")}
    # More than ChromaDB takes in one call, so that there is a middle.
    many = [record(f"r{number}", number) for number in range(5_500)]
    vault.write({"notes": upserts(*many)}, run_id="many")
    killed: list[str] = []
    seen: list[tuple[Version, RunPart]] = []

    def kill(_: str, step: str, done: int, total: int) -> None:
        if step == "merge" and 0 < done < total and not killed:
            assert sandbox._process is not None
            pid = sandbox._process.pid
            killed.extend(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[:1])
            os.kill(int(killed[0]), signal.SIGKILL)
        elif step == "read deltas" and killed and not seen:
            seen.append((vault.version("notes"), vault.run("many").parts["notes"]))
            new = {each.key for each in vault.parts.store.list("")} - stored
            assert {key.partition("/")[2].partition("/")[0] for key in new} == {"delta"}

    (done,) = vault.compact(progress=kill)
    [(version, part)] = seen
    assert version == before
    assert part.state is RunState.PENDING
    assert "SIGKILL" in part.error
    assert done.merged == ("many",)
    assert_same_rows(rows_of(vault).values(), {r.id: r for r in (record("old", 1), *many)})


@pytest.mark.slow
def test_a_collection_with_a_flushed_index_verifies(vault_at: OpenVault) -> None:
    """More records than ChromaDB's flush threshold: HNSW files, tombstones and log agree."""
    vault = vault_at()
    expected: Rows = {}
    steps = [
        upserts(*[record(f"r{n}", n, number=n) for n in range(1_500)]),
        upserts(*[record(f"r{n}", n, number=n) for n in range(1_400, 2_300)], deletes=["r7"]),
        upserts(record("r7", 7), record("r8", 8_000), deletes=[f"r{n}" for n in range(100, 200)]),
    ]
    for step in steps:
        vault.write({"notes": step})
        vault.compact()
        change(expected, step)
    assert_same_rows(rows_of(vault).values(), expected)
    names = {file.path.rpartition("/")[2] for file in vault.version("notes").manifest.files}
    assert "data_level0.bin" in names
    with vault.reader("notes") as reader:
        hits = reader.nearest(np.stack([vector_of(8_000), vector_of(2_299)]), limit=1)
    assert [hit.id for (hit,) in hits] == ["r8", "r2299"]


@pytest.mark.slow
def test_a_flushed_cosine_collection_verifies(vault_at: OpenVault) -> None:
    """Vectors that ChromaDB normalised as it flushed its index count as what was written."""
    vault = vault_at()
    many = [record(f"r{number}", number) for number in range(1_100)]
    vault.write({"notes": upserts(*many)}, space="cosine")
    vault.compact()
    vault.write({"notes": upserts(record("r5", 9_999), deletes=["r6"])})
    vault.compact()
    found = rows_of(vault)
    assert len(found) == 1_099
    for each in (*many[:5], record("r5", 9_999)):
        # Flushed ones went through a normalised form and back: all but the last bits are there.
        assert np.allclose(found[each.id].embedding, each.embedding, rtol=1e-6)
    with vault.reader("notes") as reader:
        ((hit,),) = reader.nearest(vector_of(9_999)[None, :], limit=1)
        assert hit.id == "r5"
