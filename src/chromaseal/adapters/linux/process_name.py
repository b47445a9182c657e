"""This process as the owner of a lease, and whether another owner's process has died."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from chromaseal.adapters.linux.boot import boot_id
from chromaseal.adapters.linux.process_facts import start_ticks
from chromaseal.ids import Ids
from chromaseal.run.owner import Owner, parse_owner

_NAMESPACE = Path("/proc/self/ns/pid")


def own_name(ids: Ids) -> str:
    """Name this process; each call gives another name."""
    pid = os.getpid()
    return str(
        Owner(
            host=socket.gethostname(),
            pid=pid,
            started=start_ticks(pid),
            namespace=_namespace(),
            boot=boot_id(),
            unique=ids.unique(),
        )
    )


def is_gone(name: str) -> bool:
    """Whether a process of this machine, boot and namespace is known to have ended."""
    owner = parse_owner(name)
    if owner is None or not owner.boot or owner.boot != boot_id():
        return False
    if not owner.namespace or owner.namespace != _namespace():
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    now = start_ticks(owner.pid)
    # What has ended and was not waited for has no start any more.
    return bool(owner.started) and now != owner.started


def _namespace() -> str:
    try:
        return str(_NAMESPACE.readlink())
    except OSError:
        return ""
