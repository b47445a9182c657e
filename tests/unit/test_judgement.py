"""What is believed of a damaged directory: what two places agree on, and nothing in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from chromaseal.repair.judged import DOCUMENT, METADATA, VECTOR, Judgement
from chromaseal.repair.judgement import judge
from chromaseal.repair.remains import (
    CollectionRemains,
    EntryRemains,
    Remains,
    RowRemains,
    SegmentRemains,
    Settings,
)

DEFAULT_DATABASE = "00000000-0000-0000-0000-000000000000"
ADD, UPDATE, UPSERT, DELETE = 0, 1, 2, 3


@dataclass
class Index:
    """An index of which a test says what is left."""

    names: Mapping[str, int]
    lost: frozenset[str] = frozenset()
    contradicted: frozenset[str] = frozenset()
    strangers: int = 0
    is_cut: bool = False
    has_bad_pages: bool = False
    problem: str = ""
    folder: str = "v"
    dimension: int = 2

    def vector(self, record_id: str) -> NDArray[np.float32] | None:
        """Give a vector made of the label; of b the one that the log still has."""
        if record_id not in self.names or record_id in self.lost:
            return None
        made = [10, 7] if record_id == "b" else [self.names[record_id], 0]
        return np.array(made, np.float32)


WHOLE_RECORD = {VECTOR, DOCUMENT, METADATA}


@dataclass
class Facts:
    """A healthy directory, to be spoiled: a, b flushed at 10; c in the log at 11."""

    ids: dict[str, int] = field(default_factory=lambda: {"a": 4, "b": 10, "c": 11})
    index: Index = field(default_factory=lambda: Index({"a": 1, "b": 2}))
    log: list[EntryRemains] = field(default_factory=lambda: [entry(10, "b"), entry(11, "c")])
    place: int | None = 10
    is_torn: bool = False
    older_rows: dict[str, int] = field(default_factory=dict)

    def judged(self) -> Judgement:
        """Judge it."""
        remains = Remains(
            collections=[CollectionRemains("n", "notes", DEFAULT_DATABASE, 2, Settings())],
            segments=[SegmentRemains("v", "VECTOR", "n"), SegmentRemains("m", "METADATA", "n")],
            rows=[
                RowRemains(seq, "m", i, seq, f"text {i}", {"k": 1})
                for i, seq in (*self.older_rows.items(), *self.ids.items())
            ],
            is_torn=self.is_torn,
            log=self.log,
            places={} if self.place is None else {"v": self.place},
            indexes={"v": self.index},
        )
        return judge(remains)

    def parts(self) -> dict[str, dict[str, str]]:
        """Give what is lost or in doubt, by record."""
        (judged,) = self.judged().collections
        return {r.record_id: {**r.lost, **r.doubtful} for r in judged.harmed}


def entry(
    seq_id: int, record_id: str, operation: int = UPSERT, *, sound: bool = True
) -> EntryRemains:
    """Make an entry of the log; deletes and updates have no vector."""
    vector = np.array([seq_id, 7], np.float32) if operation in {ADD, UPSERT} and sound else None
    values = {} if vector is None else {"k": 1, "chroma:document": f"text {record_id}"}
    return EntryRemains(seq_id, operation, "x/n", record_id, vector, sound, values)


def test_a_healthy_directory_is_complete() -> None:
    """Nothing is lost, and the newest vectors win."""
    judgement = Facts().judged()
    assert judgement.is_complete
    (judged,) = judgement.collections
    vectors = {r.record_id: r.vector.tolist() for r in judged.records if r.vector is not None}
    assert vectors == {"a": [1, 0], "b": [10, 7], "c": [11, 7]}
    assert judged.count == 3


def test_an_index_of_another_moment_is_in_doubt() -> None:
    """Elements that nobody names: it may be the newer one, so that nothing else is sure either."""
    facts = Facts(index=Index({"a": 1, "b": 2}, strangers=1))
    why = "the index and the tables are not of the same moment"
    assert facts.parts() == {i: dict.fromkeys(WHOLE_RECORD, why) for i in "abc"}


def test_ids_that_differ_are_another_moment() -> None:
    """A vector without a row: deleted since, its row is lost, or not yet in tables of before."""
    parts = Facts(index=Index({"a": 1, "b": 2, "z": 3})).parts()
    assert parts["z"].keys() == {DOCUMENT, METADATA}
    assert {i: parts[i].keys() for i in "abc"} == dict.fromkeys("abc", WHOLE_RECORD)


def test_a_whole_log_outweighs_an_index_of_another_moment() -> None:
    """It has every change, so what such an index has instead puts nothing in doubt."""
    log = [entry(1, "a"), entry(2, "b"), entry(3, "c")]
    index = Index({"a": 1, "b": 2}, strangers=1)
    judgement = Facts(ids={"a": 1, "b": 2, "c": 3}, index=index, log=log, place=2).judged()
    (judged,) = judgement.collections
    vectors = {r.record_id: r.vector.tolist() for r in judged.records if r.vector is not None}
    assert vectors == {"a": [1, 7], "b": [2, 7], "c": [3, 7]}
    assert judgement.from_log
    assert judgement.is_complete


def test_a_damaged_page_costs_what_lies_on_it() -> None:
    """And nothing else."""
    facts = Facts(index=Index({"a": 1, "b": 2}, lost=frozenset("a"), has_bad_pages=True))
    assert facts.parts() == {"a": {VECTOR: "it lies in a damaged part of data_level0.bin"}}


def test_an_entry_that_is_gone_is_noticed() -> None:
    """A record that was changed after the flush by no entry has an old vector, or none."""
    facts = Facts(ids={"a": 12, "b": 10, "c": 11})
    assert facts.parts() == {"a": {VECTOR: "its last change is not in the log"}}


def test_a_damaged_entry_is_not_passed_over() -> None:
    """What the index has of that record is older."""
    facts = Facts(ids={"a": 12, "b": 10, "c": 11})
    facts.log.append(entry(12, "a", sound=False))
    assert facts.parts() == {
        "a": {VECTOR: "its entry in the log is damaged, or may have changed nothing"}
    }


def test_a_label_in_doubt_gives_no_vector() -> None:
    """Two directions of the pickle that differ name nobody."""
    index = Index({"b": 2}, contradicted=frozenset("a"), has_bad_pages=True)
    assert Facts(index=index).parts() == {
        "a": {VECTOR: "the index contradicts itself about its label"}
    }


@pytest.mark.parametrize("place", [None, 0, 10, 10_000])
def test_a_wrong_place_costs_nothing(place: int | None) -> None:
    """Newest entries win wherever the segments are said to be, as long as the log says it."""
    facts = Facts(ids={"a": 4, "b": 10, "c": 11}, place=place)
    if place == 0:
        # Then every record should have its entry.
        assert facts.parts().keys() == {"a"}
    else:
        assert facts.judged().is_complete


def test_a_log_that_was_never_purged_is_enough() -> None:
    """Entries 1 to n make everything; the rest need not be looked at."""
    log = [entry(1, "a"), entry(2, "b"), entry(3, "a", DELETE), entry(4, "b", UPDATE)]
    judgement = Facts(ids={"b": 4}, index=Index({}, problem="gone"), log=log, place=0).judged()
    assert judgement.from_log
    assert judgement.is_complete
    assert judgement.collections[0].count == 1


def test_a_log_with_a_gap_is_not() -> None:
    """Then what lies before the gap has to be somewhere else."""
    log = [entry(1, "a"), entry(3, "c")]
    facts = Facts(ids={"a": 1, "b": 2, "c": 3}, index=Index({}), log=log, place=0)
    assert not facts.judged().from_log
    assert facts.parts() == {"b": {VECTOR: "neither the index nor the log has it"}}


@pytest.mark.parametrize("facts", [Facts(is_torn=True), Facts(older_rows={"a": 1})])
def test_pages_of_several_moments_put_everything_in_doubt(facts: Facts) -> None:
    """A database that outgrew its header, or has a record twice: any page may be an older one."""
    why = "the pages of the database are of several moments"
    assert facts.parts() == {i: dict.fromkeys((VECTOR, DOCUMENT, METADATA), why) for i in "abc"}


def test_a_torn_log_is_not_replayed_alone() -> None:
    """Its own pages may be of several moments too."""
    log = [entry(1, "a"), entry(2, "b")]
    facts = Facts(ids={"a": 1, "b": 2}, index=Index({}), log=log, place=0, is_torn=True)
    assert not facts.judged().from_log


def vectors(facts: Facts) -> dict[str, list[float]]:
    """Give the vectors that are believed."""
    (judged,) = facts.judged().collections
    return {r.record_id: r.vector.tolist() for r in judged.whole if r.vector is not None}


def test_an_add_of_a_present_id_is_ignored() -> None:
    """As ChromaDB ignored it; a row's last change, or the index's names, say that it was there."""
    facts = Facts()
    facts.log += [entry(12, "a", ADD), entry(13, "c", ADD)]
    assert facts.judged().is_complete
    assert vectors(facts) == {"a": [1, 0], "b": [10, 7], "c": [11, 7]}


def test_an_update_of_an_absent_id_is_ignored() -> None:
    """It brings no record, and puts no other in doubt."""
    facts = Facts()
    ghost = np.zeros(2, np.float32)
    facts.log.append(EntryRemains(12, UPDATE, "x/n", "ghost", ghost, is_sound=True))
    assert facts.judged().is_complete
    assert vectors(facts).keys() == {"a", "b", "c"}


def test_an_update_without_a_vector_settles_no_damaged_entry() -> None:
    """The damaged entry before it may have had one."""
    facts = Facts(ids={"a": 13, "b": 10, "c": 11})
    facts.log += [entry(12, "a", sound=False), entry(13, "a", UPDATE)]
    assert facts.parts()["a"].keys() == {VECTOR}


def test_a_flushed_entry_has_the_index_for_a_witness() -> None:
    """Where they differ the index may be an older or a newer one, so all is in doubt."""
    facts = Facts()
    facts.log[0] = replace(entry(10, "b"), vector=np.array([5, 5], np.float32))
    parts = facts.parts()
    assert {i: parts[i].keys() for i in parts} == dict.fromkeys("abc", WHOLE_RECORD)
    assert parts["b"][VECTOR] == "the log has another one for the same moment"


def test_a_flushed_entry_stands_in_for_a_damaged_page() -> None:
    """The log still has what the index has lost."""
    facts = Facts(index=Index({"a": 1, "b": 2}, lost=frozenset("b"), has_bad_pages=True))
    assert facts.judged().is_complete
    assert vectors(facts)["b"] == [10, 7]


@pytest.mark.parametrize("operation", [ADD, UPSERT])
def test_a_row_and_its_entry_have_to_say_the_same(operation: int) -> None:
    """What the log says last of a record is what its row has to have."""
    facts = Facts()
    values = {"k": 2, "chroma:document": "text c"}
    facts.log[1] = replace(entry(11, "c", operation), values=values)
    assert facts.parts() == {"c": {"k": "the log has another one"}}


@pytest.mark.parametrize(("late", "part"), [(UPSERT, "id"), (DELETE, "id")])
def test_a_row_behind_its_log_is_in_doubt(late: int, part: str) -> None:
    """It is of an older moment."""
    facts = Facts()
    facts.log.append(entry(12, "b", late))
    assert part in facts.parts()["b"]


def test_a_whole_log_and_the_tables_have_to_say_the_same() -> None:
    """A text that tables and full text agree on is not outvoted by the log."""
    log = [entry(1, "a"), replace(entry(2, "b"), values={"k": 1, "chroma:document": "other"})]
    facts = Facts(ids={"a": 1, "b": 2}, index=Index({}), log=log, place=None)
    assert facts.judged().from_log
    assert facts.parts() == {"b": {DOCUMENT: "the log has another one"}}


def test_a_whole_log_gives_what_the_tables_have_lost() -> None:
    """Records without a row, and values that cannot be read."""
    log = [entry(1, "a"), entry(2, "b")]
    facts = Facts(ids={}, index=Index({}), log=log, place=None)
    assert facts.judged().is_complete
    assert vectors(facts).keys() == {"a", "b"}


def test_rows_of_no_collection_are_listed() -> None:
    """Whose segment and collection are gone: nothing goes without a word."""
    remains = Remains(
        collections=[CollectionRemains("n", "notes", DEFAULT_DATABASE, 2, Settings())],
        segments=[SegmentRemains("v", "VECTOR", "n"), SegmentRemains("m", "METADATA", "n")],
        rows=[RowRemains(1, "lost", "z", 1, "text", {"k": 1})],
        indexes={"free": Index({"z": 3}, folder="free")},
    )
    judgement = judge(remains)
    assert not judgement.is_complete
    lines = {line["what"]: line for line in judgement.leftovers}
    assert lines["record of no collection"]["id"] == "z"
    assert lines["record of no collection"]["vector"] == [3, 0]
    assert lines["index of no collection"]["folder"] == "free"


def test_records_of_several_indexes_without_tables_are_listed() -> None:
    """Nothing tells which collections they were, and each id and vector that is left is said."""
    remains = Remains(
        problem="chroma.sqlite3: No such file or directory",
        tables_whole=False,
        indexes={
            "v": Index({"a": 1, "b": 2}, lost=frozenset("b")),
            "w": Index({"a": 5}, folder="w"),
        },
    )
    listed = [
        (each["folder"], each["id"], each["vector"], sorted(each["lost"]))
        for each in judge(remains).leftovers
        if each["what"] == "record of no collection"
    ]
    gone = sorted([DOCUMENT, METADATA])
    assert listed == [("v", "a", [1, 0], gone), ("v", "b", None, gone), ("w", "a", [5, 0], gone)]


def test_indexes_of_deleted_collections_are_nobodys_loss() -> None:
    """Where every row was read, an index that no collection has is what a deleted one left."""
    remains = Remains(indexes={"v": Index({"a": 1}), "w": Index({"b": 2}, folder="w")})
    assert judge(remains).leftovers == []


def test_disputed_settings_are_not_complete() -> None:
    """What a table of collections and its index say differently is nobody's to decide."""
    judgement = judge(Remains(disputed=["row 1 of collections"]))
    assert judgement.leftovers == [{"what": "row 1 of collections"}]


