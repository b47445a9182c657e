"""A machine that has an older version takes the steps from there, unless the whole is lighter."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.metering import CountingStore
from chromaseal.snapshot import kept
from chromaseal.testing.directory_states import contents, made_states
from chromaseal.testing.machine import Machine, RememberingSandbox

NAME = "notes"


@pytest.mark.slow
@pytest.mark.parametrize("share", [1, 8])
def test_catching_up_costs_steps_or_the_whole_whichever_is_less(
    tmp_path: Path, sandbox: ProcessSandbox, monkeypatch: pytest.MonkeyPatch, share: int
) -> None:
    """Two versions behind, two steps travel; sixty behind, what a new machine fetches.

    Whether pages that change are kept apart from their files, or these are written anew.
    """
    monkeypatch.setattr(kept, "APART_SHARE", share)
    store = CountingStore(ObstoreObjectStore("memory://"))
    states = made_states()
    remembering = RememberingSandbox(sandbox)
    machine = Machine(store, tmp_path / "cache", tmp_path / "directory", remembering)
    near, far, new = (Machine(store, tmp_path / n, tmp_path / n, remembering) for n in "nfe")
    for number in range(62):
        machine.push(NAME, states[number % len(states)])
        if number == 0:
            far.fetched(NAME)
        if number == 59:
            near.fetched(NAME)
    requests = {}
    for name, each in (("near", near), ("far", far), ("new", new)):
        version = each.vault.version(NAME)
        before = store.usage
        each.vault.parts.checkouts.bring(version)
        requests[name] = store.usage.since(before).requests
        assert each.fetched(NAME) == contents(states[61 % len(states)])
    steps = 2
    # The manifest between, and of each step where its pages are, and the pages; and the manifest
    # of what is kept.
    assert requests["near"] == (steps - 1) + 2 * steps + 1
    # Eight manifests are read to find that the steps are not worth it.
    assert requests["far"] == requests["new"] + 8
