"""What a soak has left, held against what its writers noted: every run once, every record right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.soak.journal import Attempted
from bench.soak.plan import Place, Plan, collection_of
from bench.soak.writes import COLLECTIONS, changes_of, run_id
from chromaseal.adapters.chroma.reader import ChromaReader
from chromaseal.delta.model import Delta, DeltaHeader, upserts_of
from chromaseal.record import Record
from chromaseal.replication.follow import CURRENT
from chromaseal.seal.verdict import Level, in_words
from chromaseal.snapshot.manifest import PastVersion
from chromaseal.testing.audit import assert_clean
from chromaseal.testing.oracle import Rows, assert_same_rows, expected_rows
from chromaseal.vault import Vault

_VERIFIED_AT_ONCE = 2
_SHOWN = 5


@dataclass(slots=True)
class Reckoning:
    """What was found.

    Attributes:
        problems: what is wrong; nothing, where the product keeps its word.
        versions: every version, oldest first, by collection.
        records: how many there are, by collection.
        acknowledged: runs whose writers were told that they are stored.
        unsure: runs that are in a version and that no writer was told of.
        given_up: runs that were begun and are in no version.
        verified: versions that were looked at deep.
        collected: objects that garbage collection took.
    """

    problems: list[str] = field(default_factory=list)
    versions: dict[str, list[PastVersion]] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    unsure: int = 0
    given_up: int = 0
    verified: int = 0
    collected: int = 0


@dataclass(frozen=True, slots=True)
class Tried:
    """One collection's part of what a writer has tried.

    Attributes:
        run_id: of the run.
        writer: whose.
        run: as its journal has it.
    """

    run_id: str
    writer: int
    run: Attempted


def parts_of(seed: int, attempted: Mapping[int, Iterable[Attempted]]) -> dict[str, list[Tried]]:
    """Give all that was tried, by collection."""
    found: dict[str, list[Tried]] = {name: [] for name in COLLECTIONS}
    for writer, runs in attempted.items():
        for run in runs:
            tried = Tried(run_id(writer, run.number), writer, run)
            for name in changes_of(seed, writer, run.number):
                found[name].append(tried)
    return found


def wrong_runs(tried: Iterable[Tried], merged: Iterable[tuple[str, str]]) -> list[str]:
    """Say what is wrong with a collection's runs.

    Args:
        tried: all that writers have tried.
        merged: every run that any version brought in, and its age, as often as it did.
    """
    known = {each.run_id: each.run for each in tried}
    times, ages = Counter(run for run, _ in merged), dict(merged)
    found = [f"{run} was merged {n} times" for run, n in times.items() if n > 1]
    found += [f"nobody has written {run}" for run in times if run not in known]
    for name, run in known.items():
        if run.acknowledged_s is None:
            continue
        if name not in times:
            found.append(f"{name} was acknowledged and is in no version")
        elif ages[name] != run.created_at:
            found.append(f"{name} has the age {ages[name]}; its writer was told {run.created_at}")
    return found


def expected(seed: int, collection: str, tried: Iterable[Tried], ages: Mapping[str, str]) -> Rows:
    """Give what a collection must hold: the runs that were merged, in the order of their age."""
    deltas = []
    for each in tried:
        if each.run_id in ages:
            changes = changes_of(seed, each.writer, each.run.number)[collection]
            header = DeltaHeader(each.run_id, collection, ages[each.run_id], None)
            upserts = upserts_of(changes.upserts)
            deltas.append(Delta(header, upserts, changes.updates, tuple(changes.deletes)))
    return expected_rows(deltas)


def reckon(
    plan: Plan,
    place: Place,
    vault: Vault,
    attempted: Mapping[int, list[Attempted]],
    say: Callable[[str], None],
) -> Reckoning:
    """Look at everything, when nobody is at work any more."""
    found = Reckoning()
    found.acknowledged = sum(
        run.acknowledged_s is not None for runs in attempted.values() for run in runs
    )
    everything = parts_of(plan.seed, attempted)
    merged_anywhere: set[str] = set()
    rows: dict[str, Rows] = {}
    for name, tried in everything.items():
        found.versions[name] = [entry.version for entry in vault.log(name)][::-1]
        merged = [pair for version in found.versions[name] for pair in version.runs]
        merged_anywhere |= {run for run, _ in merged}
        found.problems += wrong_runs(tried, merged)
        rows[name] = expected(plan.seed, name, tried, dict(merged))
        say(f"{name}: comparing {len(rows[name])} records ...")
        with vault.reader(name) as reader:
            found.problems += differences(name, reader.records(), rows[name])
            found.records[name] = reader.count()
    unsure = {t.run_id for tried in everything.values() for t in tried if not t.run.acknowledged_s}
    found.unsure = len(unsure & merged_anywhere)
    found.given_up = len(unsure - merged_anywhere)
    for number in range(plan.followers):
        found.problems += _wrong_copy(vault, place, number, rows)
    _collect(vault, found, say)
    _verify(vault, found, say)
    return found


def differences(what: str, records: Iterable[Record], rows: Rows) -> list[str]:
    """Compare records with what they must be, one by one: vector, document, metadata."""
    held = list(records)
    ids = {record.id for record in held}
    found = [f"{what}: {each} is missing" for each in sorted(rows.keys() - ids)]
    found += [f"{what}: {each} should not be there" for each in sorted(ids - rows.keys())]
    if not found:
        try:
            assert_same_rows(held, rows)
        except AssertionError as error:
            found.append(f"{what}: a record differs: {error}")
    return [*found[:_SHOWN], *([f"{what}: and more, {len(found)} in all"] * (len(found) > _SHOWN))]


def _wrong_copy(vault: Vault, place: Place, number: int, rows: Mapping[str, Rows]) -> list[str]:
    """Say what is wrong with a follower's copy, opened as an application does."""
    name = collection_of(number)
    newest, directory = vault.version(name), (place.followed(number) / CURRENT).resolve()
    if directory.name != newest.version_id:
        return [f"follower {number} is at {directory.name}, not at {newest.version_id}"]
    with ChromaReader(newest, directory, ExitStack()) as reader:
        return differences(f"follower {number}", reader.records(), rows[name])


def _collect(vault: Vault, found: Reckoning, say: Callable[[str], None]) -> None:
    for name in COLLECTIONS:
        say(f"{name}: collecting garbage ...")
        found.collected += len(vault.gc(name).doomed)
        try:
            assert_clean(vault.parts.store, name)
        except AssertionError as error:
            found.problems.append(f"{name}: after garbage collection: {error}")


def _verify(vault: Vault, found: Reckoning, say: Callable[[str], None]) -> None:
    """Look at every version deep, fetched anew."""

    def look(place: tuple[str, int]) -> list[str]:
        name, number = place
        verdict = vault.verify(name, at=str(number), level=Level.DEEP)
        return [] if verdict.sound else [f"{name}, {number}: {in_words(verdict.failed)}"]

    places = [(name, each.number) for name, line in found.versions.items() for each in line]
    with ThreadPoolExecutor(_VERIFIED_AT_ONCE) as pool:
        for wrong in pool.map(look, places):
            found.problems += wrong
            found.verified += 1
            if not found.verified % 50:
                say(f"verified {found.verified} of {len(places)} versions ...")
