"""A collection's runs in the ledger, its deltas and its history -> where they contradict."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from chromaseal import keys
from chromaseal.clock import from_iso
from chromaseal.compaction.deltas import read_stored
from chromaseal.errors import ChromasealError, Unavailable, UsageError
from chromaseal.parts import Parts
from chromaseal.run.model import WAITING_STATES, Run, RunState
from chromaseal.settings import file_path
from chromaseal.snapshot.cancellations import read_marks
from chromaseal.snapshot.history import head, line
from chromaseal.snapshot.manifest import PastVersion
from chromaseal.verification.remark import Remark, well, wrong

_ALL = 1_000_000
_NAMED = 3
_LONG = dt.timedelta(hours=1)
_REBUILD = "chromaseal doctor --rebuild-ledger"
_WRITE_AGAIN = "write it again with the same run id, or bring the object back from a backup"


class LedgerLook:
    """Compares a ledger with its vault, which is right where they differ.

    A ledger that cannot be asked is one thing that is wrong, and keeps nothing else from being
    looked at.

    Args:
        parts: the vault.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._problem: ChromasealError | None = None
        self._runs: set[str] = set()
        try:
            parts.ledger.newest(limit=1)
        except ChromasealError as error:
            self._problem = error

    def examine(self, collection: str, past: Sequence[PastVersion]) -> Iterator[Remark]:
        """Look at the runs of a collection.

        Args:
            collection: which.
            past: every version, oldest first.
        """
        merged = {run_id for version in past for run_id, _ in version.runs}
        stored = _stored(self._parts, collection)
        self._runs |= {*merged, *stored}
        if self._problem is None:
            yield from _Collection(self._parts, collection, stored).examine(merged)

    def examine_blindly(self, collection: str) -> Iterator[Remark]:
        """Look at the runs of a collection of which nobody knows which ones versions have."""
        stored = _stored(self._parts, collection)
        self._runs |= stored.keys()
        if self._problem is None:
            yield from _Collection(self._parts, collection, stored).waiting()

    def remarks(self) -> Iterator[Remark]:
        """Say what there is to say of the ledger itself, once all collections were looked at."""
        error = self._problem
        if error is None:
            yield well("vault", "ledger", self._parts.ledger.url)
        elif isinstance(error, UsageError):
            yield well("vault", "ledger", error.message)
        elif error.kind != "missing-ledger":
            yield wrong("vault", "ledger", error.message, _mend(error, self._parts.ledger.url))
        elif self._runs:
            evidence = f"{error.message}, though the vault has {len(self._runs)} runs"
            yield wrong("vault", "ledger", evidence, _REBUILD)
        else:
            yield well("vault", "ledger", f"{error.message}, and no run that it would have")


def _stored(parts: Parts, collection: str) -> dict[str, int]:
    """Give the sizes of a collection's deltas, by run id."""
    return {
        named[1]: info.size_bytes
        for info in parts.store.list(keys.deltas(collection))
        if (named := keys.parse_delta(info.key)) is not None
    }


def _mend(error: ChromasealError, url: str) -> str:
    if error.kind != "ledger-unavailable" or not url.startswith("sqlite:"):
        # A server comes back with all that it knew, and none can be moved away.
        return error.hint
    return (
        "chromaseal runs list completes what a dead writer left in it; if that fails too, "
        f"move {file_path(url)} away, then: {_REBUILD}"
    )


