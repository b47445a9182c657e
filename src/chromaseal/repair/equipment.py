"""What it takes to repair a directory."""

from __future__ import annotations

from dataclasses import dataclass

from chromaseal.clock import Clock
from chromaseal.ids import Ids
from chromaseal.parts import Exchange
from chromaseal.sandbox import Sandbox
from chromaseal.seal.open_files import OpenFiles


@dataclass(frozen=True, slots=True)
class Equipment:
    """What it takes to work on a directory.

    Attributes:
        sandbox: where damaged files are opened.
        open_files: who has files open.
        clock: for waiting, and for the name of what is kept.
        ids: for names.
        exchange: swaps two directories in one step.
    """

    sandbox: Sandbox
    open_files: OpenFiles
    clock: Clock
    ids: Ids
    exchange: Exchange
