"""Write, compact, read: what a vault promises to those who hold one."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import delete

from chromaseal.adapters.sqlalchemy.schema import run
from chromaseal.clock import Clock
from chromaseal.delta.model import Changes
from chromaseal.embedding import ModelPin
from chromaseal.errors import ChromasealError, Conflict, NotFound, RefusedInput
from chromaseal.record import MetadataValue, Record
from chromaseal.run.model import RunState
from chromaseal.testing.clock import START, ManualClock
from chromaseal.testing.oracle import Rows, assert_same_rows, change
from chromaseal.testing.records import record, upserts, vector_of
from chromaseal.vault import Vault

LETTERS = ModelPin("letters", "1", "ab" * 32, 4)
OTHERS = ModelPin("others", "2", "cd" * 32, 4)


class OpenVault(Protocol):
    """What the fixture ``vault_at`` gives; see ``tests/conftest.py``."""

    def __call__(self, url: str = "", *, clock: Clock | None = None) -> Vault:
        """Open a vault."""
        ...


@pytest.fixture(params=["file", "memory"])
def either(request: pytest.FixtureRequest, vault_at: OpenVault) -> Vault:
    """Give an empty vault in a directory and one in memory."""
    return vault_at("memory://" if request.param == "memory" else "")


def rows_of(vault: Vault, at: str = "") -> Rows:
    """Give what a reader of ``notes`` sees."""
    with vault.reader("notes", at=at) as reader:
        found = list(reader.records())
        assert reader.count() == len(found)
        return {each.id: each for each in found}


def write_and_compact(vault: Vault, changes: Changes, run_id: str = "") -> str:
    """Bring one run into a version; give its id."""
    run = vault.write({"notes": changes}, run_id=run_id).run
    (done,) = vault.compact(["notes"])
    assert done.merged == (run.run_id,)
    return run.run_id


def test_what_was_written_is_read_back(either: Vault) -> None:
    """Ids, vectors, documents and metadata come back as they were given, in every version."""
    expected: Rows = {}
    history: list[Rows] = []
    steps = [
        upserts(record("a", 1, page=1, tags=["x", "y"]), record("b", 2, document=None)),
        upserts(record("c", 3, price=1.25, paid=True), record("a", 4, page=2)),
        Changes(updates={"c": {"price": None, "tags": [1, 2]}, "nobody": {"x": 1}}),
        upserts(record("d", 5), deletes=["b", "nobody"]),
    ]
    for step in steps:
        write_and_compact(either, step)
        change(expected, step)
        history.append(dict(expected))
    for number, rows in enumerate(history, 1):
        assert_same_rows(rows_of(either, at=str(number)).values(), rows)
    assert_same_rows(rows_of(either).values(), expected)


def test_a_repeated_run_is_applied_once(either: Vault) -> None:
    """The same run id, before and after compaction, changes nothing and is said to be known."""
    changes = {"notes": upserts(record("a", 1))}
    first = either.write(changes, run_id="run-1")
    again = either.write(changes, run_id="run-1")
    assert (first.new, again.new) == (True, False)
    (done,) = either.compact()
    assert done.merged == ("run-1",)
    assert not either.write(changes, run_id="run-1").new
    (idle,) = either.compact()
    assert idle.version is None
    assert [entry.version.number for entry in either.log("notes")] == [1]


def test_a_lost_ledger_repeats_nothing(either: Vault) -> None:
    """A run that the head contains is found to be contained, whatever the ledger forgot."""
    changes = {"notes": upserts(record("a", 1))}
    either.write(changes, run_id="run-1")
    either.compact()
    forget_everything(either)
    assert either.write(changes, run_id="run-1").new
    (done,) = either.compact()
    assert (done.version, done.merged, done.contained) == (None, (), ("run-1",))
    part = either.run("run-1").parts["notes"]
    assert part.state is RunState.COMPLETED
    assert part.version_id == either.version("notes").version_id


def forget_everything(vault: Vault) -> None:
    """Empty the ledger, as if its file were lost."""
    ledger = vault.parts.ledger
    with ledger._database.writing() as db:  # type: ignore[attr-defined]
        db.execute(delete(run))
    assert ledger.newest() == []


def test_a_run_that_died_halfway_keeps_its_age(vault_at: OpenVault) -> None:
    """A run whose delta was stored before its writer died is the same run when written again."""
    clock = ManualClock()
    vault = vault_at(clock=clock)
    changes = {"notes": upserts(record("a", 1))}
    before = vault.write(changes, run_id="run-1").run
    forget_everything(vault)
    clock.set(START + dt.timedelta(days=1))
    assert vault.write(changes, run_id="run-1").run == before


def test_a_run_id_stands_for_the_same_changes(vault: Vault) -> None:
    """Other changes under a taken run id are refused, unless what is stored is to win."""
    vault.write({"notes": upserts(record("a", 1))}, run_id="run-1")
    forget_everything(vault)
    other = {"notes": upserts(record("a", 2), record("b", 3))}
    with pytest.raises(Conflict) as caught:
        vault.write(other, run_id="run-1")
    assert caught.value.kind == "different-content"
    assert vault.write(other, run_id="run-1", stored_wins=True).run.parts["notes"].changes == 1
    vault.compact()
    assert_same_rows(rows_of(vault).values(), {"a": record("a", 1)})


def test_an_update_clears_by_none_and_leaves_the_rest(vault: Vault) -> None:
    """A patch sets and clears keys; vector, document and other keys stay."""
    write_and_compact(vault, upserts(record("a", 1, document="text", keep=1, gone="x")))
    write_and_compact(vault, Changes(updates={"a": {"gone": None, "new": [1.5]}}))
    expected = record("a", 1, document="text", keep=1, new=[1.5])
    assert_same_rows(rows_of(vault).values(), {"a": expected})


def test_an_upsert_replaces_all_that_a_record_had(vault: Vault) -> None:
    """Old metadata keys and an old document do not outlive an upsert without them."""
    write_and_compact(vault, upserts(record("a", 1, document="old", gone="x", kept=1)))
    write_and_compact(vault, upserts(record("a", 2, document=None, kept=2)))
    assert_same_rows(rows_of(vault).values(), {"a": record("a", 2, document=None, kept=2)})
    with vault.reader("notes") as reader:
        assert reader.find(contains="old") == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1.0000000000001, 1.0000000000002),
        (1, 1.0),
        (1, True),
        ([1, 2], [2, 1]),
        ([1, 2], 1),
        ("1", 1),
    ],
)
def test_small_changes_of_a_value_are_changes(
    vault: Vault, before: MetadataValue, after: MetadataValue
) -> None:
    """A value that differs in its last digits, its type or its order is written."""
    write_and_compact(vault, upserts(record("a", 1, key=before)))
    write_and_compact(vault, upserts(record("a", 1, key=after)))
    assert_same_rows(rows_of(vault).values(), {"a": record("a", 1, key=after)})


def test_another_model_is_refused(vault: Vault) -> None:
    """Vectors of another model never enter a collection; the error names both."""
    vault.write({"notes": upserts(record("a", 1))}, model=LETTERS)
    with pytest.raises(Conflict) as caught:
        vault.write({"notes": upserts(record("b", 2))}, model=OTHERS)
    assert caught.value.kind == "other-model"
    assert str(LETTERS) in caught.value.message
    assert str(OTHERS) in caught.value.message
    with pytest.raises(Conflict):
        vault.write({"notes": upserts(record("b", 2))})
    (done,) = vault.compact()
    assert len(done.merged) == 1
    assert vault.version("notes").manifest.model == LETTERS


def test_another_dimension_is_refused(vault: Vault) -> None:
    """Vectors of another length never enter a collection; the error names both lengths."""
    vault.write({"notes": upserts(record("a", 1))})
    with pytest.raises(Conflict) as caught:
        vault.write({"notes": upserts(record("b", 2, dimension=5))})
    assert caught.value.kind == "other-dimension"
    assert "4" in caught.value.message
    assert "5" in caught.value.message


def test_changes_of_nothing_are_refused(vault: Vault) -> None:
    """A run needs changes, and updates need a collection to change."""
    for changes in ({}, {"notes": Changes()}):
        with pytest.raises(RefusedInput) as caught:
            vault.write(changes)
        assert caught.value.kind == "empty-delta"
    with pytest.raises(NotFound) as missing:
        vault.write({"notes": Changes(deletes=["a"])})
    assert missing.value.kind == "no-collection"


@pytest.mark.parametrize("key", ["#document", "$and", "chroma:document", ""])
def test_what_chromadb_would_refuse_is_refused_at_the_door(vault: Vault, key: str) -> None:
    """A key that would stop the merge of a whole batch costs only its own writer an error."""
    write_and_compact(vault, upserts(record("a", 1)))
    for changes in (
        upserts(Record("a", vector_of(1), None, {key: 1})),
        Changes(updates={"a": {key: 1}}),
        Changes(updates={"a": {key: None, "other": 1}}),
    ):
        with pytest.raises(RefusedInput) as caught:
            vault.write({"notes": changes})
        assert caught.value.kind == "bad-metadata"


def test_a_new_vector_reaches_a_cosine_collection(vault: Vault) -> None:
    """A record whose vector alone changed is changed, though ChromaDB may scale vectors."""
    for seed in (1, 2):
        vault.write({"notes": upserts(record("a", seed))}, space="cosine")
        vault.compact()
        stored = rows_of(vault)["a"].embedding
        assert np.allclose(unit(stored), unit(vector_of(seed)))


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the vector at length one."""
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def test_a_late_run_does_not_win(vault_at: OpenVault) -> None:
    """A run that is older than one already merged loses to it, record by record, key by key."""
    clock = ManualClock()
    vault = vault_at(clock=clock)
    write_and_compact(vault, upserts(record("a", 1), record("b", 1), record("c", 1)))
    clock.set(START + dt.timedelta(minutes=2))
    newer = Changes([record("a", 2)], {"b": {"x": 2}}, ["c"])
    write_and_compact(vault, newer)
    clock.set(START + dt.timedelta(minutes=1))
    older = Changes([record("a", 3), record("c", 3)], {"b": {"x": 3, "y": 3}})
    write_and_compact(vault, older)
    expected = {"a": record("a", 2), "b": record("b", 1, x=2, y=3)}
    assert_same_rows(rows_of(vault).values(), expected)


