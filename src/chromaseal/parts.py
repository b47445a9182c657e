"""What compaction and replication work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from chromaseal.clock import Clock
from chromaseal.delta.codec import DeltaCodec
from chromaseal.ids import Ids
from chromaseal.object_store import ObjectStore
from chromaseal.run.lease import Leases
from chromaseal.run.ledger import Ledger
from chromaseal.sandbox import Sandbox
from chromaseal.seal.file_system import FileSystem
from chromaseal.seal.open_files import OpenFiles
from chromaseal.snapshot.checkouts import Checkouts
from chromaseal.snapshot.history import PagesAtHand

Exchange: TypeAlias = Callable[[Path, Path], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a vault consists of.

    Attributes:
        store: the objects.
        ledger: the runs.
        leases: whose turn it is at a collection; the ledger keeps them too.
        codec: how deltas are written.
        sandbox: where ChromaDB runs.
        open_files: who has files open.
        file_system: what the kernel knows of the one that a directory is on.
        checkouts: what is kept on this machine.
        exchange: swaps two directories in one step.
        clock: time.
        ids: chance.
        writer: name, release and host of this program.
        pages: of histories, that were read before.
    """

    store: ObjectStore
    ledger: Ledger
    leases: Leases
    codec: DeltaCodec
    sandbox: Sandbox
    open_files: OpenFiles
    file_system: FileSystem
    checkouts: Checkouts
    exchange: Exchange
    clock: Clock
    ids: Ids
    writer: dict[str, str]
    pages: PagesAtHand = field(default_factory=PagesAtHand)
