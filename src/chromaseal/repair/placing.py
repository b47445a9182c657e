"""A directory that was made again -> in the place of the damaged one, which is kept beside it."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from chromaseal.clock import Clock
from chromaseal.errors import Conflict
from chromaseal.repair.equipment import Equipment
from chromaseal.seal.page_table import FileStamp, stamp_of
from chromaseal.seal.presence import is_segment_name
from chromaseal.seal.quiet import DATABASE, INDEX_FILES
from chromaseal.seal.sealed import changed_while_reading, refuse_open
from chromaseal.snapshot.checkout import sync, sync_tree, taking_name

_OF_THE_DATABASE = {f"{DATABASE}{suffix}" for suffix in ("", "-journal", "-wal", "-shm")}
_TIME = "%Y%m%dT%H%M%SZ"
# In the new directory as long as it may stand under another name than its own.
MARK = ".chromaseal-repaired"
_MARK_SAYS = """\
chromaseal repair has made this directory, and was stopped before it had put everything in its
place. Of the two directories the other one, without this file, is the damaged one.
"""
_WAITING = ".repairing-"
_KEPT = ".damaged-"
_PERMISSIONS = 0o7777
_LOCK_TIMEOUT_S = 10.0
_LOCK_WAIT_S = 0.05


def stamps(directory: Path) -> dict[str, FileStamp]:
    """Give size and times of everything in a directory that is no directory."""
    return {
        str(path.relative_to(directory)): stamp_of(path.lstat())
        for path in sorted(directory.rglob("*"))
        if not path.is_dir() or path.is_symlink()
    }


def refuse_mount_point(directory: Path) -> None:
    """Refuse what no other directory can take the place of."""
    if directory.is_mount():
        raise Conflict(
            f"{directory} is a mount point, so no other directory can take its place",
            kind="cannot-write",
            hint=f"repair a copy of it: cp -a {directory} COPY",
        )


def bring_along(copy: Path, made: Path) -> None:
    """Copy what is in a directory and is not ChromaDB's."""
    for path in copy.iterdir():
        if path.name not in {*_OF_THE_DATABASE, MARK} and not _is_index(path):
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, made / path.name)


def _is_index(path: Path) -> bool:
    there = is_segment_name(path.name) and path.is_dir()
    return there and any((path / name).exists() for name in INDEX_FILES)


def give_owners(made: Path, damaged: Path) -> None:
    """Give a directory the owners and permissions of the one whose place it takes.

    Raises:
        OSError: somebody else's cannot be given by this user.
    """
    directory = damaged.stat()
    database = damaged / DATABASE
    for path in (made, *made.rglob("*")):
        same = damaged / path.relative_to(made)
        if path.is_symlink():
            continue
        if same.exists():
            wanted = same.stat()
        elif path.is_dir() or not database.exists():
            wanted = directory
        else:
            wanted = database.stat()
        found = path.stat()
        if (found.st_uid, found.st_gid) != (wanted.st_uid, wanted.st_gid):
            os.chown(path, wanted.st_uid, wanted.st_gid)
        executable = 0 if path.is_dir() or same.exists() else 0o111
        path.chmod(wanted.st_mode & _PERMISSIONS & ~executable)


def take_place(
    directory: Path, made: Path, before: Mapping[str, FileStamp], equipment: Equipment
) -> Path:
    """Put the new directory in the place of the old one in one step; give where that is.

    Args:
        directory: the damaged one.
        made: the new one, on the same file system.
        before: what the damaged one consisted of when it was read.
        equipment: what it takes.

    Raises:
        Conflict: ``still-open``, ``changed-while-reading`` or ``cannot-write``.
        OSError: they could not be exchanged.
    """
    moment = equipment.clock.now().strftime(_TIME)
    (made / MARK).write_text(_MARK_SAYS)
    sync_tree(made)
    with _alone_in(directory.parent, equipment.clock):
        waiting = _free(directory.with_name(f"{directory.name}{_WAITING}{moment}"))
        made.replace(waiting)
        try:
            refuse_open(directory, equipment.open_files)
            _refuse_written(directory, before)
            with taking_name(directory, durable=True):
                equipment.exchange(directory, waiting)
        except BaseException:
            if (waiting / MARK).exists():
                shutil.rmtree(waiting, ignore_errors=True)
            raise
        # Whoever dies before the end leaves the rest to ``finish_placing``.
        return _keep(directory, waiting)


def finish_placing(directory: Path, clock: Clock) -> Path | None:
    """Do what a repair that died had left to do, or remove what it had not come to use.

    Args:
        directory: what was to be repaired.
        clock: for waiting until another repair has changed its names.

    Returns:
        Where the damaged directory is, if the repaired one stands in its place already.

    Raises:
        Conflict: ``cannot-write``, somebody holds on to the folder.
        OSError: it cannot be done.
    """
    with _alone_in(directory.parent, clock) as alone:
        left = _beside(directory, f"{directory.name}{_WAITING}")
        unused = [path for path in left if (path / MARK).exists()]
        if alone:
            for path in unused:
                # A directory that is half removed would be taken for the damaged one.
                path.replace(path.with_name(f".{path.name}"))
            for path in _beside(directory, f".{directory.name}{_WAITING}"):
                shutil.rmtree(path)
        if not (directory / MARK).exists():
            return None
        kept = [_keep(directory, path) for path in left if path not in unused]
        (directory / MARK).unlink(missing_ok=True)
        return kept[-1] if kept else None


def _beside(directory: Path, stem: str) -> list[Path]:
    return [path for path in sorted(directory.parent.iterdir()) if path.name.startswith(stem)]


def _keep(directory: Path, waiting: Path) -> Path:
    """Give the damaged directory the name that it stays under; the other one needs no mark then."""
    moment = waiting.name.removeprefix(f"{directory.name}{_WAITING}")
    kept = _free(directory.with_name(f"{directory.name}{_KEPT}{moment}"))
    waiting.replace(kept)
    sync(directory.parent)
    (directory / MARK).unlink(missing_ok=True)
    sync(directory)
    return kept


def _free(wanted: Path) -> Path:
    """Give a name that nothing has yet: a directory may be repaired twice in a second."""
    numbered = (wanted.with_name(f"{wanted.name}-{number}") for number in itertools.count(2))
    return next(p for p in itertools.chain([wanted], numbered) if not os.path.lexists(p))


@contextlib.contextmanager
def _alone_in(folder: Path, clock: Clock) -> Iterator[bool]:
    """Let no other repair change names in a folder meanwhile; whether that is certain."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _is_locked(descriptor, folder, clock)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, folder: Path, clock: Clock) -> bool:
    """Lock a folder, which takes another repair a moment; False where there are no such locks."""
    deadline_s = clock.monotonic_s() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic_s() >= deadline_s:
                raise Conflict(
                    f"{folder} is locked by another program (flock), so no name in it is changed",
                    kind="cannot-write",
                    hint="let it finish, or end it, then run the same command again",
                ) from None
        except OSError:
            # Not every file system locks directories, NFS for one.
            return False
        else:
            return True
        clock.sleep(_LOCK_WAIT_S)


def _refuse_written(directory: Path, before: Mapping[str, FileStamp]) -> None:
    if stamps(directory) != before:
        raise changed_while_reading(directory / DATABASE)