def delta_path(vault: Vault, run_id: str) -> Path:
    """Give the file that holds a run's delta of ``notes``."""
    key = vault.run(run_id).parts["notes"].delta_key
    return Path(vault.url.removeprefix("file://")) / key


def test_one_bad_delta_does_not_stop_the_others(vault: Vault) -> None:
    """A damaged delta is set aside with the reason; mended, it can be tried again."""
    for name in ("good-1", "bad", "good-2"):
        vault.write({"notes": upserts(record(name, 1))}, run_id=name)
    path = delta_path(vault, "bad")
    sound = path.read_bytes()
    path.write_bytes(sound[:-9] + b"?" + sound[-8:])
    (done,) = vault.compact()
    assert set(done.merged) == {"good-1", "good-2"}
    assert set(done.failed) == {"bad"}
    part = vault.run("bad").parts["notes"]
    assert part.state is RunState.FAILED
    assert part.error == done.failed["bad"]
    assert "digest" in part.error
    path.write_bytes(sound)
    assert vault.retry("bad") == ["notes"]
    (again,) = vault.compact()
    assert again.merged == ("bad",)
    assert set(rows_of(vault)) == {"good-1", "bad", "good-2"}


def test_a_missing_delta_does_not_stop_the_others(vault: Vault) -> None:
    """A delta that is gone is set aside with the reason."""
    for name in ("good", "gone"):
        vault.write({"notes": upserts(record(name, 1))}, run_id=name)
    delta_path(vault, "gone").unlink()
    (done,) = vault.compact()
    assert done.merged == ("good",)
    assert set(done.failed) == {"gone"}


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_late_run_that_cannot_be_put_in_order_is_set_aside(vault_at: OpenVault, how: str) -> None:
    """A late run waits in FAILED when a later run's delta cannot be read; others go on."""
    clock = ManualClock()
    vault = vault_at(clock=clock)
    clock.set(START + dt.timedelta(minutes=2))
    merged = write_and_compact(vault, upserts(record("a", 1)), run_id="merged")
    path = delta_path(vault, merged)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    clock.set(START)
    vault.write({"notes": upserts(record("a", 2))}, run_id="late")
    clock.set(START + dt.timedelta(minutes=3))
    vault.write({"notes": upserts(record("b", 3))}, run_id="on-time")
    (done,) = vault.compact()
    assert done.merged == ("on-time",)
    assert set(done.failed) == {"late"}
    assert_same_rows(rows_of(vault).values(), {"a": record("a", 1), "b": record("b", 3)})


