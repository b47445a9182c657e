"""Names and sizes of a directory's files -> are all there that ChromaDB needs?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping

from chromaseal.seal.quiet import DATABASE, INDEX_FILES, PICKLE
from chromaseal.seal.sealed import JOURNAL_SUFFIXES
from chromaseal.seal.verdict import Finding


def check_presence(sizes_bytes: Mapping[str, int]) -> Iterator[Finding]:
    """Check which files there are, without their content.

    Args:
        sizes_bytes: of every file, by path relative to the directory.
    """
    database = sizes_bytes.get(DATABASE, 0)
    yield Finding("database", database > 0, f"{database} bytes" if database else "none")
    journals = [path for path in sizes_bytes if path.endswith(JOURNAL_SUFFIXES)]
    yield Finding("no-journal", not journals, ", ".join(journals) or "none")
    incomplete = list(_incomplete(sizes_bytes))
    folders = len(_folders(sizes_bytes))
    whole = "1 index" if folders == 1 else f"{folders} indexes"
    yield Finding("index-files", not incomplete, "; ".join(incomplete) or whole)


def is_segment_name(name: str) -> bool:
    """Whether a folder's name is a segment's id, as ChromaDB writes it."""
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _folders(sizes_bytes: Mapping[str, int]) -> dict[str, set[str]]:
    """Give the names in every folder that has a file of an index."""
    found: dict[str, set[str]] = {}
    for path in sizes_bytes:
        folder, _, name = path.rpartition("/")
        if name in INDEX_FILES and is_segment_name(folder):
            found.setdefault(folder, set()).add(name)
    return found


def _incomplete(sizes_bytes: Mapping[str, int]) -> Iterator[str]:
    for folder, names in _folders(sizes_bytes).items():
        missing = INDEX_FILES - {PICKLE} - names
        if missing:
            yield f"{folder} lacks {', '.join(sorted(missing))}"
