"""A real network file system on this machine: one SeaweedFS filer, mounted twice through FUSE.

The two mounts have caches of their own and know nothing of each other, like two machines.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from chromaseal.clock import SystemClock
from chromaseal.testing.programs import (
    LOOPBACK,
    bare_environment,
    existing,
    running,
    started,
    wait,
)
from chromaseal.testing.servers import seaweedfs_command, seaweedfs_ports

_DEVICE = Path("/dev/fuse")
_MNT_DETACH = 2


def why_not() -> str:
    """Say why nothing can be mounted here; empty where it can."""
    if not _DEVICE.exists():
        return f"there is no {_DEVICE}"
    if os.geteuid():
        return "mounting without fusermount takes root"
    try:
        os.close(os.open(_DEVICE, os.O_RDWR))
    except OSError as error:
        return f"{_DEVICE} cannot be opened: {error}"
    return ""


@contextlib.contextmanager
def mounted_twice(directory: Path) -> Iterator[tuple[Path, Path]]:
    """Give two mounts of one file system; see ``why_not``.

    Args:
        directory: an empty one, for all that they need.

    Raises:
        RuntimeError: a program did not start; the message has the end of its output.
    """
    directory.mkdir(parents=True, exist_ok=True)
    program = existing(Path(sys.executable).with_name("weed"))
    users = directory / "users.json"
    users.write_text('{"identities": []}')

    def begin(held: ExitStack) -> tuple[Path, Path]:
        # Should this process be killed, nobody can remove the places of dead mounts, so they are
        # not where other tests, or pytest itself, would try to.
        places = Path(tempfile.mkdtemp(prefix="chromaseal-mounts-"))
        held.callback(places.rmdir)
        ports, clock = seaweedfs_ports(), SystemClock()
        command = seaweedfs_command(program, directory, users, ports)
        server = held.enter_context(running(command, directory, bare_environment(directory)))
        filer = f"{LOOPBACK}:{ports['filer']}.{ports['filer.grpc']}"
        first, second = places / "first", places / "second"
        for mount in (first, second):
            mount.mkdir()
            held.callback(_unmount, mount)
            logs = directory / f"{mount.name}-files"
            logs.mkdir(exist_ok=True)
            process = held.enter_context(
                running(
                    [
                        *(str(program), f"-logdir={logs}", "mount", f"-filer={filer}"),
                        *(f"-dir={mount}", "-filer.path=/shared", f"-cacheDir={logs}"),
                    ],
                    logs,
                    bare_environment(directory),
                )
            )
            wait(lambda at=mount: os.path.ismount(at), process, clock)  # type: ignore[misc]
        wait(lambda: _takes_files(first), server, clock)
        return first, second

    yield from started(begin, directory)


def _unmount(mount: Path) -> None:
    """Do what its own program needs fusermount for."""
    ctypes.CDLL(None).umount2(os.fsencode(mount), _MNT_DETACH)
    mount.rmdir()


def _takes_files(mount: Path) -> bool:
    """Whether the volume server is there, too."""
    file = mount / "started"
    try:
        with file.open("wb") as written:
            written.write(b"yes")
            os.fsync(written.fileno())
        file.unlink()
    except OSError:
        return False
    return True
