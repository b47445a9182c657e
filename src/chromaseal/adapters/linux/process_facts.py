"""What /proc says of processes beside their files: command line, user, start; and who is hidden."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import pwd
from pathlib import Path

_PROC = Path("/proc")
# The first namespace of a machine has this number; containers have others.
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
_READ_SIZE_BYTES = 1 << 20
_KERNEL_THREAD = 0x00200000
# Fields of /proc/PID/stat, counted from after the command, which may have anything in it.
_FLAGS = 6
_START_TICKS = 19
_STATE = 0
_ENDED = {"Z", "X"}
_SHOWN_TO_ALL = {"hidepid=0", "hidepid=off"}


def command_of(pid: int) -> str:
    """Give a process's short name; ``gone`` if it is."""
    try:
        return as_text((_PROC / str(pid) / "comm").read_bytes()).strip()
    except OSError:
        return "gone"


def command_line(pid: int) -> str:
    """Give a process's command line in one line; its short name where it has none."""
    raw = b""
    with contextlib.suppress(OSError):
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    return " ".join(as_text(raw.replace(b"\0", b" ")).split()) or command_of(pid)


def user_of(pid: int) -> str:
    """Give the name of the user who runs a process; empty if it is gone."""
    try:
        lines = (_PROC / str(pid) / "status").read_text(errors="replace").splitlines()
        uid = next(int(line.split()[2]) for line in lines if line.startswith("Uid:"))
    except PermissionError:
        return _owner_of(pid)
    except (OSError, StopIteration):
        return ""
    return user_name(uid)


def user_name(uid: int) -> str:
    """Give a user's name, or number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def started_at(pid: int) -> dt.datetime | None:
    """Tell when a process began; None if nobody can tell."""
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        ticks = int(_stat(pid)[_START_TICKS])
        lines = (_PROC / "stat").read_text().splitlines()
        boot_s = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
        elapsed_s = ticks / os.sysconf("SC_CLK_TCK")
        return dt.datetime.fromtimestamp(boot_s + elapsed_s, dt.UTC).replace(microsecond=0)
    return None


def start_ticks(pid: int) -> str:
    """Give when a process began as the kernel counts; empty if it has ended or nobody can tell."""
    with contextlib.suppress(OSError, IndexError):
        fields = _stat(pid)
        return "" if fields[_STATE] in _ENDED else fields[_START_TICKS]
    return ""


def is_kernel_thread(pid: int) -> bool:
    """Tell whether a process is a part of the kernel, which has no files open."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return bool(int(_stat(pid)[_FLAGS]) & _KERNEL_THREAD)
    return False


def in_container() -> bool:
    """Tell whether processes outside of this process's container cannot be seen."""
    try:
        return str((_PROC / "self/ns/pid").readlink()) != _INITIAL_PID_NAMESPACE
    except OSError:
        return False


def hides_processes() -> bool:
    """Tell whether this machine does not even list other users' processes."""
    with contextlib.suppress(OSError):
        for line in (_PROC / "self/mountinfo").read_text(errors="replace").splitlines():
            mount, _, file_system = line.partition(" - ")
            if mount.split()[4] == str(_PROC):
                options = file_system.split()[-1].split(",")
                return any(o.startswith("hidepid=") and o not in _SHOWN_TO_ALL for o in options)
    return False


def as_text(raw: bytes | str) -> str:
    """Read a name or command that anybody may have chosen."""
    return os.fsencode(raw).decode("utf-8", "backslashreplace")


def read(path: str) -> bytes:
    """Read a file of /proc; empty where its process has ended.

    Raises:
        PermissionError: it may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise
    except OSError:
        return b""
    pieces = []
    try:
        while piece := os.read(descriptor, _READ_SIZE_BYTES):
            pieces.append(piece)
    except ProcessLookupError:
        # It has just ended, or is a part of the kernel.
        pass
    finally:
        os.close(descriptor)
    return b"".join(pieces)


def _owner_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return user_name((_PROC / str(pid)).stat().st_uid)
    return ""


def _stat(pid: int) -> list[str]:
    text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    return text.rpartition(")")[2].split()
