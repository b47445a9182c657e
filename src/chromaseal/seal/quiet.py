"""Two observations of a live directory -> is the copy made between them one state, or why not.

The rule rests on the order in which ChromaDB writes: changes into SQLite's log (a commit), rows
(a commit), and only when the log has grown past a threshold the index files, in place and
outside of any transaction, then a commit that says so, then the purge of the log (a commit).

* While SQLite's change counter stands still, no flush of an index can have *ended*.
* While the log that an index lacks is shorter than its threshold, none can be *under way*.

Both together say that no index file was written from the first observation to the second,
whatever their times say and however long the writer was stopped in between. Times are looked at
besides, for a threshold that was changed under a running application, which goes on with its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chromaseal.seal.page_table import FileStamp

DATABASE = "chroma.sqlite3"
PICKLE = "index_metadata.pickle"
HEADER = "header.bin"
INDEX_FILES = frozenset({HEADER, "data_level0.bin", "length.bin", "link_lists.bin", PICKLE})
# What the clock of file times may lag behind: a write within it leaves a file's time as it is.
TIME_GRAIN_NS = 20_000_000
_HEADER_SIZE_BYTES = 100
_NATIVE_FILES = INDEX_FILES - {PICKLE}


@dataclass(frozen=True, slots=True)
class Observation:
    """A live directory at one moment.

    Attributes:
        change_counter: of SQLite's header; every commit moves it.
        journal: whether a transaction's journal is there.
        files: by path relative to the directory, those that ChromaDB's data is in.
        seen_ns: when, on the clock that file times come from.
    """

    change_counter: int
    journal: bool
    files: Mapping[str, FileStamp]
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What SQLite says of one collection's index.

    Attributes:
        collection: its name.
        folder: of the index, by the vector segment's id.
        pending: log entries that the index lacks.
        threshold: how many of them make ChromaDB flush.
        unapplied: log entries that the rows lack: the writer is between two commits.
        elements: what the copied header counts; None where there is no whole header.
    """

    collection: str
    folder: str
    pending: int
    threshold: int
    unapplied: int
    elements: int | None


def settled(stamp: FileStamp, seen_ns: int) -> bool:
    """Tell whether any write to a file that begins later will show in its times."""
    return stamp.modified_ns + TIME_GRAIN_NS < seen_ns


def settled_files(seen: Observation) -> dict[str, FileStamp]:
    """Give the files whose copies stay good for as long as their stamps do.

    A write gives a file its time first and may change it much later, so an old stamp says
    nothing of a write that is under way. In the database none is while there is no journal; the
    files of an index ``differing`` doubts as soon as a flush has ended.
    """
    return {
        path: stamp
        for path, stamp in seen.files.items()
        if settled(stamp, seen.seen_ns) and not (path == DATABASE and seen.journal)
    }


def differing(seen: Observation, copied: Mapping[str, FileStamp]) -> list[str]:
    """Give the files to be copied; ``copied`` has the settled stamps of those that are.

    The pickle is what a flush writes last, and from nothing, so that its size shows a write that
    is under way. Where it is another one, the index's other files may have been stamped in the
    middle of a write.
    """
    changed = {path for path, stamp in seen.files.items() if copied.get(path) != stamp}
    flushed = {path.rpartition("/")[0] for path in changed if path.endswith(PICKLE)}
    return sorted(p for p in seen.files if p in changed or p.rpartition("/")[0] in flushed)


def being_flushed(seen: Observation) -> list[str]:
    """Give the index files that were written just now."""
    return sorted(
        path
        for path, stamp in seen.files.items()
        if path != DATABASE and not settled(stamp, seen.seen_ns)
    )


def what_changed(before: Observation, after: Observation) -> str:
    """Say what happened to the files between two observations; empty if nothing did."""
    if before.journal or after.journal:
        return "a transaction is under way"
    if before.change_counter != after.change_counter:
        return "a transaction was committed"
    changed = sorted(
        path
        for path in before.files.keys() | after.files.keys()
        if before.files.get(path) != after.files.get(path)
    )
    if changed:
        return f"{changed[0]} changed"
    fresh = sorted(p for p, s in before.files.items() if not settled(s, before.seen_ns))
    return f"{fresh[0]} was written just before" if fresh else ""


def unfinished(seen: Observation, backlogs: Iterable[Backlog], *, held: bool) -> str:
    """Say what the writer had not finished when a copy equal to SQLite's state was made.

    Args:
        seen: the directory, at a moment when SQLite was as the copy has it.
        backlogs: every collection's, read from the copy.
        held: whether any process has files of the directory open.

    Returns:
        The reason not to use the copy; empty if it is one state of the directory.
    """
    found = (_unapplied(each) or _flush(seen, each, held=held) for each in backlogs)
    return next((reason for reason in found if reason), "")


def flush_died(seen: Observation, backlogs: Iterable[Backlog]) -> str:
    """Name the collection whose flush nobody will finish, if no process has its files open.

    An index that was being created does not count: ChromaDB creates it anew.
    """
    died = (
        each.collection for each in backlogs if each.elements and _flush(seen, each, held=False)
    )
    return next(died, "")


def _unapplied(backlog: Backlog) -> str:
    if not backlog.unapplied:
        return ""
    return f"{backlog.collection}: {backlog.unapplied} changes of the log are not in the rows yet"


def _flush(seen: Observation, backlog: Backlog, *, held: bool) -> str:
    files = {
        path.rpartition("/")[2]: stamp
        for path, stamp in seen.files.items()
        if path.startswith(f"{backlog.folder}/")
    }
    if not files:
        return ""
    if PICKLE not in files:
        return _first_flush(files, backlog)
    newest = max(stamp.modified_ns for stamp in files.values())
    committed = seen.files[DATABASE].modified_ns
    due = backlog.pending >= backlog.threshold
    # The pickle is written last, and a commit follows it.
    out_of_order = newest > files[PICKLE].modified_ns or newest >= committed
    # Without a process that could be flushing, times out of order come from a restored copy.
    if (due and out_of_order) or (held and newest > committed):
        return f"{backlog.collection}: its index is being flushed"
    return ""


def _first_flush(files: Mapping[str, FileStamp], backlog: Backlog) -> str:
    # Until the first flush the header counts nothing; it is the first file that a flush writes.
    whole = files.keys() >= _NATIVE_FILES and files[HEADER].size_bytes == _HEADER_SIZE_BYTES
    if not whole or backlog.elements is None:
        return f"{backlog.collection}: its index is being created"
    if backlog.elements:
        return f"{backlog.collection}: its index is being flushed for the first time"
    return ""