class _Collection:
    """The runs of one collection.

    Args:
        parts: the vault.
        name: of the collection.
        stored: the sizes of its deltas, by run id.
    """

    def __init__(self, parts: Parts, name: str, stored: Mapping[str, int]) -> None:
        self._parts = parts
        self._name = name
        self._stored = stored
        self._runs = parts.ledger.newest(collection=name, limit=_ALL)

    def examine(self, merged: set[str]) -> Iterator[Remark]:
        """Compare everything with the runs that versions have."""
        yield from self.waiting(merged)
        yield from self._lost(merged)
        yield from self._forgotten(merged)
        yield from self._unannounced(merged)
        yield from self._half_cancelled(merged)
        counts = {state: len(self._in(state)) for state in RunState if self._in(state)}
        told = ", ".join(f"{count} {state}" for state, count in counts.items())
        yield well(self._name, "ledger", told or "no runs")

    def waiting(self, merged: set[str] | None = None) -> Iterator[Remark]:
        """Look at the runs that wait, and at those that were set aside."""
        merged = merged or set()
        yield from self._failed()
        waiting = self._in(*WAITING_STATES)
        told = [run for run in waiting if run.run_id in merged]
        if told:
            evidence = f"{_names(told)} in a version already, and the ledger was not told"
            yield self._wrong(evidence, f"chromaseal compact {self._name}")
        open_runs = [run for run in waiting if run not in told]
        gone = [run for run in open_runs if self._problem(run)]
        for run in gone:
            yield self._wrong(f"run {run.run_id} waits: {self._problem(run)}", _WRITE_AGAIN)
        yield from self._late([run for run in open_runs if run not in gone])

    def _failed(self) -> Iterator[Remark]:
        for run in self._in(RunState.FAILED):
            evidence = f"run {run.run_id} was set aside: {run.parts[self._name].error}"
            mend = f"chromaseal runs retry {run.run_id}, or leave it"
            if self._problem(run):
                evidence += f"; {self._problem(run)}"
                mend = f"{_WRITE_AGAIN}; then: chromaseal runs retry {run.run_id}"
            elif not self._is_readable(run):
                mend = (
                    "write its changes as a new run and leave this one; or bring the object back "
                    f"from a backup, then: chromaseal runs retry {run.run_id}"
                )
            yield self._wrong(evidence, mend)

    def _problem(self, run: Run) -> str:
        """Say what is wrong with a run's object, going by its name and size."""
        part, size_bytes = run.parts[self._name], self._stored.get(run.run_id)
        if size_bytes is None:
            # It may have come since they were listed.
            found = self._parts.store.head(part.delta_key)
            size_bytes = found.size_bytes if found else None
        if size_bytes is None:
            return f"{part.delta_key} is missing"
        if size_bytes != part.size_bytes:
            return f"{part.delta_key} has {size_bytes} bytes instead of {part.size_bytes}"
        return ""

    def _is_readable(self, run: Run) -> bool:
        try:
            read_stored(self._parts.store, self._parts.codec, run.parts[self._name].delta_key)
        except Unavailable:
            raise
        except ChromasealError:
            return False
        return True

    def _late(self, waiting: Sequence[Run]) -> Iterator[Remark]:
        now = self._parts.clock.now()
        late = [run for run in waiting if now - from_iso(run.created_at) > _LONG]
        if late:
            evidence = f"{_names(late)} waiting for more than an hour"
            reasons = {run.parts[self._name].error for run in late} - {""}
            if reasons:
                evidence += f": {'; '.join(sorted(reasons))}"
            yield self._wrong(evidence, f"chromaseal compact {self._name}")

    def _lost(self, merged: set[str]) -> Iterator[Remark]:
        lost = [run for run in self._in(RunState.COMPLETED) if run.run_id not in merged]
        if lost:
            # The ledger was asked after the vault, and versions may have come in between.
            newest = head(self._parts.store, self._name).version
            past = line(self._parts.store, newest) if newest else []
            merged_since = {run_id for version in past for run_id, _ in version.runs}
            lost = [run for run in lost if run.run_id not in merged_since]
        if lost:
            evidence = f"{_names(lost)} COMPLETED in the ledger and in no version"
            yield self._wrong(evidence, f"chromaseal repair {self._name}")

    def _forgotten(self, merged: set[str]) -> Iterator[Remark]:
        forgotten = sorted(merged - {run.run_id for run in self._runs})
        if forgotten:
            evidence = (
                f"{len(forgotten)} runs that versions have and the ledger does not know: "
                f"{_first(forgotten)}"
            )
            yield self._wrong(evidence, _REBUILD)

    def _unannounced(self, merged: set[str]) -> Iterator[Remark]:
        unknown = sorted(self._stored.keys() - {run.run_id for run in self._runs} - merged)
        asked = {run_id: self._parts.ledger.get(run_id) for run_id in unknown}
        # Others have been added since the ledger was asked for all.
        silent = [i for i, run in asked.items() if run is None or self._name not in run.parts]
        halves = [run_id for run_id in silent if asked[run_id] is not None]
        broken = [i for i in silent if i not in halves and self._is_broken_off(i)]
        whole = [run_id for run_id in silent if run_id not in (*halves, *broken)]
        if broken:
            evidence = f"{len(broken)} runs that were never written whole: {_first(broken)}"
            yield wrong(self._name, "deltas", evidence, "write or ingest the same again")
        if whole:
            evidence = f"{len(whole)} deltas that no run announces: {_first(whole)}"
            yield wrong(self._name, "deltas", evidence, _REBUILD)
        if halves:
            evidence = f"{len(halves)} deltas of runs that were written without: {_first(halves)}"
            yield wrong(self._name, "deltas", evidence, "write their changes as a new run")

    def _is_broken_off(self, run_id: str) -> bool:
        """Whether a run that no ledger knows lacks deltas in other collections."""
        store, suffix = self._parts.store, self._parts.codec.suffix
        try:
            delta, _ = read_stored(store, self._parts.codec, keys.delta(self._name, run_id, suffix))
        except Unavailable:
            raise
        except ChromasealError:
            # What cannot be read says nothing of others, and is told of where it is read.
            return False
        others = (keys.delta(name, run_id, suffix) for name in delta.header.collections)
        return any(store.head(key) is None for key in others)

    def _half_cancelled(self, merged: set[str]) -> Iterator[Remark]:
        marked = read_marks(self._parts.store, self._name) - merged
        told = [run for run in self._in(*WAITING_STATES, RunState.FAILED) if run.run_id in marked]
        if told:
            evidence = f"{_names(told)} cancelled in the vault, and the ledger was not told"
            yield self._wrong(evidence, _REBUILD)

    def _in(self, *states: RunState) -> list[Run]:
        return [run for run in self._runs if run.parts[self._name].state in states]

    def _wrong(self, evidence: str, mend: str) -> Remark:
        return wrong(self._name, "runs", evidence, mend)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" and more" if len(names) > _NAMED else "")


def _names(runs: Sequence[Run]) -> str:
    named = ", ".join(run.run_id for run in runs[:_NAMED])
    rest = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return f"{'run' if len(runs) == 1 else 'runs'} {named}{rest}"
