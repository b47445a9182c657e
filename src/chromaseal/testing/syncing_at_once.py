"""Several processes that sync one collection to one mount at the same moment.

``python -m chromaseal.testing.syncing_at_once VAULT CACHES COUNT MOUNT...`` forks: each process has
a cache of its own, takes a mount in turn, and says in a line of JSON what it did.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.testing.killed_work import COLLECTION
from chromaseal.testing.machine import Machine, RememberingSandbox


def main() -> None:
    """Begin all of them, let them go at once, and wait for their ends."""
    vault, caches, count, *mounts = sys.argv[1:]
    ready, go = os.pipe()
    children = []
    for number in range(int(count)):
        child = os.fork()
        if not child:
            os.close(go)
            _child(vault, Path(caches) / str(number), mounts[number % len(mounts)], ready)
        children.append(child)
    # Every child waits for the end of what nobody writes to.
    os.close(go)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(codes))


def _child(vault: str, cache: Path, mount: str, ready: int) -> None:
    try:
        machine = Machine(
            LocalObjectStore(Path(vault)), cache, cache / "app", RememberingSandbox(None, {})
        )
        os.read(ready, 1)
        synced = machine.vault.sync(COLLECTION, mount)
        told = {"new": synced.new, "written_bytes": synced.written_bytes}
        # One write, so that lines of several processes do not mix.
        os.write(1, f"{json.dumps(told)}\n".encode())
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
