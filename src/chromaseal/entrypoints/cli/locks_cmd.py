"""chromaseal locks: who has a directory's files open or locked, and what to close."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from chromaseal.clock import to_iso
from chromaseal.composition.locks import examine_locks
from chromaseal.entrypoints.cli.options import JsonOption
from chromaseal.entrypoints.cli.output import Output, moment, seconds, size
from chromaseal.entrypoints.cli.push_cmd import DirectoryArgument
from chromaseal.seal.lock_words import Role, meaning
from chromaseal.seal.locks import LocksReport, Standing
from chromaseal.seal.open_files import HeldFile, HeldLock

_SHOWN_COMMAND_CHARACTERS = 100


def locks(
    directory: DirectoryArgument,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait", metavar="SECONDS", min=0.0, help="Wait that long until it is closed."
        ),
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Tell who has a directory's files open, mapped or locked, and what to close.

    Nothing is written and no lock is taken or dropped. Processes of other users are seen by root
    only. Of what runs on other machines, or outside of the container that this runs in, nothing
    but locks can be seen, and an idle client has none.

    Example: [bold]chromaseal locks ./chroma --wait 10[/]
    """
    output = Output.of(as_json=as_json)
    found = examine_locks(directory, wait_s=wait_s)
    with output.read_or_not():
        output.record("locks", **_plain(found))
        for role in found.roles:
            output.record("process", **_plain_role(role))
        _show(output, found)
    error = found.error()
    if error is not None:
        raise error


def _show(output: Output, found: LocksReport) -> None:
    output.say(_headline(found))
    if found.roles:
        _show_roles(output, found.roles)
    if found.leftovers:
        output.table(
            "Journals",
            ["file", "size", "what it is"],
            [[each.name, size(each.size_bytes), each.means] for each in found.leftovers],
        )
    if found.recent_s:
        output.table(
            "Just written",
            ["file", "ago"],
            [[name, seconds(age_s)] for name, age_s in found.recent_s.items()],
        )
    for note in found.notes:
        output.say(f"note: {note}")
    if found.hint and found.standing is Standing.CLOSED:
        output.say(f"  next: {found.hint}")


def _headline(found: LocksReport) -> str:
    waited = f" after {seconds(found.waited_s)}" if found.waited_s >= 1 else ""
    if found.standing is Standing.OPEN:
        count = len(found.roles)
        return f"{found.standing}{waited}: held by {count} process{'es' * (count != 1)}"
    if found.standing is Standing.CLOSED:
        return f"{found.standing}{waited}: {found.reason}"
    return f"{found.standing}"


def _show_roles(output: Output, roles: tuple[Role, ...]) -> None:
    output.table(
        "Processes",
        ["process", "user", "since (UTC)", "command", "what it does"],
        [
            [
                role.process.pid or "?",
                role.process.user,
                moment(_iso(role.process.started_at)),
                role.process.command[:_SHOWN_COMMAND_CHARACTERS],
                role.does,
            ]
            for role in roles
        ],
    )
    output.table("Files", ["process", "file", "how", "for", "note"], list(_file_rows(roles)))
    rows = list(_lock_rows(roles))
    if rows:
        output.table("Locks", ["process", "file", "kind", "bytes", "for"], rows)


def _file_rows(roles: tuple[Role, ...]) -> Iterator[list[object]]:
    for role in roles:
        for file in role.process.files:
            yield [role.process.pid, file.name, _how(file), file.access, ", ".join(_notes(file))]


def _how(file: HeldFile) -> str:
    times = len(file.descriptors)
    return f"{file.how} {times} times" if times > 1 else file.how


def _notes(file: HeldFile) -> Iterator[str]:
    if file.gone:
        yield "deleted or replaced since"
    elif not file.path.endswith(f"/{file.name}"):
        yield f"as {file.path}"


def _lock_rows(roles: tuple[Role, ...]) -> Iterator[list[object]]:
    for role in roles:
        for lock in role.process.locks:
            means = meaning(lock)
            if lock.waiting:
                means = f"waits for it: {means}" if means else "waits for it"
            mode = "write" if lock.exclusive else "read"
            yield [role.process.pid or "?", lock.name, f"{lock.kind} {mode}", _bytes(lock), means]


def _bytes(lock: HeldLock) -> str:
    if lock.last is None:
        return "all" if not lock.first else f"from {lock.first}"
    return str(lock.first) if lock.first == lock.last else f"{lock.first} to {lock.last}"


def _plain(found: LocksReport) -> dict[str, object]:
    error = found.error()
    return {
        "directory": str(found.directory),
        "state": found.standing.name.lower().replace("_", "-"),
        "kind": error.kind if error else None,
        "reason": found.reason,
        "hint": found.hint,
        "processes": len(found.roles),
        "leftovers": [asdict(each) for each in found.leftovers],
        "recent_s": dict(found.recent_s),
        "write_ahead": found.probed.write_ahead,
        "database_locks": {name: asdict(lock) for name, lock in found.probed.locks.items()},
        "unseen": [asdict(each) for each in found.use.unseen],
        "in_container": found.use.in_container,
        "hidden": found.use.hidden,
        "notes": list(found.notes),
        "waited_s": round(found.waited_s, 6),
    }


def _plain_role(role: Role) -> dict[str, object]:
    process = role.process
    return {
        "pid": process.pid or None,
        "command": process.command,
        "user": process.user,
        "started_at": _iso(process.started_at) or None,
        "does": role.does,
        "close": role.close,
        "clients": role.clients,
        "files": [asdict(file) for file in process.files],
        "locks": [{**asdict(lock), "means": meaning(lock)} for lock in process.locks],
    }


def _iso(moment: dt.datetime | None) -> str:
    return to_iso(moment) if moment is not None else ""
