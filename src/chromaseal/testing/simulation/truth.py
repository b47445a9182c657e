"""What has really happened: every version, run, tag and removal, seen as it was stored.

Written from ``docs/formats``, like ``testing.audit``. It calls the invariants at the steps that
could break them, and keeps the first that does not hold; the product's code goes on, so that
nothing it does with errors can hide one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chromaseal import keys
from chromaseal.delta.model import Changes
from chromaseal.errors import ChromasealError
from chromaseal.object_store import StoredObject
from chromaseal.record import Record
from chromaseal.run.model import RunState
from chromaseal.snapshot.log import LogEntry
from chromaseal.testing import oracle
from chromaseal.testing.audit import needs_of
from chromaseal.testing.simulation import invariants
from chromaseal.testing.simulation.copies import Pushes, Served
from chromaseal.testing.simulation.dictionary import Rows, Texts, read_rows
from chromaseal.testing.simulation.invariants import Broken
from chromaseal.testing.simulation.line import Fact, Line
from chromaseal.testing.simulation.turns import Turns

# What only some episodes come to, by a piece of the key of an object that it stores.
SEEN_KEYS = {
    "base": "-base-",
    "fold": "-fold-",
    "mark": "/cancelled/",
    "history page": "/history/",
    "removal": "/gc/",
    "tag": "/tag/",
}
_SEEN_OF_FUNCTIONS = (
    *("invocation", "again", "side by side", "thaw"),
    *("change", "worn copy", "reminder", "foreign run", "portion"),
    *("set aside", "verified", "collected"),
)
_SEEN_OF_COPIES = ("push", "pull", "move", "push over runs", "run over push")
_SEEN_OF_REPAIRS = ("repair", "repair of runs")
SEEN = (
    *(*SEEN_KEYS, "late run", "rollback", "turn"),
    *(*_SEEN_OF_COPIES, *_SEEN_OF_FUNCTIONS, *_SEEN_OF_REPAIRS),
)


class Truth:
    """Looks at every change, and knows what was asked for.

    Args:
        objects: what the store holds.
        texts: records as texts.
        delta_suffix: how the keys of deltas end.
        keep_last: the rule of those who collect garbage.
        deltas_after: their rule about deltas.

    Attributes:
        wanted: the changes by run and collection.
        acknowledged: by run, the collections of which its writer was told that they are stored.
        unwanted: runs that somebody has asked to be cancelled, whatever came of it.
        cancelled: runs and collections of which somebody was told that they are.
        broken: the first invariant that did not hold.
        races: how many a compactor has lost.
        seen: how often what happened that only some episodes have.
        turns: whose turn it is at what.
        pushes: directories that somebody has tried to publish.
        served: what followers serve.
        texts: records as texts.
    """

    def __init__(
        self,
        objects: Mapping[str, StoredObject],
        texts: Texts,
        *,
        delta_suffix: str,
        keep_last: int,
        deltas_after: int | None,
    ) -> None:
        self.wanted: dict[str, Mapping[str, Changes]] = {}
        self.acknowledged: dict[str, tuple[str, ...]] = {}
        self.unwanted: set[str] = set()
        self.cancelled: set[tuple[str, str]] = set()
        self.broken: Broken | None = None
        self.races = 0
        self.seen: Counter[str] = Counter()
        self.lines: dict[str, Line] = {}
        self._objects = objects
        self.texts = texts
        self._delta_suffix = delta_suffix
        self._keep_last = keep_last
        self._deltas_after = deltas_after
        self._needed_by: dict[str, list[str]] = {}
        self._used: set[str] = set()
        self._echoes: set[str] = set()
        self._pages: dict[str, list[Any]] = {}
        self.turns = Turns(self.check, self.seen)
        self.pushes = Pushes(self.check, self.seen, texts)
        self.served = Served(self.check, self.read, self.seen)

    def line(self, collection: str) -> Line:
        """Give what is known of a collection."""
        return self.lines.setdefault(collection, Line())

    def created(self, key: str, body: bytes, *, is_again: bool) -> None:
        """Look at a new object."""
        collection = key.partition("/")[0]
        self._count(key)
        if key == _pointer_of(collection):
            self._pointed(collection, body)
        elif key.startswith(_gcs_of(collection)):
            gone = frozenset(json.loads(body)["versions"])
            line = self.line(collection)
            line.announced[key] = gone
            self.check(invariants.rules_keep_versions, gone, line.ids, self._keep_last)
        elif not is_again:
            self.check(invariants.names_are_used_once, key, self._used)
        elif key in self._used:
            # Its write was delivered once more after it went: it is there, and stands for nothing.
            self._echoes.add(key)

    def replaced(self, key: str, body: bytes) -> None:
        """Look at an object that was changed."""
        collection = key.partition("/")[0]
        if key == _pointer_of(collection):
            self._pointed(collection, body)
        else:
            self.check(invariants.names_are_used_once, key, (key,))

    def deleted(self, key: str) -> None:
        """Look at an object that is gone."""
        collection = key.partition("/")[0]
        line = self.line(collection)
        if key.startswith(_gcs_of(collection)):
            line.announced.pop(key)
            return
        cancelled = keys.parse_cancellation(key)
        if cancelled is not None:
            self.cancelled.discard((cancelled, collection))
            return
        delta = keys.parse_delta(key)
        if delta is not None:
            going = line.going
            present = [fact.number for fact in line.facts if fact.version_id not in going]
            number = line.merged.get(delta[1])
            self.check(invariants.deltas_are_kept, delta[1], number, present, self._deltas_after)
            return
        if keys.parse_tag(key) is None:
            self._used.add(key)
        self.check(
            invariants.nothing_reachable_is_deleted,
            key,
            self._needed_by.get(key, ()),
            line.newest,
            line.going,
            frozenset(line.tagged.values()),
            self._listed_beside(key, collection),
        )

    def moved(self, run_ids: list[str], collection: str, to: RunState, version_id: str) -> None:
        """Look at what a ledger was told."""
        if to is not RunState.COMPLETED:
            return
        line = self.line(collection)
        for run_id in run_ids:
            self.check(
                invariants.completed_runs_are_contained,
                run_id,
                collection,
                version_id,
                line.ids,
                line.merged,
            )

    def undone(self, run_ids: list[str], collection: str) -> None:
        """Look at runs that a ledger called done, and does not any more."""
        merged = self.line(collection).merged
        undone = [run_id for run_id in run_ids if run_id in merged]
        self.check(invariants.completed_runs_stay, collection, undone)

    def asks(self, run_id: str, changes: Mapping[str, Changes]) -> None:
        """Take note of a run that somebody is about to write."""
        self.wanted[run_id] = changes

    def acknowledges(self, run_id: str) -> None:
        """Take note that a writer was told that its run is stored."""
        names = tuple(self.wanted[run_id])
        missing = [
            name
            for name in names
            if keys.delta(name, run_id, self._delta_suffix) not in self._objects
            and run_id not in self.line(name).merged
        ]
        self.check(invariants.acknowledged_is_durable, run_id, missing)
        self.acknowledged[run_id] = names

    def promises(self, run_id: str) -> None:
        """Take note that a queue has been told of a run that a function is to write."""
        self.acknowledged[run_id] = tuple(self.wanted[run_id])

    def passes_by(self, number: str) -> None:
        """Take note that a record of a stream that cannot be told is not delivered again."""
        start = keys.set_aside(f"{number}-").removesuffix(".json")
        is_kept = any(key.startswith(start) for key in self._objects)
        self.seen["set aside"] += is_kept
        self.check(invariants.what_is_passed_by_is_kept, number, is_kept=is_kept)

    def cancels(self, run_id: str, names: Sequence[str]) -> None:
        """Take note that somebody was told that a run will not come into collections."""
        for name in names:
            # Somebody else may have put it back since; that takes the mark away first.
            if keys.cancellation(name, run_id) in self._objects:
                self.cancelled.add((run_id, name))

    def read(self, collection: str, version_id: str, directory: Path, at_least: int) -> None:
        """Look at what a reader has."""
        facts = self.line(collection).facts
        number = int(version_id.split("_")[3])
        fact = facts[number - 1] if number <= len(facts) else None
        try:
            found = read_rows(directory)[1]
        except (OSError, ValueError) as error:
            self.fails(f"a reader of {version_id}", error)
            return
        known = fact.rows if fact is not None and fact.version_id == version_id else None
        self.check(invariants.reader_has_a_whole_version, version_id, found, known)
        self.check(invariants.reader_never_sees_less, version_id, number, at_least)

    def logs(self, collection: str, entries: list[LogEntry], at_least: int) -> None:
        """Look at a log that somebody has read."""
        ids = self.line(collection).ids
        found = [entry.version.version_id for entry in reversed(entries)]
        newest = found[-1] if found else "nothing"
        self.check(invariants.history_is_whole, ids[: len(found)], found, newest)
        self.check(invariants.reader_never_sees_less, newest, len(found), at_least)

    def tags(self, collection: str, name: str, version_id: str) -> None:
        """Take note that a person was told that a version has a tag; it must be there."""
        line = self.line(collection)
        fact = line.facts[line.ids.index(version_id)]
        needed = dict.fromkeys(sorted(fact.needs))
        self.check(invariants.version_is_complete, version_id, needed, self._objects)
        found = self._objects[keys.tag(collection, name)].body.decode()
        self.check(invariants.a_tag_is_what_was_told, name, version_id, found)
        line.tagged[name] = version_id

    def told(self, actor: str, error: ChromasealError) -> None:
        """Look at what an actor was told instead of an answer."""
        self.check(invariants.errors_say_what_happened, actor, error.kind, str(error))

    def fails(self, actor: str, error: Exception) -> None:
        """Look at an error that is none of the product's own."""
        self.check(invariants.errors_say_what_happened, actor, type(error).__name__, str(error))

    def check(self, invariant: Callable[..., None], *facts: object, **named: object) -> None:
        """Ask whether an invariant holds, and keep the first that does not."""
        try:
            invariant(*facts, **named)
        except Broken as broken:
            self.broken = self.broken or broken

    def _count(self, key: str) -> None:
        for what, piece in SEEN_KEYS.items():
            if piece in key:
                self.seen[what] += 1

    def _pointed(self, collection: str, body: bytes) -> None:
        version_id, line = body.decode().strip(), self.line(collection)
        if version_id == line.newest and body != version_id.encode():
            # A fence: the same version under another tag.
            return
        key = keys.manifest(collection, version_id)
        self.check(invariants.version_is_complete, version_id, {key: None}, self._objects)
        if key not in self._objects:
            return
        plain = json.loads(self._objects[key].body)
        parent = plain["parent"]["version_id"] if plain["parent"] else None
        number = plain["number"]
        self.check(invariants.history_is_linear, line.ids, version_id, number, parent)
        if self.broken is not None:
            return
        self.check(invariants.version_is_complete, version_id, _sizes(plain, key), self._objects)
        listed = self._listed(collection, plain)
        self.check(invariants.history_is_whole, line.ids, listed, version_id)
        self._follow(line, version_id, plain)

    def _follow(self, line: Line, version_id: str, plain: dict[str, Any]) -> None:
        collection, number = plain["collection"], plain["number"]
        runs = [run["run_id"] for run in plain["runs"]]
        wanted = [run_id for run_id in runs if collection in self.wanted.get(run_id, ())]
        self.check(invariants.runs_are_merged_once, version_id, runs, line.merged, wanted)
        cancelled = [run_id for run_id in runs if (run_id, collection) in self.cancelled]
        self.check(invariants.cancelled_stays_out, version_id, cancelled)
        if self.broken is not None:
            return
        pushed = self.pushes.published(version_id, plain, line)
        fact = pushed or self._fact(line, version_id, plain)
        self.check(
            invariants.records_are_the_dictionarys,
            version_id,
            plain["records"]["count"],
            plain["records"]["multiset"],
            fact.rows,
            self.texts.hash_of(fact.rows),
        )
        line.facts.append(fact)
        line.ids.append(version_id)
        line.merged.update(dict.fromkeys(runs, number))
        for key in fact.needs:
            self._needed_by.setdefault(key, []).append(version_id)

    def _fact(self, line: Line, version_id: str, plain: dict[str, Any]) -> Fact:
        collection, restores = plain["collection"], plain["restores"]
        before = line.facts[-1] if line.facts else None
        if restores is not None:
            before = line.facts[restores - 1]
        old = before.effective if before else ()
        new = sorted((run["created_at"], run["run_id"]) for run in plain["runs"])
        effective = tuple(sorted([*old, *new]))
        in_order = effective[: len(old)] == old
        self.seen["late run"] += not in_order
        self.seen["rollback"] += restores is not None
        base = before.base if before else {}
        records = dict(before.records) if before and in_order else dict(base)
        self.seen["run over push"] += bool(base)
        for _, run_id in effective[len(old) :] if in_order else effective:
            oracle.change(records, self.wanted[run_id][collection])
        rows = self._rows(records, before)
        needs = frozenset(needs_of(plain, collection, version_id))
        return Fact(version_id, plain["number"], effective, base, records, rows, needs)

    def _rows(self, records: Mapping[str, Record], before: Fact | None) -> Rows:
        """Give records as texts; few have changed since before."""
        known, same = (before.rows, before.records) if before else ({}, {})
        row = self.texts.row
        return {i: known[i] if same.get(i) is r else row(r) for i, r in records.items()}

    def _listed_beside(self, key: str, collection: str) -> list[str]:
        """Give the versions that need an object and whose manifests are there."""
        named = {i: keys.manifest(collection, i) for i in self._needed_by.get(key, ())}
        return [i for i, at in named.items() if at in self._objects and at not in self._echoes]

    def _listed(self, collection: str, plain: dict[str, Any]) -> list[str]:
        listed: list[str] = []
        for page in plain["pages"]:
            key = keys.history_page(collection, page["page_id"])
            if key not in self._pages:
                found = self._objects.get(key)
                self._pages[key] = json.loads(found.body)["past"] if found else []
            listed += [row[0] for row in self._pages[key]]
        return [*listed, *(row[0] for row in plain["past"])]


def _pointer_of(collection: str) -> str:
    return keys.pointer(collection) if collection and collection[0] != "_" else ""


def _gcs_of(collection: str) -> str:
    return keys.gcs(collection) if collection and collection[0] != "_" else "/"


def _sizes(plain: dict[str, Any], key: str) -> dict[str, int | None]:
    collection = plain["collection"]
    sizes: dict[str, int | None] = {key: None}
    for layer in [*plain["layers"], *([plain["step"]] if plain["step"] else [])]:
        for number, part in enumerate(layer["parts"]):
            key = keys.layer_part(collection, layer["layer_id"], number)
            sizes[key] = part["size_bytes"]
    for page in plain["pages"]:
        sizes[keys.history_page(collection, page["page_id"])] = page["size_bytes"]
    return sizes
