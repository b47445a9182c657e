"""The job "replay": ChromaDB brings a directory's log into its tables and indexes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.database import CollectionRow, Database
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.quiet import DATABASE

_HAS_NUL = """
    SELECT 1 FROM embedding_fulltext_search_content WHERE instr(c0, char(0)) > 0 LIMIT 1
"""
_REBUILD = "INSERT INTO embedding_fulltext_search (embedding_fulltext_search) VALUES ('rebuild')"


def run(request: Plain, progress: Progress) -> Plain:
    """Open a directory, so that everything in its log is applied, and close it.

    Args:
        request: ``directory``; one without a database becomes an empty one. ``full_text``,
            whether to do nothing but to build its full-text index again where ChromaDB cannot:
            a NUL in a document cuts what it indexes.
        progress: called with done and all collections.

    Returns:
        ``records``, how many there are.
    """
    directory = Path(request["directory"])
    if request["full_text"]:
        _rebuild_full_text(directory)
        return {"records": 0}
    directory.mkdir(exist_ok=True)
    collections: list[CollectionRow] = []
    if (directory / DATABASE).exists():
        # Before ChromaDB opens it: two SQLite libraries in one process drop each other's locks.
        with Database(directory) as database:
            collections = database.collections()
    records = 0
    with opened(directory) as client:
        for done, each in enumerate(collections):
            progress(done, len(collections))
            client.set_tenant(each.tenant, each.database)
            collection = client.get_collection(each.name, embedding_function=None)
            records += collection.count()
            if each.dimension and records:
                # The index reads its log when it is asked something.
                collection.query(
                    query_embeddings=np.ones((1, each.dimension), np.float32),
                    n_results=1,
                    include=[],
                )
    return {"records": records}


def _rebuild_full_text(directory: Path) -> None:
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        if db.execute(_HAS_NUL).fetchone():
            db.execute(_REBUILD)
