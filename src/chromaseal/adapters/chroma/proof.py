"""The job "prove": a directory that was made again -> what in it is not as it was judged.

ChromaDB's reader of JSON can miss the last bit of a float, so floats are set to what they were
first. Then everything is compared, record by record.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.adapters.chroma.remains import read_remains
from chromaseal.adapters.chroma.salvage import collection_cells, is_uuid, name_of
from chromaseal.errors import Damaged
from chromaseal.record import Record
from chromaseal.repair.judged import JudgedCollection, JudgedRecord
from chromaseal.repair.judgement import judge
from chromaseal.repair.remains import Remains
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.checks import records
from chromaseal.seal.log import same_value, same_vector
from chromaseal.seal.quiet import DATABASE

_FIRST = 20
_METADATA_SEGMENT = "SELECT id FROM segments WHERE scope = 'METADATA' AND collection = ?"
_ROWS = "SELECT embedding_id, id FROM embeddings WHERE segment_id = ?"
_SET_VALUE = """
    UPDATE embedding_metadata SET float_value = ?3
    WHERE id = ?1 AND key = ?2 AND float_value <> ?3
"""
_ITEMS = "SELECT rowid FROM embedding_metadata_array WHERE id = ? AND key = ? ORDER BY rowid"
_SET_ITEM = "UPDATE embedding_metadata_array SET float_value = ? WHERE rowid = ?"
_SETTINGS = ("name", "dimension", "database_id", "config_json_str", "schema_str")
_OWN_METADATA = """
    SELECT key, str_value, int_value, float_value, bool_value FROM collection_metadata
    WHERE collection_id = ? ORDER BY key
"""


def run(request: Plain, progress: Progress) -> Plain:
    """Set floats to their exact values, and compare.

    Args:
        request: ``directory``, the private copy of the damaged one; ``target``, what was made of
            it, which nobody has open.
        progress: called with proved and all collections.

    Returns:
        ``differences``, how many there are; ``first``, the first of them in words.
    """
    remains = read_remains(Path(request["directory"]))
    judged = judge(remains).collections
    target = Path(request["target"])
    differences: list[str] = []
    with closing(sqlite3.connect(target / DATABASE)) as db:
        ids = {id(each): _id_in(db, each) for each in judged}
        with db:
            for each in judged:
                _set_floats(db, ids[id(each)], each)
        for done, each in enumerate(judged):
            progress(done, len(judged))
            differences += _settings(db, ids[id(each)], remains, each)
    differences += _records(target, {ids[id(each)]: each for each in judged})
    return {"differences": len(differences), "first": differences[:_FIRST]}


def _id_in(db: sqlite3.Connection, judged: JudgedCollection) -> str:
    """Give a collection's id in the new directory: another one where the old was none."""
    if is_uuid(judged.remains.collection_id):
        return judged.remains.collection_id
    query = "SELECT id FROM collections WHERE name = ?"
    found = db.execute(query, (name_of(judged),)).fetchone()
    return str(found[0]) if found else ""


def _set_floats(db: sqlite3.Connection, collection_id: str, judged: JudgedCollection) -> None:
    segment = db.execute(_METADATA_SEGMENT, (collection_id,)).fetchone()
    rows = dict(db.execute(_ROWS, segment)) if segment else {}
    for record in judged.whole:
        row = rows.get(record.record_id)
        for key, value in record.metadata.items() if row is not None else ():
            if key in record.from_log:
                continue
            if isinstance(value, float):
                db.execute(_SET_VALUE, (row, key, value))
            elif isinstance(value, list) and value and isinstance(value[0], float):
                places = db.execute(_ITEMS, (row, key)).fetchall()
                pairs = zip(value, places, strict=False)
                db.executemany(_SET_ITEM, [(item, place) for item, (place,) in pairs])


def _settings(
    db: sqlite3.Connection, collection_id: str, remains: Remains, judged: JudgedCollection
) -> Iterator[str]:
    name = name_of(judged)
    query = f"SELECT {', '.join(_SETTINGS)} FROM collections WHERE id = ?"  # noqa: S608 - our own names
    found = db.execute(query, (collection_id,)).fetchone()
    if found is None:
        yield f"collection {name} is missing"
        return
    wanted = collection_cells(judged)
    for key, value in zip(_SETTINGS, found, strict=True):
        if not _is_same_setting(key, value, wanted.get(key, value)):
            yield f"{key} of collection {name} is {value!r} instead of {wanted[key]!r}"
    _, rows = remains.cells.get("collection_metadata", ((), []))
    own = [cells for owner, *cells in rows if owner == judged.remains.collection_id]
    if sorted(map(repr, own)) != sorted(
        repr([*c]) for c in db.execute(_OWN_METADATA, (collection_id,))
    ):
        yield f"the metadata of collection {name} is another one"


def _is_same_setting(key: str, value: Any, wanted: Any) -> bool:  # noqa: ANN401 - may be anything
    """Whether a setting is what it was; ChromaDB adds the metadata's keys to a schema by itself."""
    if value == wanted:
        return True
    if key != "schema_str" or not (isinstance(value, str) and isinstance(wanted, str)):
        return False
    made, old = json.loads(value), json.loads(wanted)
    if not (isinstance(old, dict) and isinstance(old.get("keys"), dict)):
        return False
    added = {name for name in made.get("keys", {}) if name not in old["keys"] and name[:1] != "#"}
    kept = {name: each for name, each in made.get("keys", {}).items() if name not in added}
    return bool({**made, "keys": kept} == old)


def _records(target: Path, judged: Mapping[str, JudgedCollection]) -> Iterator[str]:
    try:
        anatomies = inspect(target, deep=True).collections
        made = {each.collection_id: {r.id: r for r in records(each)} for each in anatomies}
        spaces = {each.collection_id: each.space for each in anatomies}
    except (Damaged, KeyError, ValueError) as error:
        yield f"what was made cannot be read: {str(error).replace(f'{target}/', '')}"
        return
    for unknown in made.keys() - judged.keys():
        yield f"collection {unknown} is one too many"
    for collection_id, each in judged.items():
        found = made.get(collection_id, {})
        settings = each.remains.settings
        space = settings.space if settings is not None else "l2"
        if spaces.get(collection_id, space) != space:
            yield f"distance of collection {name_of(each)} is {spaces[collection_id]}, not {space}"
        wanted = {record.record_id: record for record in each.whole}
        for record_id in wanted.keys() ^ found.keys():
            what = "is missing" if record_id in wanted else "is one too many"
            yield f"record {record_id} of {name_of(each)} {what}"
        for record_id in wanted.keys() & found.keys():
            parts = list(_parts(wanted[record_id], found[record_id], space))
            if parts:
                yield f"record {record_id} of {name_of(each)} has another {', '.join(parts)}"


def _parts(wanted: JudgedRecord, found: Record, space: str) -> Iterator[str]:
    """Name the parts of a record that are not the same."""
    if wanted.vector is None or not same_vector(wanted.vector, found.embedding, space):
        yield "vector"
    if wanted.document != found.document:
        yield "document"
    for key in wanted.metadata.keys() | found.metadata.keys():
        one, other = wanted.metadata.get(key), found.metadata.get(key)
        same = same_value(one, other) if key in wanted.from_log else _is_exact(one, other)
        if not same:
            yield f"value of {key}"


def _is_exact(one: Any, other: Any) -> bool:  # noqa: ANN401 - any metadata
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_exact, one, other))
    # In words zeros have signs, and truth is no number.
    return type(one) is type(other) and repr(one) == repr(other)