def test_log_and_trace_tell_the_whole_way(vault: Vault) -> None:
    """Every version names its runs and checks; every run names delta, state and version."""
    first = write_and_compact(vault, upserts(record("a", 1)))
    second = write_and_compact(vault, upserts(record("b", 2), deletes=["a"]))
    log = list(vault.log("notes"))
    newest, oldest = (vault.version("notes", entry.version.version_id) for entry in log)
    assert [entry.version for entry in log] == [newest.as_past, oldest.as_past]
    assert (newest.manifest.number, oldest.manifest.number) == (2, 1)
    assert newest.manifest.parent == oldest.as_parent
    assert [run.run_id for run in newest.manifest.runs] == [second]
    assert [run for entry in log for run, _ in entry.version.runs] == [second, first]
    assert newest.version_id > oldest.version_id
    assert not any(entry.removed or entry.tags for entry in log)
    assert {"same-ids", "records"} <= {check.name for check in newest.manifest.checks}
    steps = {step.step: step for step in vault.trace(second)}
    assert "2 changes" in steps["notes: delta"].detail
    assert steps["notes: run"].detail.startswith("COMPLETED, 1 attempt")
    assert steps["notes: version 2"].digest == newest.digest
    assert steps["notes: version 2"].size_bytes == newest.manifest.size_bytes
    assert any(name.startswith("notes: checked") for name in steps)


