"""A vault -> one cheap look at all of it after the other, whether or not everything answers.

A look takes one listing and, for each collection, one reading of its pointer (and a listing more
before its first version) from the store; a manifest only where the pointer names another one
than before. The ledger is asked twice for each collection, and once more where runs wait, were
added, or have failed; once where there is no collection. Nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from typing import Self

from chromaseal.clock import Clock
from chromaseal.errors import ChromasealError, NotFound, Unavailable
from chromaseal.fleet.pipeline import CollectionLook, Look, lag_s
from chromaseal.parts import Parts
from chromaseal.pin import pinned
from chromaseal.run.ledger import Ledger
from chromaseal.run.model import RunState
from chromaseal.run.owner import shown_owner
from chromaseal.snapshot.history import load, pointer
from chromaseal.vault import Vault

# No collection is called like that.
_STORE, _LEDGER = "the store", "the ledger"
# Runs and reasons that are named; of more only the number is told.
_NAMED = 3


class Watching:
    """Looks at one vault again and again; use as a context manager.

    Args:
        open_vault: opens it. Done again after a look at which something did not answer: a ledger
            that was not there yet is looked for only then.
        clock: for the time of each look.
    """

    def __init__(
        self, open_vault: Callable[[], AbstractContextManager[Vault]], clock: Clock
    ) -> None:
        self._open_vault = open_vault
        self._clock = clock
        self._held = ExitStack()
        self._vault: Vault | None = None
        self._last = Look(clock.now())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def look(self) -> Look:
        """Look once; what does not answer is among the problems, and stands as it stood before.

        Raises:
            ChromasealError: the vault cannot be opened, and not for want of an answer.
        """
        problems: dict[str, ChromasealError] = {}
        known = {each.name: each for each in self._last.collections}
        try:
            parts = self._opened()
            known = self._versions(parts, known, problems)
        except Unavailable as error:
            problems[_STORE] = error
        else:
            known = self._runs(parts, known, problems)
        if problems:
            self._vault = None
            self._held.close()
        collections = tuple(known[name] for name in sorted(known))
        self._last = Look(self._clock.now(), collections, problems)
        return self._last

    def _opened(self) -> Parts:
        if self._vault is None:
            self._vault = self._held.enter_context(self._open_vault())
        return self._vault.parts

    def _versions(
        self,
        parts: Parts,
        known: Mapping[str, CollectionLook],
        problems: dict[str, ChromasealError],
    ) -> dict[str, CollectionLook]:
        found: dict[str, CollectionLook] = {}
        for name in pinned(parts.store):
            before = known.get(name, CollectionLook(name))
            try:
                found[name] = _with_version(parts, before)
            except Unavailable:
                raise
            except ChromasealError as error:
                found[name] = before
                problems[name] = error
        return found

    def _runs(
        self,
        parts: Parts,
        known: dict[str, CollectionLook],
        problems: dict[str, ChromasealError],
    ) -> dict[str, CollectionLook]:
        try:
            if not known:
                _ask(parts.ledger)
            return {name: _with_runs(parts, before) for name, before in known.items()}
        except ChromasealError as error:
            problems[_LEDGER] = error
            return known


def _ask(ledger: Ledger) -> None:
    # Without a collection nothing else is asked of it, and its silence would go unnoticed.
    with suppress(NotFound):
        # Before the first run a ledger's file need not be there.
        ledger.newest(limit=1)


def _with_version(parts: Parts, before: CollectionLook) -> CollectionLook:
    version_id, _ = pointer(parts.store, before.name)
    if version_id is None or version_id == before.version_id:
        return before
    manifest = load(parts.store, before.name, version_id).manifest
    return replace(
        before,
        number=manifest.number,
        version_id=version_id,
        made_at=manifest.created_at,
        records=manifest.records.count,
        merged=len(manifest.runs),
        lag_s=lag_s(manifest.created_at, [run.created_at for run in manifest.runs]),
    )


def _with_runs(parts: Parts, before: CollectionLook) -> CollectionLook:
    name, ledger = before.name, parts.ledger
    states, lease = ledger.counts(name), parts.leases.holder(name)
    now = replace(
        before,
        states=states,
        holder=shown_owner(lease.owner) if lease else "",
        lease_left_s=lease.expires_in_s if lease else 0.0,
        oldest_at="",
        added=(),
        reasons=(),
    )
    if now.waiting:
        oldest = ledger.waiting(name, limit=1)
        now = replace(now, oldest_at=oldest[0].created_at if oldest else "")
    if before.states and now.runs > before.runs:
        newest = ledger.newest(collection=name, limit=min(now.runs - before.runs, _NAMED))
        now = replace(now, added=tuple(run.run_id for run in newest))
    new_failures = states[RunState.FAILED] - before.states.get(RunState.FAILED, 0)
    if before.states and new_failures > 0:
        limit = min(new_failures, _NAMED)
        failed = ledger.newest(collection=name, state=RunState.FAILED, limit=limit)
        told = tuple(f"{run.run_id}: {run.parts[name].error}" for run in failed)
        now = replace(now, reasons=told)
    return now
