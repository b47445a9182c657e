"""A vault whose own pin is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.composition.engine import open_vault
from chromaseal.composition.vault_pin import rebuild_pin
from chromaseal.errors import Conflict, NotFound, Unsupported, UsageError
from chromaseal.ids import SystemIds
from chromaseal.repair.lost_vault_pin import put_back_vault_pin
from chromaseal.settings import Settings
from chromaseal.testing.command_line import chromaseal
from chromaseal.testing.faults import FaultyStore
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault


@pytest.fixture
def settings(written: Vault, tmp_path: Path) -> Settings:
    """Say where the vault of four versions and its ledger are."""
    ledger = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    return Settings(written.parts.store.url, ledger, tmp_path / "cache")


@pytest.mark.parametrize("left", [None, b"", b"{", b'{"format": "other"}'])
def test_the_pin_comes_back_as_it_was(
    written: Vault, settings: Settings, vault_at: Callable[[], Vault], left: bytes | None
) -> None:
    """Lost or garbled, byte for byte; and where it is right, nothing changes."""
    store = written.parts.store
    was = store.get(keys.VAULT).body
    store.delete(keys.VAULT)
    if left is not None:
        store.create(keys.VAULT, left)
    vault_id = rebuild_pin(settings, new_id=False)
    assert store.get(keys.VAULT).body == was
    assert rebuild_pin(settings, new_id=True) == vault_id
    assert store.get(keys.VAULT).body == was
    with vault_at() as again:
        again.write({"notes": upserts(record("late", 1))})
        assert len(again.compact()[0].merged) == 1


def test_runs_whose_deltas_are_gone_prove_it_too(written: Vault, settings: Settings) -> None:
    """Garbage collection takes deltas; versions that the ledger names stay."""
    for found in list(written.parts.store.list(keys.deltas("notes"))):
        written.parts.store.delete(found.key)
    was = written.parts.store.get(keys.VAULT).body
    written.parts.store.delete(keys.VAULT)
    rebuild_pin(settings, new_id=False)
    assert written.parts.store.get(keys.VAULT).body == was


def test_the_ledger_of_another_vault_gives_no_id(written: Vault, settings: Settings) -> None:
    """Its runs are not here."""
    written.parts.store.delete(keys.VAULT)
    for prefix in (keys.deltas("notes"), keys.manifests("notes")):
        for found in list(written.parts.store.list(prefix)):
            written.parts.store.delete(found.key)
    with pytest.raises(Conflict) as caught:
        rebuild_pin(settings, new_id=False)
    assert caught.value.kind == "other-vault"
    assert written.parts.store.head(keys.VAULT) is None


def test_a_ledger_without_runs_proves_nothing(
    written: Vault, settings: Settings, tmp_path: Path
) -> None:
    """It may be any vault's, unless it lies in this one; a mistyped name gives no id."""
    root = tmp_path / "other"
    inside = f"sqlite:///{root / '.ledger' / 'ledger.sqlite'}"
    bare = f"sqlite:///{tmp_path / 'bare.sqlite'}"
    local = Settings(root.as_uri(), inside, settings.cache)
    with open_vault(replace(local, ledger=bare), create=True), open_vault(local) as other:
        vault_id = other.parts.checkouts.vault_id
    written.parts.store.delete(keys.VAULT)
    with pytest.raises(NotFound, match="no run that would prove") as caught:
        rebuild_pin(replace(settings, ledger=bare), new_id=False)
    assert caught.value.kind == "no-vault-id"
    assert written.parts.store.head(keys.VAULT) is None
    store = LocalObjectStore(root, ids=SystemIds())
    store.create(keys.collection("notes"), b"{}")
    store.delete(keys.VAULT)
    assert rebuild_pin(local, new_id=False) == vault_id


def test_a_version_that_this_machine_keeps_proves_it_as_well(
    written: Vault, settings: Settings, tmp_path: Path
) -> None:
    """Of a vault to which directories are only pushed no ledger has runs."""
    pushed = replace(settings, ledger=f"sqlite:///{tmp_path / 'bare.sqlite'}")
    with open_vault(pushed) as vault:
        vault_id, version = vault.parts.checkouts.vault_id, vault.version("notes")
    written.parts.store.delete(keys.VAULT)
    with pytest.raises(NotFound, match="no run that would prove"):
        rebuild_pin(replace(pushed, cache=tmp_path / "fresh"), new_id=False)
    older = SystemIds().unique()[:8]
    foreign = tmp_path / "foreign"
    (foreign / vault_id / "notes" / f"{version.version_id[:-8]}{older}").mkdir(parents=True)
    # That one the vault does not have.
    with pytest.raises(NotFound, match="no run that would prove"):
        rebuild_pin(replace(pushed, cache=foreign), new_id=False)
    kept = tmp_path / "kept"
    (kept / vault_id / "notes" / version.version_id).mkdir(parents=True)
    (kept / vault_id / "notes" / "origins").mkdir()
    assert rebuild_pin(replace(pushed, cache=kept), new_id=False) == vault_id


def test_a_store_that_overwrites_gets_no_pin(written: Vault) -> None:
    """What its vault promises it could not keep."""

    class Overwriting(FaultyStore):
        def create(self, key: str, body: bytes | memoryview) -> None:
            self.inner.delete(key)
            self.inner.create(key, body)

    parts = written.parts
    parts.store.delete(keys.VAULT)
    with pytest.raises(Unsupported) as caught:
        put_back_vault_pin(
            Overwriting(parts.store), parts.ledger, SystemIds(), new_id=True, is_its=lambda _: True
        )
    assert caught.value.kind == "no-conditional-writes"
    assert parts.store.head(keys.VAULT) is None


def test_no_vault_is_made_of_what_never_was_one(tmp_path: Path, settings: Settings) -> None:
    """Collections are what tells a vault."""
    empty = Settings((tmp_path / "empty").as_uri(), settings.ledger, settings.cache)
    with pytest.raises(NotFound) as caught:
        rebuild_pin(empty, new_id=True)
    assert caught.value.kind == "no-vault"
    LocalObjectStore(tmp_path / "empty", ids=SystemIds())
    assert not (tmp_path / "empty" / keys.VAULT).exists()


def test_the_command_says_what_to_do_and_does_it(written: Vault, settings: Settings) -> None:
    """Doctor names it; without a ledger an id is made only where that was said."""
    written.parts.store.delete(keys.VAULT)
    place = ("--vault", settings.vault, "--ledger", settings.ledger)

    def doctor(*arguments: str) -> tuple[int, str]:
        answer = chromaseal("doctor", *arguments, "--json", cache=settings.cache)
        return answer.exit_code, answer.out + answer.errors

    code, told = doctor(*place)
    assert (code, "--rebuild-pin puts it back" in told) == (6, True)
    lost = (*place[:3], f"{settings.ledger}-lost")
    code, told = doctor("--rebuild-pin", *lost)
    assert (code, "no-vault-id" in told, "--new-id" in told) == (4, True, True)
    assert doctor("--new-id", *place)[0] == UsageError.exit_code
    assert doctor("--rebuild-pin", "--rebuild-ledger", "--new-id", *lost)[0] == 0
    assert doctor(*lost)[0] == 0
    assert doctor("--rebuild-pin", *place)[0] == 0
    assert "keeps the runs of vault" in doctor(*place)[1]
