"""Who holds a directory, and its journals -> closed, open or left behind; and what to close.

What decides here is plain data: ``Use`` says who has files open, mapped or locked; ``Probed`` is
what a process of its own found in the directory. A journal is hot by SQLite's own rule: it has
something to roll back, and nobody has the database reserved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from chromaseal.clock import Clock
from chromaseal.errors import ChromasealError, Conflict, Damaged
from chromaseal.seal.lock_words import ELSEWHERE, STRANGER, Role, named, role_of
from chromaseal.seal.open_files import Use
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.sealed import not_chromadb

RECENT_S = 2.0
_LEFTOVERS = {
    "-journal": "the journal of a change",
    "-wal": "a write-ahead log",
    "-shm": "the memory of a write-ahead log",
}
_SHOWN_PROCESSES = 5
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
# Looking takes a moment, in which a process may come or go: what is odd is looked at again.
_LOOKS = 3
_OF_A_DESCRIPTOR = -1


class Standing(StrEnum):
    """What a directory is, going by who holds it."""

    CLOSED = "closed"
    OPEN = "open"
    LEFT_BEHIND = "left behind by a writer that died"


@dataclass(frozen=True, slots=True)
class FileSeen:
    """A file's size, and when it was last written, in nanoseconds since 1970."""

    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Blocking:
    """A lock of somebody's that a writer would have to wait for.

    Attributes:
        exclusive: whether a reader would, too.
        pid: whose; 0 and below where that is no process of this machine that can be seen, with
            -1 for a lock that belongs to a descriptor.
    """

    exclusive: bool
    pid: int