@pytest.mark.parametrize(
    "traces",
    [
        Remains(tables_whole=False),
        Remains(rows=[RowRemains(1, "y", "z", 1, "text", {"k": 1})]),
        Remains(unnamed={"y": {"z"}}),
        Remains(places={"x": 1}),
        Remains(),
    ],
)
def test_a_collection_without_a_row_is_lost_unless_its_database_was_deleted(
    traces: Remains,
) -> None:
    """Whose rows are gone, or may be: segments alone are what ChromaDB leaves of deleted ones."""
    remains = replace(
        traces,
        collections=[CollectionRemains("n", "notes", DEFAULT_DATABASE, 2, Settings())],
        segments=[SegmentRemains("x", "VECTOR", "lost"), SegmentRemains("y", "METADATA", "lost")],
    )
    found = [each.remains.collection_id for each in judge(remains).collections]
    assert found == (["n"] if traces == Remains() else ["n", "lost"])


@pytest.mark.parametrize(("folder", "found"), [("x", []), ("free", ["unknown"])])
def test_where_all_databases_were_deleted_nothing_is_lost(folder: str, found: list[str]) -> None:
    """Their indexes stay, with their segments; one that no segment names may be somebody's."""
    remains = Remains(
        segments=[SegmentRemains("x", "VECTOR", "gone"), SegmentRemains("y", "METADATA", "gone")],
        indexes={folder: Index({"a": 1}, folder=folder)},
    )
    assert [each.remains.collection_id for each in judge(remains).collections] == found
