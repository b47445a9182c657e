"""Mistakes and losses around a vault: each is refused, none is taken for a fresh start."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.composition.engine import open_vault
from chromaseal.errors import Conflict, Damaged, RefusedInput, UsageError
from chromaseal.receipts.vault_objects import load_original, store_original
from chromaseal.run.model import Run, RunPart, RunState
from chromaseal.settings import Settings
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault


def vault_in(folder: Path, *, ledger: str) -> Vault:
    """Open a vault with a cache of its own."""
    url = (folder / "vault").as_uri()
    return open_vault(Settings(url, f"sqlite://{folder.parent / ledger}", folder / "cache"))


@pytest.mark.parametrize("versions", [1, 2])
@pytest.mark.slow
def test_a_lost_pointer_is_no_new_collection(tmp_path: Path, versions: int) -> None:
    """A collection that has had versions never begins again at number 1."""
    with vault_in(tmp_path / "a", ledger="ledger") as vault:
        for number in range(versions):
            vault.write({"notes": upserts(record(f"r{number}", number))})
            vault.compact()
        vault.parts.store.delete(keys.pointer("notes"))
        vault.write({"notes": upserts(record("late", 9))}, run_id="late")
        with pytest.raises(Damaged) as caught:
            vault.compact()
        assert caught.value.kind == "missing-pointer"
        assert vault.run("late").parts["notes"].state is RunState.PENDING


def test_a_ledger_of_another_vault_is_refused(tmp_path: Path) -> None:
    """Runs of one vault never stand for the runs of another."""
    vault_in(tmp_path / "a", ledger="ledger").close()
    vault_in(tmp_path / "a", ledger="ledger").close()
    with pytest.raises(Conflict) as caught:
        vault_in(tmp_path / "b", ledger="ledger")
    assert caught.value.kind == "other-vault"


def test_a_run_id_stands_for_its_collections(tmp_path: Path) -> None:
    """The same id for other collections or other changes is refused, not dropped."""
    with vault_in(tmp_path / "a", ledger="ledger") as vault:
        vault.write({"notes": upserts(record("a", 1))}, run_id="run")
        assert not vault.write({"notes": upserts(record("a", 1))}, run_id="run").new
        for changes in (
            {"other": upserts(record("a", 1))},
            {"notes": upserts(record("a", 2))},
            {"notes": upserts(record("a", 1)), "other": upserts(record("a", 1))},
        ):
            with pytest.raises(Conflict) as caught:
                vault.write(changes, run_id="run")
            assert caught.value.kind == "different-content"


def test_who_comes_second_with_a_run_id_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two writers at one moment, with other collections each, one alone is acknowledged."""
    with vault_in(tmp_path / "a", ledger="ledger") as vault:
        ledger = vault.parts.ledger
        part, add = RunPart(RunState.PENDING, "key", 1, 1), ledger.add
        first = Run("run", "2026-11-24T00:00:00.000000Z", {"words": part}, {})

        def come_second(run: Run) -> bool:
            assert add(first)
            return add(run)

        monkeypatch.setattr(ledger, "add", come_second)
        with pytest.raises(Conflict, match="for words") as caught:
            vault.write({"notes": upserts(record("a", 1))}, run_id="run")
        assert caught.value.kind == "different-content"


def test_a_collection_is_pinned_to_a_distance_that_exists(tmp_path: Path) -> None:
    """What ChromaDB does not know is refused before it is pinned for ever."""
    with vault_in(tmp_path / "a", ledger="ledger") as vault:
        with pytest.raises(UsageError) as caught:
            vault.write({"notes": upserts(record("a"))}, space="euclid")
        assert caught.value.kind == "unknown-space"
        vault.write({"notes": upserts(record("a"))}, space="ip")
        with pytest.raises(Conflict) as other:
            vault.write({"notes": upserts(record("b"))}, space="l2")
        assert other.value.kind == "other-space"


def test_an_original_is_what_was_ingested(tmp_path: Path) -> None:
    """A file that changed meanwhile is not stored, and a damaged one is not given out."""
    with vault_in(tmp_path / "a", ledger="ledger") as vault:
        store = vault.parts.store
        with pytest.raises(RefusedInput) as caught:
            store_original(store, "0" * 64, b"other bytes")
        assert caught.value.kind == "changed-file"
        store.create(keys.original("0" * 64), b"other bytes")
        with pytest.raises(Damaged) as damaged:
            load_original(store, "0" * 64)
        assert damaged.value.kind == "bad-original"
