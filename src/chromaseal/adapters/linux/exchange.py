"""Two directories swapped in one step, by ``renameat2(RENAME_EXCHANGE)`` of Linux 3.15."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# What file systems answer that cannot do it: NFS, FUSE and overlays of some kinds.
_NOT_HERE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def exchange(first: Path, second: Path) -> None:
    """Give each of two directories on one file system the other's name.

    Where the file system cannot do that in one step, ``first`` has no directory for a moment;
    whoever dies in it leaves the old one as ``<second>.old``.

    Raises:
        OSError: neither was renamed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    if answer == 0:
        return
    code = ctypes.get_errno()
    if code not in _NOT_HERE:
        raise OSError(code, os.strerror(code), str(first))
    aside = second.with_name(f"{second.name}.old")
    first.rename(aside)
    try:
        second.rename(first)
    except OSError:
        aside.rename(first)
        raise
    aside.rename(second)
