"""Paths as a person names them -> readable image files, and a refusal for each that is none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chromaseal.errors import ChromasealError, NotFound, RefusedInput

MAX_FILE_SIZE_BYTES = 256 * 1024 * 1024
SUFFIXES = frozenset(
    (
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pdf",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    )
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A path that gives no image, and the error that says why."""

    source: str
    error: ChromasealError


@dataclass(frozen=True, slots=True)
class FoundImages:
    """What a search over files and directories gave.

    Attributes:
        files: each path once, in the order named, directories in sorted order.
        refusals: what was named and cannot be used.
        ignored: how many other files lay in the directories.
    """

    files: tuple[Path, ...]
    refusals: tuple[Refusal, ...]
    ignored: int


def find_images(sources: Iterable[str | Path]) -> FoundImages:
    """Find image files among named files and directories; one bad name stops nothing.

    A named file is always taken, whatever its suffix. Directories are walked in sorted order,
    without following links to directories; names that start with a dot are left out, and so
    are files whose suffix is not in ``SUFFIXES``.

    Args:
        sources: files and directories, as a person named them.
    """
    files: dict[str, Path] = {}
    refusals: list[Refusal] = []
    ignored = 0
    for source in sources:
        path = Path(source)
        try:
            is_directory = stat.S_ISDIR(_status(path).st_mode)
        except (NotFound, RefusedInput) as error:
            refusals.append(Refusal(str(source), error))
            continue
        found = _walk(path) if is_directory else FoundImages((path,), (), 0)
        refusals += found.refusals
        ignored += found.ignored
        for file in found.files:
            files.setdefault(os.path.abspath(file), file)  # noqa: PTH100 - must not follow links
    return FoundImages(tuple(files.values()), tuple(refusals), ignored)


def read_content(path: Path) -> bytes:
    """Read a regular file of at most ``MAX_FILE_SIZE_BYTES`` that is not empty.

    Raises:
        NotFound: ``no-such-file``.
        RefusedInput: ``unreadable-file``, ``bad-file-name``, ``not-an-image`` (a directory or
            device), ``empty-file`` or ``image-too-large``.
    """
    status = _status(path)
    if not stat.S_ISREG(status.st_mode):
        raise RefusedInput(
            f"{path} is not a regular file.",
            kind="not-an-image",
            hint="Name image files, or directories that hold them.",
        )
    if status.st_size == 0:
        raise RefusedInput(
            f"{path} is empty (0 bytes).",
            kind="empty-file",
            hint="Copy or export it again; an interrupted upload often leaves such files.",
        )
    if status.st_size > MAX_FILE_SIZE_BYTES:
        raise RefusedInput(
            f"{path} has {status.st_size / 2**20:.0f} MiB; the limit is "
            f"{MAX_FILE_SIZE_BYTES // 2**20} MiB.",
            kind="image-too-large",
            hint="Save it smaller, or split a document into several.",
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise _file_error(path, error) from error


def _walk(directory: Path) -> FoundImages:
    """Find the images under one directory."""
    refusals: list[Refusal] = []
    files: list[Path] = []
    ignored = 0

    def refuse(error: OSError) -> None:
        refused = Path(str(error.filename))
        refusals.append(Refusal(str(refused), _file_error(refused, error)))

    for folder, folder_names, file_names in os.walk(directory, onerror=refuse):
        folder_names[:] = [name for name in folder_names if not name.startswith(".")]
        shown = [name for name in file_names if not name.startswith(".")]
        images = [name for name in shown if Path(name).suffix.lower() in SUFFIXES]
        files += [Path(folder) / name for name in images]
        ignored += len(shown) - len(images)
    if not files and not refusals:
        refusals.append(Refusal(str(directory), _empty_directory(directory, ignored)))
    return FoundImages(tuple(sorted(files)), tuple(refusals), ignored)


def _empty_directory(directory: Path, ignored: int) -> RefusedInput:
    others = f" ({ignored} other files were left out)" if ignored else ""
    return RefusedInput(
        f"{directory} holds no images{others}.",
        kind="empty-directory",
        hint="Name the directory that the receipts are in, or name the files themselves.",
    )


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except ValueError as error:  # a NUL, or characters that no file name can have
        raise RefusedInput(
            f"{str(path)!r} cannot be a file name: {error}.",
            kind="bad-file-name",
            hint="Check how the list of files was made.",
        ) from error
    except OSError as error:
        raise _file_error(path, error) from error


def _file_error(path: Path, error: OSError) -> ChromasealError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(
            f"There is no file {path}.", kind="no-such-file", hint="Check the path's spelling."
        )
    return RefusedInput(
        f"{path} cannot be read: {error.strerror or error}.",
        kind="unreadable-file",
        hint="Check its permissions and its disk.",
    )
