"""Layers are stored while a child verifies: whatever goes wrong, nothing refers to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest

from chromaseal import keys, pools
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Interrupted, Unavailable
from chromaseal.object_store import ObjectStore
from chromaseal.run.model import RunState
from chromaseal.snapshot.layer import RAW, pack
from chromaseal.snapshot.layer_objects import store_parts
from chromaseal.testing.faults import FaultyStore
from chromaseal.testing.records import record, upserts
from chromaseal.testing.sandboxes import WatchedSandbox
from chromaseal.vault import Vault

OpenVault: TypeAlias = Callable[..., Vault]
NAME = "notes"
PATIENCE_S = 60.0


class FullStore(FaultyStore):
    """Takes no layer as long as it is full."""

    is_full = True

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object, or not."""
        if self.is_full and key.startswith(keys.layers(NAME)):
            raise Unavailable(f"{self.url} takes no layer", kind="store-full")
        super().create(key, body)


class TellingStore(FaultyStore):
    """Tells that a layer was stored."""

    stored = threading.Event()

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object."""
        super().create(key, body)
        if key.startswith(keys.layers(NAME)):
            self.stored.set()


def patient(vault: Vault, stored: threading.Event, error: Exception | None = None) -> Vault:
    """Verify nothing before a layer is stored; then find what there is, or fail."""

    def wait(job: str, _: Mapping[str, Any]) -> None:
        if job.startswith("verify"):
            assert stored.wait(PATIENCE_S), "verification did not go on beside storing"
            if error is not None:
                raise error

    vault.parts = replace(vault.parts, sandbox=WatchedSandbox(vault.parts.sandbox, wait))
    return vault


def layers_of(vault: Vault) -> list[str]:
    """Name what is stored of layers."""
    return [info.key for info in vault.parts.store.list(keys.layers(NAME))]


def state_of(vault: Vault, run_id: str) -> RunState:
    """Give where a run stands."""
    return vault.run(run_id).parts[NAME].state


def test_layers_are_stored_while_the_child_verifies(vault_at: OpenVault) -> None:
    """On two processors neither waits for the other."""
    vault = vault_at(store=TellingStore)
    vault.write({NAME: upserts(record("a"))}, run_id="one")
    vault = patient(vault, TellingStore.stored)
    TellingStore.stored.clear()
    (done,) = vault.compact()
    assert done.merged == ("one",)
    assert {"verify", "publish"} <= done.durations_s.keys()


def test_what_does_not_verify_becomes_no_version(vault_at: OpenVault) -> None:
    """Its layers stay behind, as those of a process that died, until they are collected."""
    vault = vault_at(store=TellingStore)
    vault.write({NAME: upserts(record("a"))}, run_id="one")
    inner = vault.parts.sandbox
    TellingStore.stored.clear()
    killed = Unavailable("the process that was to verify died: killed", kind="no-memory")
    patient(vault, TellingStore.stored, killed)
    with pytest.raises(Unavailable, match="was to verify died"):
        vault.compact()
    assert vault.parts.store.head(keys.pointer(NAME)) is None
    assert state_of(vault, "one") is RunState.PENDING
    left = layers_of(vault)
    assert left
    vault.parts = replace(vault.parts, sandbox=inner)
    assert vault.compact()[0].merged == ("one",)
    # The next version is made of layers of its own.
    parts = {part for layer in vault.version(NAME).manifest.layers for part in layer.parts}
    assert len(layers_of(vault)) == len(left) + len(parts)


def test_no_delta_is_blamed_for_a_store_that_takes_no_layer(vault_at: OpenVault) -> None:
    """Neither tried in halves nor set aside, though verification went well."""
    stores: list[FullStore] = []

    def full(inner: ObjectStore) -> FullStore:
        stores.append(FullStore(inner))
        return stores[0]

    vault = vault_at(store=full)
    for run_id in ("one", "two"):
        vault.write({NAME: upserts(record(run_id))}, run_id=run_id)
    jobs: list[str] = []
    watched = WatchedSandbox(vault.parts.sandbox, lambda job, _: jobs.append(job))
    vault.parts = replace(vault.parts, sandbox=watched)
    with pytest.raises(Unavailable, match="takes no layer"):
        vault.compact()
    assert jobs.count("merge") == 1
    assert {state_of(vault, run_id) for run_id in ("one", "two")} == {RunState.PENDING}
    stores[0].is_full = False
    assert set(vault.compact()[0].merged) == {"one", "two"}
    assert vault.version(NAME).manifest.number == 1


def test_who_stops_it_once_all_is_stored_is_heard(vault: Vault) -> None:
    """Whatever goes on beside verification, there is a last look before the commit."""
    vault.write({NAME: upserts(record("a"))}, run_id="one")

    def stop(_: str, step: str, done: int, total: int) -> None:
        if (step, done, total) == ("publish", 1, 1):
            raise Interrupted("no more time")

    with pytest.raises(Interrupted):
        vault.compact(progress=stop)
    assert layers_of(vault)
    assert vault.parts.store.head(keys.pointer(NAME)) is None
    assert state_of(vault, "one") is RunState.PENDING


def test_what_does_not_verify_is_not_stored_to_the_end(
    vault_at: OpenVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt does not wait for a gigabyte that nothing will refer to."""
    begun, never = threading.Event(), threading.Event()
    given_up: list[bool] = []

    def store_until_given_up(*_: object, **__: object) -> None:
        begun.set()
        given_up.append(any(pools.is_given_up() or never.wait(0.01) for _ in range(1_000)))

    vault = vault_at()
    vault.write({NAME: upserts(record("a"))}, run_id="one")
    monkeypatch.setattr("chromaseal.compaction.attempt.store_layers", store_until_given_up)
    patient(vault, begun, Unavailable("the process died: killed", kind="no-memory"))
    with pytest.raises(Unavailable, match="the process died"):
        vault.compact()
    assert given_up
    assert all(given_up)


def test_storing_ends_when_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops a compaction does not wait, not even for the part that is being packed."""
    monkeypatch.setattr(pools, "is_given_up", lambda: True)
    store = ObstoreObjectStore("memory://")
    content = bytes(4096)
    frames = (pack("file", RAW, np.array([n]), content, bytes(32)) for n in range(1_000_000))
    with pytest.raises(Interrupted):
        store_parts(store, NAME, "000001-x-step", frames)
    assert next(frames).pages.tolist() == [1]
    assert list(store.list(keys.layers(NAME))) == []
