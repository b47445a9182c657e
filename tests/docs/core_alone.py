"""Everything that the engine does, with nothing importable but its own dependencies.

``python core_alone.py DIRECTORY`` in a process of its own; prints ``done``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from types import ModuleType
from typing import TypeVar
from urllib.parse import quote

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Refusal = TypeVar("Refusal", bound=Exception)
FOLDERS = ("compaction", "delta", "run", "seal", "snapshot", "testing")
ADAPTERS = ("chroma", "linux", "local", "obstore", "parquet", "process", "sqlalchemy")


def core_distributions(root: str) -> set[str]:
    """Give the distributions that a plain installation brings, whatever else is here."""
    found: set[str] = set()
    waiting = [(root, "")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        found.add(canonicalize_name(name))
        for text in needed:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                extras = ("", *requirement.extras)
                waiting += [(requirement.name, each) for each in extras]
    return found


class OnlyCore(importlib.abc.MetaPathFinder):
    """Refuses every module that belongs only to distributions outside the core."""

    def __init__(self, core: set[str]) -> None:
        self.refused: set[str] = set()
        self._others = {
            module
            for module, owners in packages_distributions().items()
            if not core & {canonicalize_name(owner) for owner in owners}
        }

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Refuse, or leave it to the others."""
        del path, target
        if fullname.partition(".")[0] in self._others:
            self.refused.add(fullname)
            raise ModuleNotFoundError(f"{fullname} is not part of the core", name=fullname)
        return None


def import_everything() -> None:
    """Import every module of the engine."""
    import chromaseal  # noqa: PLC0415 - after the hook

    for name in chromaseal.__all__:
        getattr(chromaseal, name)
    importlib.import_module("chromaseal.composition.engine")
    importlib.import_module("chromaseal.entrypoints.cli")
    for name in (*FOLDERS, *(f"adapters.{adapter}" for adapter in ADAPTERS)):
        package = importlib.import_module(f"chromaseal.{name}")
        for module in pkgutil.iter_modules(package.__path__):
            if name != "testing":  # the contracts need pytest
                importlib.import_module(f"{package.__name__}.{module.name}")


def write_compact_and_read(folder: Path) -> None:
    """Bring three records into a version and read them back."""
    import numpy as np  # noqa: PLC0415

    import chromaseal  # noqa: PLC0415

    os.environ["CHROMASEAL_CACHE"] = str(folder / "cache")
    records = [
        chromaseal.Record(f"r{number}", np.full(4, number, np.float32), "text", {"n": number})
        for number in range(3)
    ]
    with chromaseal.open(f"file://{quote(str(folder / 'vault'))}") as vault:
        vault.write({"notes": chromaseal.Changes(upserts=records)})
        (done,) = vault.compact()
        assert done.version is not None
        with vault.reader("notes") as reader:
            assert reader.count() == len(records)
            assert reader.get(["r1"])["r1"].metadata == {"n": 1}


def refusal(ask: Callable[[], object], expected: type[Refusal]) -> Refusal | None:
    """Give the error that a call ends with; None where it ends well."""
    try:
        ask()
    except expected as error:
        return error
    return None


def extra_is_asked_for() -> None:
    """What needs the extra says so, with the line that installs it."""
    from chromaseal.composition.engine import open_ledger  # noqa: PLC0415
    from chromaseal.composition.receipts import embedder, image_decoder, ocr_engine  # noqa: PLC0415
    from chromaseal.errors import Unsupported, UsageError  # noqa: PLC0415

    asking = {
        "missing-extra": (image_decoder, lambda: ocr_engine("rapidocr")),
        "model-missing": (lambda: embedder("minilm"),),
    }
    for kind, asks in asking.items():
        for ask in asks:
            found = refusal(ask, Unsupported)
            assert found is not None, "it was there"
            assert found.kind == kind, found.kind
            assert "chromaseal[receipts]" in found.hint, found.hint
    ledger = refusal(lambda: open_ledger("dynamodb://runs?region=eu-west-1"), UsageError)
    assert ledger is not None, "it was there"
    assert (ledger.kind, "chromaseal[aws]" in ledger.hint) == ("missing-extra", True), ledger


if __name__ == "__main__":
    only = OnlyCore(core_distributions("chromaseal"))
    sys.meta_path.insert(0, only)
    import_everything()
    asked_for = {name.partition(".")[0] for name in only.refused} & {"PIL", "cv2", "rapidocr"}
    assert not asked_for, asked_for
    write_compact_and_read(Path(sys.argv[1]))
    extra_is_asked_for()
    print("done")
