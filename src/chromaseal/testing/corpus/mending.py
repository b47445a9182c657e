"""A case -> what repair and salvage make of it, compared with the healthy directory."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.errors import Damaged
from chromaseal.record import Record
from chromaseal.repair.directory import repair_directory, salvage_directory
from chromaseal.repair.equipment import Equipment
from chromaseal.seal.checks import records
from chromaseal.testing.corpus.case import Case
from chromaseal.testing.corpus.cases import damaged

# ChromaDB divides the vectors of a cosine collection by their lengths again.
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of a case.

    Attributes:
        case: which one.
        said: what was done to the directory.
        sources: what it was repaired from; empty if repair refused.
        refusal: why it refused.
        different: records that are not what they were and are not listed as lost or in doubt.
        unlisted: records that are gone and not listed, although something on disk names them.
        salvaged: how many are right, of how many.
    """

    case: Case
    said: str
    sources: tuple[str, ...]
    refusal: str
    different: tuple[str, ...]
    unlisted: tuple[str, ...]
    salvaged: tuple[int, int]

    @property
    def repaired(self) -> bool:
        """Whether it was repaired."""
        return bool(self.sources)


def mend(case: Case, scratch: Path, equipment: Equipment) -> Mended:
    """Make a case, repair it, and where that is refused salvage it.

    Args:
        case: which one.
        scratch: an empty directory; empty again afterwards.
        equipment: what it takes.
    """
    directory, out = scratch / "case", scratch / "out"
    truth = content(case.base.newest)
    said = damaged(case, directory)
    sources: tuple[str, ...] = ()
    refusal, listed = "", set()
    try:
        sources = repair_directory(directory, equipment).sources
        found = content(directory)
    except Damaged as error:
        refusal = error.message
        salvaged = salvage_directory(directory, out, equipment)
        found = content(out)
        lines = [json.loads(line) for line in salvaged.list_path.read_text().splitlines()]
        listed = {line["id"] for line in lines if "id" in line}
    finally:
        for path in scratch.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    right = {i for i in found if i in truth and same(truth[i], found[i], case.base.space)}
    different = found.keys() - right - listed
    unlisted = truth.keys() - found.keys() - listed
    counts = (len(right), len(truth))
    return Mended(
        case, said, sources, refusal, tuple(sorted(different)), tuple(sorted(unlisted)), counts
    )


def content(directory: Path) -> dict[str, Record]:
    """Give the records of a sound directory, by id."""
    return {
        record.id: record
        for collection in inspect(directory, deep=True).collections
        for record in records(collection)
    }


def same(one: Record, other: Record, space: str) -> bool:
    """Whether two records are the same, but for the last bits of a cosine collection's vectors."""
    first, second = np.asarray(one.embedding), np.asarray(other.embedding)
    if space == "cosine":
        vectors = np.allclose(_unit(first), _unit(second), rtol=0, atol=_TOLERANCE)
    else:
        vectors = np.array_equal(first, second)
    return vectors and (one.document, one.metadata) == (other.document, other.metadata)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return found