def test_what_is_not_there_is_said_not_to_be_there(vault: Vault) -> None:
    """Unknown runs, collections and versions are errors of their own kind."""
    with pytest.raises(NotFound, match="no run"):
        vault.run("nothing")
    with pytest.raises(NotFound, match="no collection"):
        vault.log("notes")
    vault.write({"notes": upserts(record("a", 1))})
    assert not vault.has_version("notes")
    with pytest.raises(NotFound, match="no version"):
        vault.reader("notes")
    vault.compact()
    with pytest.raises(NotFound, match="no version"):
        vault.version("notes", "7")


def test_a_copy_is_never_made_over_something(vault: Vault, tmp_path: Path) -> None:
    """open_copy fills a new or an empty directory and refuses any other."""
    write_and_compact(vault, upserts(record("a", 1)))
    occupied, empty = tmp_path / "occupied", tmp_path / "empty"
    occupied.mkdir()
    (occupied / "file").write_text("mine")
    with pytest.raises(Conflict) as caught:
        vault.open_copy("notes", occupied)
    assert caught.value.kind == "directory-not-empty"
    assert [path.name for path in occupied.iterdir()] == ["file"]
    link = tmp_path / "link"
    link.symlink_to(empty)
    with pytest.raises(Conflict):
        vault.open_copy("notes", link)
    empty.mkdir()
    version = vault.open_copy("notes", empty)
    assert {p.relative_to(empty).as_posix() for p in empty.rglob("*") if p.is_file()} == {
        file.path for file in version.manifest.files
    }


def test_a_reader_keeps_its_version(vault: Vault) -> None:
    """A reader that was opened before a compaction goes on with what it opened."""
    write_and_compact(vault, upserts(record("a", 1)))
    with vault.reader("notes") as reader:
        write_and_compact(vault, upserts(record("b", 2), deletes=["a"]))
        assert set(reader.get(["a", "b"])) == {"a"}
        assert reader.version.manifest.number == 1
    assert set(rows_of(vault)) == {"b"}


def test_a_reader_searches(vault: Vault) -> None:
    """Nearest and exact search find records by vector, metadata and text."""
    write_and_compact(
        vault,
        upserts(
            Record("a", np.array([1, 0, 0, 0], np.float32), "red apple", {"kind": "fruit", "n": 1}),
            Record("b", np.array([0, 1, 0, 0], np.float32), "red car", {"kind": "thing", "n": 1}),
        ),
    )
    with vault.reader("notes") as reader:
        ((first, second),) = reader.nearest(np.array([[1, 0, 0, 0]], np.float32))
        assert (first.id, second.id) == ("a", "b")
        assert first.distance == pytest.approx(0)
        assert [hit.id for hit in reader.find(where={"kind": "thing", "n": 1})] == ["b"]
        assert [hit.id for hit in reader.find(contains="apple")] == ["a"]
        assert set(reader.get(["a", "a", "nobody"])) == {"a"}
        with pytest.raises(ChromasealError):
            reader.nearest(np.array([[1, 0, 0]], np.float32))
