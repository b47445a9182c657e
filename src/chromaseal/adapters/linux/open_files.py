"""Who holds files of a directory, read from /proc; touches no file of the directory.

A file is recognised by device and inode wherever its name is one of the directory's: a process may
have come through a bind mount, from a container, or before a folder was renamed. Where a name does
not say so, as with hard links, it is asked for every file. What was deleted or replaced is
recognised by its path.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from chromaseal.adapters.linux.kernel_locks import descriptor_info, kernel_locks
from chromaseal.adapters.linux.process_facts import (
    as_text,
    command_line,
    command_of,
    hides_processes,
    in_container,
    is_kernel_thread,
    read,
    started_at,
    user_name,
    user_of,
)
from chromaseal.errors import Unsupported
from chromaseal.seal.open_files import HeldFile, HeldLock, Holder, Process, Unseen, Use

_PROC: Final = "/proc"
_DELETED: Final = " (deleted)"
# A task folder has "." and "..", and one entry per thread.
_ONE_THREAD_LINKS: Final = 3
_MAPPING_FIELDS: Final = 6
# How the line of a shared mapping goes on after what it may do.
_SHARED: Final = b"-s "


class ProcOpenFiles:
    """Descriptors, mappings and locks of all processes that this user may look at.

    Nothing is opened or locked to find out: closing a file that another part of the same
    process has open would drop its locks.
    """

    def holders(self, directory: Path) -> list[Holder]:
        """Give every process that holds a file below a directory, this one included.

        Raises:
            Unsupported: ``no-proc``.
        """
        place = _place(directory)
        found: list[Holder] = []
        for pid in _pids():
            held, _ = _held(pid, place)
            command = command_of(pid) if held else ""
            found.extend(Holder(pid, command, place.root + h.name, h.how) for h in held)
        seen = {holder.path for holder in found}
        for lock in kernel_locks(place.files):
            path = place.root + lock.held.name
            if lock.pid > 0 or path not in seen:
                found.append(Holder(lock.pid, command_of(lock.pid), path, "locked"))
        return found

    def look(self, directory: Path) -> Use:
        """Tell all that can be seen of who uses a directory.

        Raises:
            Unsupported: ``no-proc``.
        """
        place = _place(directory)
        files: dict[int, list[_Held]] = {}
        closed_off: list[int] = []
        for pid in _pids():
            held, whole = _held(pid, place)
            if held:
                files[pid] = held
            if not whole:
                closed_off.append(pid)
        locks = _locks_by_process(place, files)
        pids = sorted(files.keys() | locks.keys())
        return Use(
            tuple(_process(pid, files.get(pid, []), locks.get(pid, set())) for pid in pids),
            user=user_name(os.geteuid()),
            unseen=_unseen([pid for pid in closed_off if pid not in pids]),
            in_container=in_container(),
            hidden=hides_processes(),
            locks_known=os.access(f"{_PROC}/locks", os.R_OK),
        )


class _Held(NamedTuple):
    """A file as one descriptor or mapping has it; a mapping has no descriptor."""

    name: str
    path: str
    how: str
    descriptor: int | None
    access: str
    locks: frozenset[HeldLock]
    gone: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """What is looked for.

    Attributes:
        root: the directory's path, with a slash at its end.
        files: names relative to it, by device and inode.
        names: the last parts of those.
        any_name: whether a file may be known by a name that it has elsewhere.
    """

    root: str
    files: dict[tuple[int, int], str]
    names: frozenset[str]
    any_name: bool

    def name_of(self, target: str, pid: int, found: tuple[int, int] | None) -> str | None:
        """Give the name of a file that a process has, or had when it was there; None if it is none.

        Args:
            target: the path that the process has it by.
            pid: the process.
            found: the file's device and inode; None if it cannot be asked.
        """
        name = self.files.get(found) if found else None
        if name is None and target.startswith(self.root):
            name = target[len(self.root) :].removesuffix(_DELETED)
            # In a container the same path leads to another file.
            if found and _is_elsewhere(pid) and not self._is_near(found):
                return None
        return name

    def may_be(self, target: str) -> bool:
        """Tell whether it is worth asking which file a path leads to."""
        if target.startswith(self.root):
            return True
        return _last(target) in self.names or (self.any_name and target.startswith("/"))

    def _is_near(self, found: tuple[int, int]) -> bool:
        return any(device == found[0] for device, _ in self.files)


def _place(directory: Path) -> _Place:
    if not os.path.isdir(f"{_PROC}/self/fd"):  # noqa: PTH112 - as everything below
        raise Unsupported(
            "this machine has no /proc to tell which processes have files open",
            kind="no-proc",
            hint="run chromaseal on Linux",
        )
    root = f"{directory.resolve()}/".replace("//", "/")
    files, links = {}, 1
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - there may be thousands
            with contextlib.suppress(OSError):
                status = os.stat(path)  # noqa: PTH116
                files[status.st_dev, status.st_ino] = path[len(root) :]
                links = max(links, status.st_nlink)
    return _Place(root, files, frozenset(map(_last, files.values())), any_name=links > 1)


def _last(path: str) -> str:
    return path[path.rfind("/") + 1 :]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208


def _held(pid: int, place: _Place) -> tuple[list[_Held], bool]:
    """Give what a process has of the directory, and whether all of it could be looked at."""
    held: list[_Held] = []
    whole = True
    for look in (_mapped, _open):
        # Which of the two a user may look at depends on rights of different kinds.
        try:
            held.extend(look(pid, place))
        except PermissionError:
            whole = False
        except OSError:
            # It has ended since it was listed.
            continue
    return held, whole


def _open(pid: int, place: _Place) -> Iterator[_Held]:
    folder = f"{_PROC}/{pid}"
    numbers = os.listdir(f"{folder}/fd")  # noqa: PTH208
    if not numbers and (folder := _survivor(pid)):
        numbers = os.listdir(f"{folder}/fd")  # noqa: PTH208
    for number in numbers:
        try:
            # A machine has thousands: objects for their paths would double what it takes.
            target = os.readlink(f"{folder}/fd/{number}")  # noqa: PTH115
        except PermissionError:
            raise
        except OSError:
            continue
        if place.may_be(target):
            with contextlib.suppress(OSError):
                yield from _descriptor(pid, folder, number, target, place)


def _descriptor(pid: int, folder: str, number: str, target: str, place: _Place) -> Iterator[_Held]:
    found = _identity(f"{folder}/fd/{number}")
    name = place.name_of(target, pid, found)
    if name is not None:
        gone = found not in place.files and target.endswith(_DELETED)
        locked = name + _DELETED if gone else name
        access, locks = descriptor_info(f"{folder}/fdinfo/{number}", locked)
        yield _Held(name, _shown(target), "open", int(number), access, locks, gone)


def _mapped(pid: int, place: _Place) -> Iterator[_Held]:
    maps = read(f"{_PROC}/{pid}/maps")
    if not maps and (folder := _survivor(pid)):
        maps = read(f"{folder}/maps")
    # What a name does not tell is looked for among shared mappings alone: no other one writes
    # into a file.
    lines = {*_lines_with(os.fsencode(place.root), maps), *_lines_with(_SHARED, maps)}
    seen: set[_Held] = set()
    for line in lines:
        fields = line.split(None, 5)
        if len(fields) < _MAPPING_FIELDS:
            continue
        _, access, _, device, inode, path = fields
        target = os.fsdecode(path)
        found = (_device(device.decode()), int(inode))
        name = place.name_of(target, pid, found)
        if name is not None:
            how = "read and write" if access.startswith(b"rw") and b"s" in access else "read"
            gone = found not in place.files and target.endswith(_DELETED)
            seen.add(_Held(name, _shown(target), "mapped", None, how, frozenset(), gone))
    yield from sorted(seen, key=lambda held: (held.name, held.path, held.access))


def _lines_with(sought: bytes, text: bytes) -> Iterator[bytes]:
    """Give the lines that have something in them, without splitting all of them."""
    at = text.find(sought)
    while at >= 0:
        end = text.find(b"\n", at)
        end = len(text) if end < 0 else end
        yield text[text.rfind(b"\n", 0, at) + 1 : end]
        at = text.find(sought, end)


def _survivor(pid: int) -> str:
    """Give the folder of a thread whose process's first thread has ended; empty without one.

    Such a process goes on, and shows its files only there.
    """
    tasks = f"{_PROC}/{pid}/task"
    with contextlib.suppress(OSError):
        if os.stat(tasks).st_nlink > _ONE_THREAD_LINKS:  # noqa: PTH116
            for task in os.listdir(tasks):  # noqa: PTH208
                if os.listdir(f"{tasks}/{task}/fd"):  # noqa: PTH208
                    return f"{tasks}/{task}"
    return ""


def _identity(link: str) -> tuple[int, int] | None:
    try:
        status = os.stat(link)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_elsewhere(pid: int) -> bool:
    """Tell whether a process has file systems of its own, as one in a container has."""
    with contextlib.suppress(OSError):
        theirs = os.readlink(f"{_PROC}/{pid}/ns/mnt")  # noqa: PTH115
        return theirs != os.readlink(f"{_PROC}/self/ns/mnt")  # noqa: PTH115
    return False


def _locks_by_process(place: _Place, files: dict[int, list[_Held]]) -> dict[int, set[HeldLock]]:
    """Put together what the kernel's list and the descriptors say; 0 is for what is nobody's."""
    locks: defaultdict[int, set[HeldLock]] = defaultdict(set)
    for pid, held in files.items():
        for each in held:
            if each.locks:
                locks[pid] |= each.locks
    known = frozenset(lock for held_locks in locks.values() for lock in held_locks)
    for lock in kernel_locks(place.files):
        if lock.pid > 0 or lock.held not in known:
            locks[max(lock.pid, 0)].add(lock.held)
    return locks


def _process(pid: int, held: list[_Held], locks: set[HeldLock]) -> Process:
    files: defaultdict[HeldFile, list[int]] = defaultdict(list)
    for each in held:
        file = HeldFile(each.name, each.path, each.how, each.access, (), each.gone)
        files[file].extend([] if each.descriptor is None else [each.descriptor])
    return Process(
        pid,
        command_line(pid) if pid else "",
        user_of(pid) if pid else "",
        started_at(pid) if pid else None,
        tuple(
            replace(file, name=as_text(file.name), descriptors=tuple(sorted(numbers)))
            for file, numbers in sorted(files.items(), key=lambda item: astuple(item[0]))
        ),
        tuple(sorted(locks, key=lambda lock: (lock.name, lock.first, lock.kind, lock.waiting))),
    )


def _unseen(pids: list[int]) -> tuple[Unseen, ...]:
    users = Counter(user_of(pid) for pid in pids if not is_kernel_thread(pid))
    # Without a user it has ended meanwhile.
    return tuple(Unseen(user, count) for user, count in sorted(users.items()) if user)


def _device(text: str) -> int:
    major, _, minor = text.partition(":")
    return os.makedev(int(major, 16), int(minor, 16))


def _shown(path: str) -> str:
    return as_text(path.removesuffix(_DELETED))
