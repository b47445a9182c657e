"""Who has directories of its own in a simulation: pushers, pullers and followers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from chromaseal.errors import Conflict, Damaged
from chromaseal.testing.simulation import invariants
from chromaseal.testing.simulation.actors import RECORDS, Process, any_record
from chromaseal.testing.simulation.dictionary import Rows, read_rows, write_rows

_REPLACES = 0.3
_PULLS_ANYWAY = 0.1
_AGAIN = 0.2
_TRIES = 4


def pusher(here: Process) -> None:
    """Change a directory and publish it, again and again; what was refused is made anew.

    Whoever has died meanwhile, or was told nothing, publishes what there is once more.
    """
    directory, number = here.folder / "own", 0
    while here.goes_on():
        number += 1
        collection = here.chance.choice(here.pushed)
        with here.trying():
            _push_what_is_there(here, directory, collection)
            _have(here, directory, collection)
            _change(here, directory, collection, f"{here.name}-{here.life}-{number}")
        _publish(here, directory, collection)
        here.rest(3.0)


def _publish(here: Process, directory: Path, collection: str) -> None:
    is_done = False
    for _ in range(_TRIES):
        with here.trying():
            _push_what_is_there(here, directory, collection)
            is_done = True
        if is_done:
            return
        here.rest(0.5)


def _push_what_is_there(here: Process, directory: Path, collection: str) -> None:
    """Publish a directory as it is; one that does not follow the newest version goes."""
    if not directory.exists():
        return
    rows = read_rows(directory)[1]
    pushes, line = here.truth.pushes, here.truth.line(collection)
    if pushes.is_settled(here.name, rows) and here.chance.random() >= _AGAIN:
        return
    fresh = not pushes.is_asked(collection, rows)
    replaces = fresh and here.chance.random() < _REPLACES
    pushes.asks(here.name, collection, rows, replaces=replaces)
    try:
        pushed = here.vault.push(directory, collection, replace=replaces)
    except Conflict as error:
        if error.kind == "not-the-newest":
            _pull_over(here, directory, collection)
        raise
    pushes.acknowledges(here.name, line, pushed.version.version_id, rows)


def _have(here: Process, directory: Path, collection: str) -> None:
    """Have a directory: what it is, the newest version, or the first there ever was."""
    if directory.exists() and here.chance.random() >= _PULLS_ANYWAY:
        return
    if here.truth.line(collection).ids:
        _pull_over(here, directory, collection)
    elif not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        write_rows(directory, collection, {}, at_ns=_now_ns(here))


def _pull_over(here: Process, directory: Path, collection: str) -> None:
    pulled = here.vault.pull(collection, directory, overwrite=directory.exists())
    here.truth.read(collection, pulled.version.version_id, directory, 0)
    here.truth.pushes.made_from[here.name] = (read_rows(directory)[1],)


def _change(here: Process, directory: Path, collection: str, unique: str) -> None:
    """Change a few records, so that no directory was ever the same before."""
    rows: Rows = dict(read_rows(directory)[1])
    for n in here.chance.sample(range(RECORDS), here.chance.randint(0, 3)):
        rows.pop(f"record-{n:02d}", None)
    for n in here.chance.sample(range(RECORDS), here.chance.randint(1, 3)):
        record = any_record(here.chance, f"record-{n:02d}")
        rows[record.id] = here.truth.texts.row(replace(record, document=unique))
    write_rows(directory, collection, rows, at_ns=_now_ns(here))


def _now_ns(here: Process) -> int:
    return int(here.clock.now().timestamp() * 1e9)


def puller(here: Process) -> None:
    """Bring directories to the newest version, or to one that is named."""
    while here.goes_on():
        collection = here.any_collection()
        directory, line = here.folder / collection, here.truth.line(collection)
        here.truth.check(invariants.a_copy_is_one_version, here.name, _problem(here, directory))
        named = line.ids and here.chance.random() < 0.2
        at = here.chance.choice(line.ids[-6:]) if named else ""
        at_least = 0 if named else len(line.ids)
        with here.trying():
            pulled = here.vault.pull(collection, directory, at=at)
            here.truth.seen["pull"] += 1
            here.truth.read(collection, pulled.version.version_id, directory, at_least)
        here.rest(3.0)


def _problem(here: Process, directory: Path) -> str:
    """Say why a directory, which nobody changes, is no version; empty where there is none."""
    if not directory.exists():
        return ""
    try:
        rows = read_rows(directory)[1]
    except (OSError, ValueError) as error:
        return str(error)
    facts = here.truth.line(directory.name).facts
    return "" if any(fact.rows == rows for fact in reversed(facts)) else "no version has these"


def follower(here: Process) -> None:
    """Keep a copy of a collection's newest version, for as long as it lives."""
    names = (*here.pushed, *here.collections)
    collection = names[int(here.name.rpartition("-")[2]) % len(names)]
    folder = here.folder / "served"
    here.truth.served.begins(here.name, collection, folder)

    def refused(version_id: str, error: Damaged) -> None:
        del version_id
        here.truth.told(here.name, error)

    while here.goes_on():
        with here.trying():
            for _ in here.vault.follow(
                collection, folder, stop=lambda: not here.goes_on(), told=refused
            ):
                continue
        here.rest(1.0)


SCRIPTS: Mapping[str, Callable[[Process], None]] = {
    "pusher": pusher,
    "puller": puller,
    "follower": follower,
}
