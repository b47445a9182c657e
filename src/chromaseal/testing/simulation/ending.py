"""The end of an episode: nothing fails any more, everything is merged, and looked at whole."""

from __future__ import annotations

from chromaseal import keys
from chromaseal.errors import ChromasealError
from chromaseal.run.model import RunState
from chromaseal.snapshot.history import load
from chromaseal.testing.audit import audit
from chromaseal.testing.simulation import invariants
from chromaseal.testing.simulation.actors import TOO_LATE, Process, sweep
from chromaseal.testing.simulation.dictionary import Texts, read_rows
from chromaseal.testing.simulation.functions import settle_all
from chromaseal.testing.simulation.line import Fact
from chromaseal.testing.simulation.memory import MemoryStore


def check_the_end(here: Process, texts: Texts, store: MemoryStore) -> None:
    """Sweep, compact, collect garbage, and look at every version that is still there.

    Raises:
        Broken: an invariant does not hold.
    """
    del texts
    with here.trying():
        sweep(here)
    if here.cloud.is_played:
        settle_all(here)
    for collection in here.vault.collections():
        _finish(here, collection)
        _check_runs(here, collection)
        line = here.truth.line(collection)
        for fact in line.facts:
            if keys.manifest(collection, fact.version_id) in store.objects:
                problem = _problem_of(here, collection, fact)
                invariants.every_kept_version_is_whole(fact.version_id, problem)
        if line.facts:
            _check_rest(here, collection, store)


def _finish(here: Process, collection: str) -> None:
    with here.trying():
        here.vault.compact([collection])
        here.vault.gc(collection, here.policy)


def _check_runs(here: Process, collection: str) -> None:
    merged, lost = here.truth.line(collection).merged, []
    for run_id, names in here.truth.acknowledged.items():
        if run_id in here.truth.unwanted or collection not in names:
            continue
        if run_id not in merged and not _is_too_late(here, run_id):
            lost.append(run_id)
    invariants.nothing_acknowledged_is_lost(collection, lost)
    for run_id in merged:
        run = here.vault.parts.ledger.get(run_id)
        if run is not None:
            state = run.parts[collection].state
            invariants.the_ledger_catches_up(run_id, collection, state)


def _is_too_late(here: Process, run_id: str) -> bool:
    """Whether a run was set aside since the deltas after it are gone, as the rules said."""
    if here.policy.deltas_after is None:
        return False
    run = here.vault.parts.ledger.get(run_id)
    return run is not None and any(
        part.state is RunState.FAILED and TOO_LATE in part.error for part in run.parts.values()
    )


def _problem_of(here: Process, collection: str, fact: Fact) -> str:
    checkouts = here.vault.parts.checkouts
    try:
        with checkouts.workspace() as workspace:
            version = load(here.vault.parts.store, collection, fact.version_id)
            checkouts.fetch_fresh(version, workspace / "fresh")
            found = read_rows(workspace / "fresh")[1]
    except (ChromasealError, ValueError) as error:
        return str(error)
    return "" if found == fact.rows else "it has other records"


def _check_rest(here: Process, collection: str, store: MemoryStore) -> None:
    found = audit(store, collection)
    newest = here.truth.line(collection).newest
    invariants.version_is_complete(newest, dict.fromkeys(sorted(found.missing)), store.objects)
    head = here.truth.line(collection).facts[-1].number
    old = [key for key in found.orphans if (_number(key) or 0) <= head]
    invariants.nothing_is_left_over(collection, old)


def _number(key: str) -> int | None:
    named = keys.parse_manifest(key)
    return int(named[1].split("_")[3]) if named else keys.attempt_number(key)
