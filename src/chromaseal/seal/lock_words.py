"""A process's locks on SQLite's files, and what it has open -> what it does, in words.

Which bytes SQLite locks is a part of its file format. On the database itself: PENDING, RESERVED
and 510 SHARED bytes from 1 GiB on. In WAL mode the log is guarded by bytes of ``-shm`` instead,
and every connection keeps SHARED on the database for as long as it lives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from chromaseal.seal.open_files import HeldLock, Process
from chromaseal.seal.quiet import DATABASE, INDEX_FILES, PICKLE

PENDING: Final = 0x40000000
RESERVED: Final = PENDING + 1
SHARED_FIRST: Final = PENDING + 2
SHARED_LAST: Final = SHARED_FIRST + 509
_SHARED_MEMORY: Final = f"{DATABASE}-shm"
_WAL_WRITE: Final = 120
_WAL_CHECKPOINT: Final = 121
_WAL_RECOVER: Final = 122
_WAL_READ_FIRST: Final = 123
_WAL_READ_LAST: Final = 127
_CLOSE: Final = "client.close() for every client of this path"
_CLOSE_OR_END: Final = f"{_CLOSE}, or end it (client = None, del and gc close nothing)"
STRANGER: Final = "somebody who cannot be seen from here"
ELSEWHERE: Final = "look in the other containers and on the other machines that share this disk"
_NATIVE_FILES: Final = INDEX_FILES - {PICKLE}
_WHOLE_FILE: Final = {"FLOCK", "LEASE", "DELEG"}


@dataclass(frozen=True, slots=True)
class Role:
    """What a process does with the directory, and what closes it.

    Attributes:
        process: which one.
        does: in words.
        close: in words.
        clients: how often it has an index open, which is once per client; 0 if not at all.
    """

    process: Process
    does: str
    close: str
    clients: int


def doing(locks: Collection[HeldLock], *, write_ahead: bool) -> list[str]:
    """Say what a process does, going by its locks; nothing if it has none.

    Args:
        locks: of one process.
        write_ahead: whether the database is in WAL mode.
    """
    said = [*_with_database(_on(DATABASE, locks), write_ahead=write_ahead)]
    said += _with_log(_on(_SHARED_MEMORY, locks))
    whole = sorted({f"has {lock.name} locked ({lock.kind})" for lock in locks if _is_whole(lock)})
    waits = sorted({f"waits for a lock on {lock.name}" for lock in locks if lock.waiting})
    return said + whole + waits


def meaning(lock: HeldLock) -> str:
    """Say what one lock is for."""
    if _is_whole(lock):
        return "the whole file"
    if lock.name == _SHARED_MEMORY:
        return ", ".join(_with_log([lock])) or "the write-ahead log's memory"
    if lock.name != DATABASE:
        return ""
    return " + ".join(
        name
        for name, byte in (("PENDING", PENDING), ("RESERVED", RESERVED), ("SHARED", SHARED_FIRST))
        if lock.covers(byte)
    ).replace("SHARED", "EXCLUSIVE" if lock.exclusive else "SHARED")


def _with_database(held: Collection[HeldLock], *, write_ahead: bool) -> Iterator[str]:
    if _exclusive(held, SHARED_FIRST):
        yield "is writing the database at this moment (EXCLUSIVE)"
    elif _exclusive(held, PENDING):
        yield "is about to write and waits until nobody reads (PENDING)"
    elif _exclusive(held, RESERVED):
        yield "has a write transaction under way (RESERVED)"
    elif any(lock.covers(SHARED_FIRST) or lock.covers(PENDING) for lock in held):
        yield "is connected, as is usual in WAL mode (SHARED)" if write_ahead else "reads (SHARED)"


def _with_log(held: Collection[HeldLock]) -> Iterator[str]:
    if _exclusive(held, _WAL_WRITE):
        yield "writes to the write-ahead log"
    if _exclusive(held, _WAL_CHECKPOINT):
        yield "copies the write-ahead log into the database"
    if _exclusive(held, _WAL_RECOVER):
        yield "recovers the write-ahead log"
    marks = range(_WAL_READ_FIRST, _WAL_READ_LAST + 1)
    if any(lock.covers(mark) and not lock.exclusive for lock in held for mark in marks):
        yield "reads through the write-ahead log"


def _on(name: str, locks: Collection[HeldLock]) -> list[HeldLock]:
    return [k for k in locks if k.name == name and not k.waiting and not _is_whole(k)]


def _exclusive(held: Collection[HeldLock], byte: int) -> bool:
    return any(lock.exclusive and lock.covers(byte) for lock in held)


def _is_whole(lock: HeldLock) -> bool:
    # SQLite's Unix locks never are.
    return lock.kind in _WHOLE_FILE and not lock.waiting


def role_of(process: Process, own_pid: int, *, write_ahead: bool) -> Role:
    """Say what a process does and what closes it.

    Args:
        process: which one.
        own_pid: of this process.
        write_ahead: whether the database is in WAL mode.
    """
    said = doing(process.locks, write_ahead=write_ahead)
    if not said:
        said = [_without_lock(process)]
    if any(file.gone for file in process.files):
        said.append("has deleted or replaced files open: what it writes there is lost")
    clients = _clients(process)
    if clients > 1:
        said.append(f"has the index open {clients} times: {clients} clients, or leaked ones")
    return Role(process, "; ".join(said), _closing(process, own_pid), clients)


def _without_lock(process: Process) -> str:
    there = [file for file in process.files if not file.gone]
    opened = [file for file in there if file.how == "open"]
    may_write = any("write" in file.access for file in opened)
    if may_write and any(file.name == DATABASE for file in opened):
        return "has an idle client: no lock, but it can write at any moment"
    if opened:
        what = "can write to its files" if may_write else "reads its files, as a copy does"
        return f"has no lock, but {what}"
    if there:
        return "has files mapped"
    return "holds nothing that is still there" if process.files else "holds a lock"


def _clients(process: Process) -> int:
    """Count how often a process has an index open: once per client, all four files of it."""
    counts: Counter[tuple[str, str]] = Counter()
    for file in process.files:
        folder, _, name = file.name.rpartition("/")
        if file.how == "open" and name in _NATIVE_FILES and not file.gone:
            counts[folder, name] += len(file.descriptors)
    folders = {folder for folder, _ in counts}
    return max((min(counts[f, name] for name in _NATIVE_FILES) for f in folders), default=0)


def _closing(process: Process, own_pid: int) -> str:
    if not process.pid:
        return ELSEWHERE
    if process.pid == own_pid:
        return f"{_CLOSE}: this very process has it open"
    if any(lock.exclusive for lock in _on(DATABASE, process.locks)):
        return f"let its change finish, then {_CLOSE_OR_END}"
    if any(file.name.startswith(DATABASE) and "write" in file.access for file in process.files):
        return _CLOSE_OR_END
    return "let it finish, or end it"


def named(process: Process) -> str:
    """Name a process as messages do."""
    if not process.pid:
        return STRANGER
    return f"process {process.pid} ({process.command[:60]})"
