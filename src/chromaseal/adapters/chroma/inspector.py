"""A closed ChromaDB directory -> its anatomy and its records, without ChromaDB."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from chromaseal.adapters.chroma.database import CollectionRow, Database
from chromaseal.adapters.chroma.hnsw import read_index
from chromaseal.adapters.chroma.soundness import deep_look, odd_types, quick_check
from chromaseal.errors import Damaged
from chromaseal.seal.anatomy import CollectionAnatomy, DeepLook, DirectoryAnatomy
from chromaseal.seal.quiet import DATABASE

_JOURNALS = ("-journal", "-wal", "-shm")


def inspect(directory: Path, *, deep: bool = True) -> DirectoryAnatomy:
    """Take a directory apart.

    Args:
        directory: closed; nothing in it is written.
        deep: whether to read every value, and to follow every link.

    Raises:
        Damaged: ``no-database`` or ``malformed-database``; SQLite itself cannot read it.
    """
    path = directory / DATABASE
    if not path.is_file() or not path.stat().st_size:
        raise Damaged(
            f"{directory} has no {DATABASE}, or an empty one",
            kind="no-database",
            hint="name the directory that a chromadb.PersistentClient was opened on",
        )
    try:
        with Database(directory) as database:
            return _anatomy(directory, database, deep=deep)
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        raise _malformed(directory, error) from error


def look_deep(directory: Path, scratch: Path) -> DeepLook:
    """Let SQLite check everything, and look for values that nothing else looks at.

    It takes long, and SQLite does it without the interpreter's lock.

    Args:
        directory: closed; it is only read.
        scratch: where a copy of the database may lie.

    Raises:
        Damaged: ``malformed-database``.
    """
    try:
        return deep_look(directory, scratch)
    except sqlite3.Error as error:
        raise _malformed(directory, error) from error


def _malformed(directory: Path, error: Exception) -> Damaged:
    return Damaged(
        f"{directory / DATABASE} cannot be read: {error}",
        kind="malformed-database",
        hint="open an older version of the collection: chromaseal log COLLECTION",
    )


def _anatomy(directory: Path, database: Database, *, deep: bool) -> DirectoryAnatomy:
    page_size, page_count = database.page_size_and_count()
    return DirectoryAnatomy(
        size_bytes=database.path.stat().st_size,
        page_size_bytes=page_size,
        page_count=page_count,
        quick_check=() if deep else quick_check(database),
        migrations=database.migrations(),
        write_ahead=database.is_write_ahead(),
        odd_types=odd_types(database),
        collections=tuple(
            collection_anatomy(directory, database, each, deep=deep)
            for each in database.collections()
        ),
        journals=tuple(
            f"{DATABASE}{suffix}"
            for suffix in _JOURNALS
            if (directory / f"{DATABASE}{suffix}").exists()
        ),
    )


def collection_anatomy(
    directory: Path, database: Database, collection: CollectionRow, *, deep: bool = True
) -> CollectionAnatomy:
    """Take one collection of a directory apart."""
    found = database.segments(collection.collection_id)
    segments = dict(found)
    vector, metadata = segments.get("VECTOR", ""), segments.get("METADATA", "")
    folder = directory / vector if vector else None
    flushed_seq_id = database.max_seq_id(vector)
    log = tuple(database.log(collection.collection_id, with_values=deep))
    return CollectionAnatomy(
        name=collection.name,
        dimension=collection.dimension,
        space=collection.space,
        scopes=tuple(scope for scope, _ in found),
        vector_segment=vector,
        flushed_seq_id=flushed_seq_id,
        applied_seq_id=database.max_seq_id(metadata),
        row_ids=tuple(database.row_ids(metadata).values()),
        fresh_rows=database.fresh_rows(metadata, flushed_seq_id),
        collection_id=collection.collection_id,
        database=(collection.tenant, collection.database),
        log=log,
        logged_rows=database.logged_rows(metadata, (entry.record_id for entry in log)),
        index=read_index(folder, collection.dimension or 0, deep=deep) if folder else None,
        rows=tuple(database.rows(metadata)) if deep else (),
    )
