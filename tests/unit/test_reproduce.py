"""What the reproduction of the incident counts, and how it calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.entrypoints.cli.reproduce_cmd import judge
from chromaseal.errors import ChromasealError, Conflict, Damaged
from chromaseal.reproduction.application import (
    BATCH_RECORDS,
    NEW_RECORDS,
    Plan,
    batch_numbers,
    contents_after,
    record_id,
    record_of,
    state_of,
)
from chromaseal.reproduction.asked import Answer, read_answer
from chromaseal.reproduction.examination import ANSWERS, MALFORMED, STRUCTURE, Examined
from chromaseal.reproduction.half_uploads import Stopped, StoppingStore
from chromaseal.reproduction.old_ways import Pace, copy_files
from chromaseal.reproduction.running import RunningApplication
from chromaseal.reproduction.trial import Summary, Trial, Way, summaries
from chromaseal.sandbox import Limits, Plain, Progress
from chromaseal.seal.verdict import Finding
from chromaseal.settle import put_once
from chromaseal.testing.clock import ManualClock

PLAN = Plan(records=200, seed=7, dimension=4)
RIGHT = Answer("all records", "", None, right=True)
WRONG = Answer("normal answers, records missing", "", None, right=False)


def test_batches_follow_from_seed_and_number() -> None:
    """A batch is the same every time, adds new records, and differs by seed."""
    assert batch_numbers(PLAN, 3) == batch_numbers(PLAN, 3)
    assert batch_numbers(PLAN, 3) != batch_numbers(Plan(records=200, seed=8, dimension=4), 3)
    numbers = batch_numbers(PLAN, 3)
    assert len(set(numbers)) == len(numbers) == BATCH_RECORDS
    first = PLAN.records + 2 * NEW_RECORDS
    assert numbers[-NEW_RECORDS:] == list(range(first, first + NEW_RECORDS))
    assert np.array_equal(record_of(PLAN, 5, 3).embedding, record_of(PLAN, 5, 3).embedding)
    assert not np.array_equal(record_of(PLAN, 5, 3).embedding, record_of(PLAN, 5, 2).embedding)


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_a_state_is_recognised(batch: int) -> None:
    """What the application had after a batch is whole; with one record less or older it is not."""
    found = contents_after(PLAN, batch)
    state = state_of(found, PLAN)
    assert state.whole
    assert state.batch == batch
    written = record_id(batch_numbers(PLAN, batch)[0])
    lacking = {name: each for name, each in found.items() if name != written}
    assert state_of(lacking, PLAN).missing == 1
    assert not state_of(lacking, PLAN).whole


def test_two_times_at_once_are_recognised() -> None:
    """Half of one state and half of another is no state."""
    older, newer = contents_after(PLAN, 4), contents_after(PLAN, 5)
    torn = newer | {name: older[name] for name in list(older)[:100]}
    changed = sum(older[name] != newer[name] for name in list(older)[:100])
    assert changed
    assert state_of(torn, PLAN).others == changed


def answer_of(batches: dict[str, int], **others: object) -> Plain:
    """Give an answer of the job over records that are all well but for what is named."""
    count = len(batches)
    usual = {"errors": {}, "count": count, "hits": 10, "found": count, "wrong_vectors": 0}
    return {**usual, "batches": batches, **others}


def test_answers_are_put_into_words() -> None:
    """Only a state that the application had, found whole and with its vectors, is right."""
    whole = contents_after(PLAN, 2)
    assert read_answer(answer_of(whole), PLAN).right
    assert read_answer(answer_of(whole, found=len(whole) - 1), PLAN).right
    lacking = dict(list(whole.items())[3:])
    answers = {
        "normal answers, records missing": [
            answer_of(lacking),
            answer_of(whole, found=len(whole) // 2, errors={"read vectors": "no id"}),
        ],
        "normal answers, records of two times": [
            answer_of(whole, wrong_vectors=1),
            answer_of(whole | {"r0": 1}),
        ],
        "error: malformed": [answer_of({}, errors={"search": "malformed"})],
        "counts and searches; reading all of it fails: (code: 11) malformed": [
            answer_of(whole, errors={"read all": "Internal error: (code: 11) malformed"})
        ],
    }
    for said, examples in answers.items():
        for example in examples:
            answer = read_answer(example, PLAN)
            assert (answer.said, answer.right) == (said, False)


def test_what_is_wrong_has_a_name() -> None:
    """SQLite's own finding comes first, then structure, then what ChromaDB's answers show alone."""
    sqlite = Finding("sqlite-structure", passed=False, evidence="")
    structure = Finding("same-ids", passed=False, evidence="")
    assert Examined([structure, sqlite], WRONG).wrong == MALFORMED
    assert Examined([structure], WRONG).wrong == STRUCTURE
    assert Examined([structure], RIGHT).wrong == STRUCTURE
    assert Examined([], WRONG).wrong == ANSWERS
    assert all(each.bad for each in (Examined([structure], RIGHT), Examined([], WRONG)))
    assert not Examined([], RIGHT).bad
    assert Examined([], RIGHT).wrong == ""


def test_trials_are_added_up() -> None:
    """Trials are counted by way, with what was wrong and what was said."""
    trials = [
        Trial(Way.REPLICATE, 1, bad=False, said="all records"),
        Trial(Way.UPLOAD, 1, bad=True, wrong=MALFORMED, said="error: malformed"),
        Trial(Way.UPLOAD, 2, bad=True, wrong=MALFORMED, said="all records"),
        Trial(Way.UPLOAD, 3, bad=False, said="all records"),
    ]
    upload, replicate = summaries(trials)
    assert (upload.way, upload.tried, upload.bad) == (Way.UPLOAD, 3, 2)
    assert upload.wrong == {MALFORMED: 2}
    assert upload.said == {"error: malformed": 1, "all records": 1}
    assert replicate == Summary(Way.REPLICATE, 1, 0, {}, {"all records": 1})
    assert [way for way in Way if way.ours] == [Way.REPLICATE, Way.POINTER_SWAP, Way.HALF_PUSH]
    assert len({way.words for way in Way}) == len(Way)


def test_only_a_bad_copy_of_this_way_is_an_error() -> None:
    """The old ways may come out bad; where this one does, the command fails."""
    bad = {way: Summary(way, 3, 1, {}, {}) for way in (Way.UPLOAD, Way.REPLICATE)}
    judge([bad[Way.UPLOAD], Summary(Way.REPLICATE, 3, 0, {}, {})])
    with pytest.raises(Damaged, match="1 of 3 trials of replicate"):
        judge(list(bad.values()))


def test_copies_keep_to_their_speed(tmp_path: Path) -> None:
    """A paced copy takes as long as its speed says, and copies every byte."""
    (tmp_path / "live/index").mkdir(parents=True)
    (tmp_path / "live/chroma.sqlite3").write_bytes(bytes(1_000_000))
    (tmp_path / "live/index/data").write_bytes(bytes(range(200)) * 5_000)
    clock = ManualClock()
    start_s = clock.monotonic_s()
    copy_files(tmp_path / "live", tmp_path / "copy", Pace(500_000, clock))
    assert clock.monotonic_s() - start_s == pytest.approx(4.0)
    for name in ("chroma.sqlite3", "index/data"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "live" / name).read_bytes()


def test_a_growing_file_has_an_end(tmp_path: Path) -> None:
    """A file that is written faster than it is copied is copied as long as it was."""
    live = tmp_path / "live"
    live.mkdir()
    (live / "log").write_bytes(b"beginning")

    def write_more(copied_bytes: int) -> None:
        with (live / "log").open("ab") as file:
            file.write(bytes(copied_bytes))

    copy_files(live, tmp_path / "copy", write_more)
    assert (tmp_path / "copy/log").read_bytes() == b"beginning"


def test_a_store_stops_after_its_writes() -> None:
    """The write after the last one that is allowed never reaches the store."""
    store = ObstoreObjectStore("memory://")
    stopping = StoppingStore(store, 1)
    put_once(stopping, "one", b"1")
    with pytest.raises(Stopped):
        put_once(stopping, "two", b"2")
    assert [found.key for found in store.list("")] == ["one"]


class Dying:
    """A sandbox whose job tells of some batches and dies."""

    def __init__(self, told: Sequence[tuple[int, int]]) -> None:
        self._told = told
        self.closed = False

    def start(self) -> None:
        """Do nothing."""

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Tell, then die."""
        del job, request, limits
        for done, total in self._told:
            if progress is not None:
                progress(done, total)
        raise Conflict("gone", kind="still-open")

    def close(self) -> None:
        """Take note of it."""
        self.closed = True


def test_an_application_that_dies_is_noticed(tmp_path: Path) -> None:
    """Whoever waits for a batch that never comes gets the reason; nothing is left running."""
    first: list[tuple[int, int]] = []
    sandbox = Dying([(100, 200), (200, 200), (1, 0), (2, 0)])

    def note(done: int, total: int) -> None:
        first.append((done, total))

    with RunningApplication(sandbox, tmp_path, PLAN, progress=note) as application:
        application.wait_for(2)
        with pytest.raises(ChromasealError, match="gone"):
            application.wait_for(3)
    assert first == [(100, 200), (200, 200)]
    assert sandbox.closed
