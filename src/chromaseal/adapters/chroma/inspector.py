"""A closed ChromaDB directory -> its anatomy and its records, without ChromaDB."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from chromaseal.adapters.chroma.database import CollectionRow, Database
from chromaseal.adapters.chroma.hnsw import read_index
from chromaseal.errors import Damaged
from chromaseal.seal.anatomy import CollectionAnatomy, DirectoryAnatomy
from chromaseal.seal.quiet import DATABASE

_JOURNALS = ("-journal", "-wal", "-shm")


def inspect(directory: Path) -> DirectoryAnatomy:
    """Take a directory apart.

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
            return _anatomy(directory, database)
    except (sqlite3.Error, ValueError, OverflowError) as error:
        raise Damaged(
            f"{path} cannot be read: {error}",
            kind="malformed-database",
            hint="open an older version of the collection: chromaseal log COLLECTION",
        ) from error


def _anatomy(directory: Path, database: Database) -> DirectoryAnatomy:
    page_size, page_count = database.page_size_and_count()
    return DirectoryAnatomy(
        size_bytes=database.path.stat().st_size,
        page_size_bytes=page_size,
        page_count=page_count,
        integrity_check=database.integrity_check(),
        full_text_check=database.full_text_check(),
        migrations=database.migrations(),
        collections=tuple(
            collection_anatomy(directory, database, c) for c in database.collections()
        ),
        journals=tuple(
            f"{DATABASE}{suffix}"
            for suffix in _JOURNALS
            if (directory / f"{DATABASE}{suffix}").exists()
        ),
    )


def collection_anatomy(
    directory: Path, database: Database, collection: CollectionRow
) -> CollectionAnatomy:
    """Take one collection of a directory apart."""
    segments = database.segments(collection.collection_id)
    vector, metadata = segments.get("VECTOR", ""), segments.get("METADATA", "")
    folder = directory / vector if vector else None
    return CollectionAnatomy(
        name=collection.name,
        dimension=collection.dimension,
        space=collection.space,
        vector_segment=vector,
        flushed_seq_id=database.max_seq_id(vector),
        applied_seq_id=database.max_seq_id(metadata),
        rows=tuple(database.rows(metadata)),
        log=tuple(database.log(collection.collection_id)),
        index=read_index(folder, collection.dimension or 0) if folder else None,
    )
