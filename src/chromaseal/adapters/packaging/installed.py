"""A package and extras -> every installed package that it needs, and the files of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chromaseal.deployment.code_package import PackedFile
from chromaseal.deployment.left_out import UNUSED, is_left_out
from chromaseal.errors import Unsupported

_OWN = "chromaseal"
# Notes of whoever installed it, some of them with paths of this machine.
_NOTES = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}


def needed(extras: Collection[str]) -> dict[str, Distribution]:
    """Give chromaseal and every package that its functions need with some extras, by name.

    Args:
        extras: of chromaseal.

    Raises:
        Unsupported: ``missing-package``.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(_OWN, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = found.get(name) or _installed(name)
        waiting += _required(found[name], extra)
    return dict(sorted(found.items()))


def files_of(package: Distribution) -> Iterator[PackedFile]:
    """Give the files of a package that functions need, as they are to lie in their folder."""
    for listed in package.files or []:
        name = PurePosixPath(listed)
        # Programs and the like lie outside of the folder that packages are in.
        outside = ".." in name.parts or name.is_absolute()
        if outside or name.name in _NOTES or name.suffix in {".pyc", ".pth"}:
            continue
        if is_left_out(str(name)):
            continue
        path = Path(str(package.locate_file(listed)))
        if path.is_file():
            yield PackedFile(str(name), path)
    if canonicalize_name(package.metadata["Name"]) == _OWN:
        yield from _own_files()


def _own_files() -> Iterator[PackedFile]:
    """Give the package's own files, wherever it was installed from."""
    folder = Path(str(files(_OWN)))
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            yield PackedFile(f"{_OWN}/{path.relative_to(folder).as_posix()}", path)


def _required(package: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    unused = UNUSED.get(canonicalize_name(package.metadata["Name"]), frozenset())
    for line in package.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None:
            wanted = not extra
        else:
            plain = marker.evaluate({"extra": ""})
            wanted = plain if not extra else not plain and marker.evaluate({"extra": extra})
        if wanted:
            name = canonicalize_name(requirement.name)
            if name not in unused:
                yield from ((name, each) for each in ("", *requirement.extras))


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise Unsupported(
            f"{name} is not installed, and a function needs it",
            kind="missing-package",
            hint="install chromaseal[aws,receipts] into this environment, with the pins of "
            "locks/requirements.lock",
        ) from error
