"""Processes that hold a file, in every way there is; for tests of who sees them.

``python -m chromaseal.testing.holding WAY PATH [UID]`` gets hold of a file, says ``ready``, and
keeps it until its input ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

_RESERVED: Final = 0x40000001
_FLOCK: Final = struct.Struct("hhqqi4x")
_EXIT_OF_ONE_THREAD: Final = 93 if os.uname().machine == "aarch64" else 60


@contextmanager
def holding(
    path: Path, way: str, *, through: Sequence[str] = (), uid: int = 0
) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds a file until the end.

    Args:
        path: of the file.
        way: one of ``WAYS``.
        through: a command that the process is started with.
        uid: the user that it becomes when it has it; 0 for none.
    """
    command = [*through, sys.executable, "-m", __name__, way, str(path), str(uid)]
    with subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def _open(path: str) -> object:
    return Path(path).open("rb+")


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=0)


def _run(path: str, *statements: str) -> sqlite3.Connection:
    db = _connect(path)
    for statement in statements:
        db.execute(statement).fetchall()
    return db


def _idle(path: str) -> object:
    return _run(path, "SELECT x FROM t")


def _read(path: str) -> object:
    return _run(path, "BEGIN", "SELECT x FROM t")


def _reserve(path: str) -> object:
    return _run(path, "BEGIN IMMEDIATE")


def _write(path: str) -> object:
    return _run(path, "BEGIN EXCLUSIVE")


def _write_half(path: str) -> object:
    """Begin a change that is larger than the cache, so that a part of it is in the file."""
    return _run(path, "PRAGMA cache_size = 1", "BEGIN", "UPDATE t SET x = zeroblob(5000)")


def _write_ahead(path: str) -> object:
    return _run(path, "PRAGMA journal_mode = wal", "BEGIN IMMEDIATE", "DELETE FROM t")


def _commit(path: str) -> object:
    """Commit while somebody reads, which keeps the lock that lets no new reader in."""
    db = _run(path, "BEGIN IMMEDIATE", "DELETE FROM t")
    with suppress(sqlite3.OperationalError):
        db.execute("COMMIT")
    return db


def _map(path: str) -> object:
    with Path(path).open("rb+") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    # Python keeps a descriptor of its own beside the mapping, which other programs do not.
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if str(link.readlink()) == path:
                os.close(int(link.name))
    return mapping


def _lock_by_descriptor(path: str) -> object:
    descriptor = os.open(path, os.O_RDWR)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _reserved())
    return descriptor


def _wait(path: str) -> object:
    """Wait for a lock, and look in the kernel's list until it says so."""
    descriptor = os.open(path, os.O_RDWR)
    arguments = (descriptor, fcntl.F_SETLKW, _reserved())
    threading.Thread(target=fcntl.fcntl, args=arguments, daemon=True).start()
    sought = f"-> POSIX ADVISORY WRITE {os.getpid()} "
    while sought not in " ".join(Path("/proc/locks").read_text().split()):
        pass
    return descriptor


def _reserved() -> bytes:
    return _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _RESERVED, 1, 0)


def _without_first_thread(path: str) -> object:
    """End the first thread; another one goes on, and /proc/PID/fd is empty from then on."""
    file = Path(path).open("rb+")  # noqa: SIM115 - it is what is held

    def go_on() -> None:
        while os.listdir(f"/proc/{os.getpid()}/fd"):  # noqa: PTH208
            pass
        _keep(file)
        os._exit(0)

    threading.Thread(target=go_on).start()
    ctypes.CDLL(None).syscall(_EXIT_OF_ONE_THREAD, 0)
    raise AssertionError("the thread goes on")


def _leak(path: str) -> object:
    """Open two clients of one directory, by paths that differ, and drop one of them."""
    import chromadb  # noqa: PLC0415 - it takes seconds

    folder = str(Path(path).parent)
    client = chromadb.PersistentClient(folder)
    notes = client.get_or_create_collection("notes", embedding_function=None)
    vectors = np.ones((1, 8), dtype=np.float32)
    notes.upsert(ids=["a"], embeddings=vectors)
    leaked: Any = chromadb.PersistentClient(f"{folder}/")
    leaked.get_collection("notes", embedding_function=None).query(query_embeddings=vectors)
    leaked = None
    return client


WAYS: dict[str, Callable[[str], object]] = {
    "open": _open,
    "idle": _idle,
    "read": _read,
    "reserve": _reserve,
    "write": _write,
    "write-half": _write_half,
    "write-ahead": _write_ahead,
    "commit": _commit,
    "map": _map,
    "lock-by-descriptor": _lock_by_descriptor,
    "wait": _wait,
    "without-first-thread": _without_first_thread,
    "leak": _leak,
}


def _keep(_: object) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


def main() -> None:
    """Hold a file as the arguments say."""
    way, path, uid = sys.argv[1:]
    held = WAYS[way](path)
    if int(uid):
        os.setuid(int(uid))
    _keep(held)


if __name__ == "__main__":
    main()
