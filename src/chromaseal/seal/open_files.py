"""Who holds files of a directory: the interface that tells, and what it tells, as plain data."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a file open, mapped or locked; of some locks nobody can tell whose."""

    pid: int
    command: str
    path: str
    how: str

    def __str__(self) -> str:
        """Name process and file as errors do."""
        if self.pid <= 0:
            return f"a process that cannot be seen from here has {self.path} {self.how}"
        return f"process {self.pid} ({self.command}) has {self.path} {self.how}"


class OpenFiles(Protocol):
    """Where holders are found."""

    def holders(self, directory: Path) -> list[Holder]:
        """Give every process that holds a file below a directory, this one included.

        Raises:
            Unsupported: ``no-proc``, this machine cannot tell.
        """
        ...


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file as one process has it.

    Attributes:
        name: relative to the directory; where it is gone, the name that it had.
        path: as the process has it: through another mount it is another one.
        how: ``open`` or ``mapped``.
        access: ``read``, ``write``, ``read and write``, or ``none`` of what is only named.
        descriptors: by which the process has it open; none where it is mapped.
        gone: whether it was deleted or replaced since.
    """

    name: str
    path: str
    how: str
    access: str
    descriptors: tuple[int, ...]
    gone: bool


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock on a file, or the wait for one.

    Attributes:
        name: of the file, relative to the directory.
        kind: ``POSIX``, ``OFD``, ``FLOCK``, or what else the kernel calls it.
        exclusive: whether nobody else can have it.
        first: the first byte that it is on.
        last: the last one; None if it goes on to the end.
        waiting: whether it is yet to be got.
    """

    name: str
    kind: str
    exclusive: bool
    first: int
    last: int | None
    waiting: bool

    def covers(self, byte: int) -> bool:
        """Tell whether it is on a byte."""
        return self.first <= byte and (self.last is None or byte <= self.last)


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds something.

    Attributes:
        pid: its number; 0 where only a lock shows that there is somebody.
        command: its command line.
        user: who runs it.
        started_at: when it began; None where nobody can tell.
        files: what it has open or mapped; nothing of a process that may not be looked at.
        locks: what it has locked, or waits for.
    """

    pid: int
    command: str
    user: str
    started_at: dt.datetime | None
    files: tuple[HeldFile, ...]
    locks: tuple[HeldLock, ...]


@dataclass(frozen=True, slots=True)
class Unseen:
    """Processes of one user that this one may not look at."""

    user: str
    processes: int


@dataclass(frozen=True, slots=True)
class Use:
    """Who uses a directory, as far as can be seen.

    Attributes:
        processes: those that hold something, by number.
        user: who looked.
        unseen: those that may hold something and may not be looked at.
        in_container: whether processes outside of this process's container are out of sight.
        hidden: whether this machine hides other users' processes.
        locks_known: whether the kernel's list of locks can be read.
    """

    processes: tuple[Process, ...]
    user: str = "root"
    unseen: tuple[Unseen, ...] = ()
    in_container: bool = False
    hidden: bool = False
    locks_known: bool = True