@dataclass(frozen=True, slots=True)
class Probed:
    """What a process of its own found in a directory.

    Attributes:
        files: by path relative to the directory.
        write_ahead: whether the database is in WAL mode; None if there is no sound header.
        journal_filled: whether the database's journal has something to roll back.
        locks: on the database, by ``PENDING``, ``RESERVED`` and ``SHARED``, where somebody has
            that, on this machine or another one.
        problem: why not all could be looked at; empty if it could.
    """

    files: Mapping[str, FileSeen]
    write_ahead: bool | None = None
    journal_filled: bool = False
    locks: Mapping[str, Blocking] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A journal or write-ahead log that is there.

    Attributes:
        name: of the file.
        size_bytes: of it.
        means: what it is, and whose.
        orphaned: whether nobody is left to finish it.
    """

    name: str
    size_bytes: int
    means: str
    orphaned: bool


@dataclass(frozen=True, slots=True)
class LocksReport:
    """What came of looking at a directory.

    Attributes:
        directory: which one.
        standing: closed, open or left behind.
        reason: in a sentence.
        hint: the next step; empty where there is none.
        roles: who holds it.
        leftovers: journals and write-ahead logs.
        recent_s: by file, how many seconds ago it was written; the last moments only.
        notes: what else is to be known, and what could not be seen.
        use: what this rests on.
        probed: what this rests on.
        waited_s: how long it was waited for.
    """

    directory: Path
    standing: Standing
    reason: str
    hint: str
    roles: tuple[Role, ...]
    leftovers: tuple[Leftover, ...]
    recent_s: Mapping[str, float]
    notes: tuple[str, ...]
    use: Use
    probed: Probed
    waited_s: float = 0.0

    @property
    def is_odd(self) -> bool:
        """Whether it may have come of a process that came or went as it was looked at."""
        return self.standing is Standing.LEFT_BEHIND or bool(_unexplained(self.use, self.probed))

    def error(self) -> ChromasealError | None:
        """Give the error that it amounts to; None if the directory is closed."""
        if self.standing is Standing.OPEN:
            return Conflict(self.reason, kind="still-open", hint=self.hint)
        if self.standing is Standing.LEFT_BEHIND:
            return Damaged(self.reason, kind="hot-journal", hint=self.hint)
        return None


def examine_locks(
    directory: Path,
    look: Callable[[], tuple[Use, Probed]],
    *,
    clock: Clock,
    own_pid: int = 0,
    wait_s: float = 0.0,
) -> LocksReport:
    """Tell who holds a directory and what to close.

    Args:
        directory: which one; it is looked at by ``look`` alone.
        look: says what there is to be seen at this moment.
        clock: for the waiting, and to tell what was written a moment ago.
        own_pid: of this process.
        wait_s: how long to wait until it is closed.

    Raises:
        RefusedInput: ``not-chromadb``, and nobody has anything of it open.
    """
    start_s, pause_s, looks = clock.monotonic_s(), _FIRST_PAUSE_S, 0
    while True:
        waited_s = clock.monotonic_s() - start_s
        use, probed = look()
        looks += 1
        now_ns = int(clock.now().timestamp() * 1e9)
        found = judge(directory, use, probed, now_ns=now_ns, own_pid=own_pid)
        if looks < _LOOKS and found.is_odd:
            clock.sleep(_FIRST_PAUSE_S)
            continue
        if found.standing is not Standing.OPEN or waited_s >= wait_s:
            return replace(found, waited_s=waited_s)
        clock.sleep(min(pause_s, wait_s - waited_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def judge(
    directory: Path, use: Use, probed: Probed, *, now_ns: int, own_pid: int = 0
) -> LocksReport:
    """Decide what a directory is; see ``examine_locks``."""
    if DATABASE not in probed.files and not use.processes and not probed.problem:
        raise not_chromadb(directory)
    roles = tuple(role_of(p, own_pid, write_ahead=bool(probed.write_ahead)) for p in use.processes)
    strangers = _unexplained(use, probed)
    is_held = bool(roles or strangers)
    leftovers = tuple(_leftovers(probed, is_held=is_held))
    recent_s = _recent(probed, now_ns)
    found = LocksReport(
        directory,
        Standing.CLOSED,
        f"nobody has a file of {directory} open, mapped or locked",
        "",
        roles,
        leftovers,
        recent_s,
        tuple(_notes(use, probed, recent_s, is_held=is_held)),
        use,
        probed,
    )
    if any(each.orphaned for each in leftovers):
        return _left_behind(found)
    return _open(found, strangers) if is_held else _closed(found)


def is_hot(probed: Probed) -> bool:
    """Tell whether the journal is one that the next process to open the database rolls back."""
    return probed.journal_filled and not any(k.exclusive for k in probed.locks.values())


def _closed(found: LocksReport) -> LocksReport:
    unseen = sum(each.processes for each in found.use.unseen)
    if not unseen and not found.use.hidden:
        return found
    reason = f"as far as this user can see, {found.reason}"
    hint = "run it as root to look at the others' processes too"
    if found.use.user == "root":
        hint = "run it outside of the container, or with CAP_SYS_PTRACE, to look at those too"
    return replace(found, reason=reason, hint=hint)


def _open(found: LocksReport, strangers: str) -> LocksReport:
    shown = [f"{named(role.process)} {role.does}" for role in found.roles[:_SHOWN_PROCESSES]]
    more = len(found.roles) - _SHOWN_PROCESSES
    shown += [f"{more} more processes"] if more > 0 else []
    shown += [f"{STRANGER} {strangers}"] if strangers else []
    return replace(
        found,
        standing=Standing.OPEN,
        reason=f"{found.directory} is open: {'; '.join(shown)}",
        hint=_what_to_close(found.roles, strangers=bool(strangers)),
    )


def _what_to_close(roles: Iterable[Role], *, strangers: bool) -> str:
    pids: defaultdict[str, list[str]] = defaultdict(list)
    for role in roles:
        pids[role.close].append(str(role.process.pid))
    if strangers:
        pids.setdefault(ELSEWHERE, [])
    return "; ".join(
        close
        if close == ELSEWHERE
        else f"process{'es' * (len(each) > 1)} {', '.join(each)}: {close}"
        for close, each in pids.items()
    )


def _left_behind(found: LocksReport) -> LocksReport:
    orphans = [f"{each.name} is {each.means}" for each in found.leftovers if each.orphaned]
    how = "a writer died, or it was copied in the middle of a change"
    reason = f"{found.directory} is not whole ({how}): {'; '.join(orphans)}"
    hint = (
        "open and close the directory once with ChromaDB, which completes or undoes the change, "
        f"then run `chromaseal verify {found.directory}`"
    )
    if is_hot(found.probed):
        hint = (
            f"chromaseal repair {found.directory} undoes the change in a copy and looks at it "
            "deeply; opening and closing the directory once with ChromaDB undoes it in place"
        )
    if found.roles:
        holders = ", ".join(named(role.process) for role in found.roles[:_SHOWN_PROCESSES])
        reason += f"; {holders} still has it open"
        hint = "close it there first, then " + hint
    return replace(found, standing=Standing.LEFT_BEHIND, reason=reason, hint=hint)


def _leftovers(probed: Probed, *, is_held: bool) -> Iterator[Leftover]:
    for name, seen in sorted(probed.files.items()):
        suffix = next((s for s in _LEFTOVERS if name.endswith(s)), "")
        if not suffix:
            continue
        orphaned, means = not is_held, _LEFTOVERS[suffix]
        if name == f"{DATABASE}-journal" and probed.journal_filled:
            orphaned = is_hot(probed)
            means += " that was broken off" if orphaned else " that is under way"
        elif is_held:
            means += " that is in use"
        elif suffix == "-journal":
            means += " that had not begun to write"
        elif suffix == "-wal":
            means += " that nobody has merged" if seen.size_bytes else " without content"
        yield Leftover(name, seen.size_bytes, means, orphaned)


def _recent(probed: Probed, now_ns: int) -> dict[str, float]:
    ages_s = {name: (now_ns - seen.modified_ns) / 1e9 for name, seen in probed.files.items()}
    return {name: max(age_s, 0.0) for name, age_s in sorted(ages_s.items()) if age_s <= RECENT_S}


def _unexplained(use: Use, probed: Probed) -> str:
    """Say which locks are there that no process which can be seen has; empty if all are known."""
    known = {p.pid for p in use.processes}
    # A lock that belongs to a descriptor names no process: whoever has the file open may have it.
    if any(f.name == DATABASE and not f.gone for p in use.processes for f in p.files):
        known.add(_OF_A_DESCRIPTOR)
    missing = [name for name, lock in probed.locks.items() if lock.pid not in known - {0}]
    return f"has a lock on {DATABASE} ({', '.join(missing)})" if missing else ""


def _notes(
    use: Use, probed: Probed, recent_s: Mapping[str, float], *, is_held: bool
) -> Iterator[str]:
    for each in use.unseen:
        several = "es" * (each.processes > 1)
        yield f"{each.processes} process{several} of {each.user} could not be looked into"
    if use.hidden:
        yield "this machine hides other users' processes (hidepid)"
    if use.in_container:
        yield "processes outside of this container cannot be seen"
    if not use.locks_known:
        yield "the kernel's list of locks cannot be read"
    if probed.problem:
        yield probed.problem
    if probed.write_ahead:
        yield (
            f"{DATABASE} is in WAL mode, which ChromaDB does not use: set its journal_mode back "
            "to delete while nothing has it open"
        )
    if recent_s and not is_held:
        name, age_s = min(recent_s.items(), key=lambda item: item[1])
        yield (
            f"{name} was written {age_s:.1f} s ago: if nothing of yours has just closed, "
            "somebody who cannot be seen writes it; look again"
        )
