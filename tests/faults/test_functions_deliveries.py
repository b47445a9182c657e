"""Runs and changes through stream, queues and functions, whatever is delivered how, or dies where.

No acknowledged run is lost, none is in twice, the newest versions have what a plain dictionary
has, and stream, queues and dead letters end empty.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chromaseal import pools
from chromaseal.composition import functions
from chromaseal.composition.functions import Equipment
from chromaseal.delta.model import Changes
from chromaseal.entrypoints.functions import on_run_changed, on_runs_waiting
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.stream.labels import WordLabel
from chromaseal.testing.aws_deliveries import Habits, Invocations, Queue, Stream, deliver_all
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.faults import SimulatedCrash
from chromaseal.testing.functions_scene import COLLECTIONS, QUEUE_URLS, FunctionsScene
from chromaseal.testing.records import record
from chromaseal.testing.simulation.chance import chance_of
from chromaseal.testing.simulation.episode import SHARED_MEMORY

IMAGE = "0f5e8d5c-0c4f-4f0e-9d7d-0a7d3f0f6c11"
ORDERLY = Habits(batch_size=3)
UNRULY = Habits(batch_size=3, again=0.3, in_order=False)
# What a plain dictionary knows of a record: its text, merchant and valid labels.
Seen = tuple[str | None, object, object]


def line_id(receipt_id: int, line: int) -> str:
    """Name a row."""
    return f"IMAGE#{IMAGE}#RECEIPT#{receipt_id:05d}#LINE#{line:05d}"


class Story:
    """What happens to a table, and what a plain dictionary says of it.

    Args:
        scene: to whose table it happens.

    Attributes:
        runs: that were acknowledged, by collection.
        changes: of the table that concern records, by collection.
        expected: records by collection and id.
    """

    def __init__(self, scene: FunctionsScene) -> None:
        self.scene = scene
        self.runs: dict[str, set[str]] = {name: set() for name in COLLECTIONS}
        self.changes = Counter[str]()
        self.expected: dict[str, dict[str, Seen]] = {name: {} for name in COLLECTIONS}
        self._merchants: dict[int, str] = {}

    def short(self) -> list[Callable[[], None]]:
        """Give a run and a change, for tests that tell it hundreds of times."""
        lines = COLLECTIONS[:1]
        return [lambda: self.ingest("a", 1, "first", lines), lambda: self.name(1, "Old")]

    def long(self) -> list[Callable[[], None]]:
        """Give several of a kind, that overwrite each other."""
        return [
            lambda: self.ingest("a", 1, "first"),
            lambda: self.name(1, "Old"),
            lambda: self.ingest("b", 2, "second"),
            lambda: self.label(1, "TAX"),
            lambda: self.name(1, "New"),
            lambda: self.ingest("c", 2, "third"),
            lambda: self.name(2, "Other"),
            lambda: self.remove_line(1, 2),
        ]

    def tell(self, acts: list[Callable[[], None]]) -> None:
        """Let everything happen, with deliveries in between, or, for half the seeds, after it."""
        scene = self.scene
        most = scene.chance.choice((0, 2))
        for act in acts:
            # A stream tells whole seconds only.
            scene.clock.sleep(2)
            act()
            for _ in range(scene.chance.randint(0, most)):
                scene.chance.choice(scene.sources).deliver()
        deliver_all(scene.sources, scene.clock, scene.chance)

    def ingest(
        self,
        run_id: str,
        receipt_id: int,
        text: str,
        collections: tuple[str, ...] = COLLECTIONS,
    ) -> None:
        """Write a receipt's two rows, each with a word."""
        found: dict[str, Changes] = {}
        for collection in collections:
            end = "" if collection == "lines" else "#WORD#00001"
            ids = [f"{line_id(receipt_id, line)}{end}" for line in (1, 2)]
            rows = [
                record(each, n, document=text, image_id=IMAGE, receipt_id=receipt_id)
                for n, each in enumerate(ids)
            ]
            found[collection] = Changes(upserts=rows)
            self.expected[collection] |= dict.fromkeys(ids, (text, None, None))
        self.scene.write(run_id, found, {"image_id": IMAGE, "receipt_id": str(receipt_id)})
        for collection in collections:
            self.runs[collection].add(run_id)

    def name(self, receipt_id: int, merchant: str) -> None:
        """Change the place of a receipt."""
        key = {"PK": f"IMAGE#{IMAGE}", "SK": f"RECEIPT#{receipt_id:05d}#PLACE"}
        old = self._merchants.get(receipt_id)
        before = {**key, "merchant_name": old} if old else None
        self.scene.stream.put(before, {**key, "merchant_name": merchant})
        self._merchants[receipt_id] = merchant
        for collection, rows in self.expected.items():
            self.changes[collection] += 1
            for record_id, (text, _, labels) in rows.items():
                if f"#RECEIPT#{receipt_id:05d}#" in record_id:
                    rows[record_id] = (text, merchant, labels)

    def label(self, receipt_id: int, label: str) -> None:
        """Validate a label of the word of line 1."""
        self.scene.labels.append(WordLabel(1, 1, label, "VALID", "2026-01-01", "", None))
        sort = f"{line_id(receipt_id, 1)}#WORD#00001#LABEL#{label}".partition(f"{IMAGE}#")[2]
        item = {"PK": f"IMAGE#{IMAGE}", "SK": sort, "label": label}
        before, after = {"validation_status": "PENDING"}, {"validation_status": "VALID"}
        self.scene.stream.put({**item, **before}, {**item, **after})
        for collection, end in (("lines", ""), ("words", "#WORD#00001")):
            self.changes[collection] += 1
            record_id = f"{line_id(receipt_id, 1)}{end}"
            text, merchant, _ = self.expected[collection][record_id]
            self.expected[collection][record_id] = (text, merchant, [label])

    def remove_line(self, receipt_id: int, line: int) -> None:
        """Remove a line from the table; its words stay."""
        record_id = line_id(receipt_id, line)
        sort = record_id.partition(f"{IMAGE}#")[2]
        self.scene.stream.put({"PK": f"IMAGE#{IMAGE}", "SK": sort}, None)
        del self.expected["lines"][record_id]
        self.changes["lines"] += 1

    def check(self) -> None:
        """Compare everything."""
        scene = self.scene
        assert [len(queue.dead) for queue in scene.queues.values()] == [0, 0]
        assert (scene.stream.dead, [each.next_s() for each in scene.sources]) == ([], [None] * 3)
        for collection in filter(self.expected.get, COLLECTIONS):
            rows = scene.rows(collection)
            found = {
                record_id: (
                    row.document,
                    row.metadata.get("merchant_name"),
                    row.metadata.get("valid_labels_array"),
                )
                for record_id, row in rows.items()
            }
            assert found == self.expected[collection]
            versions = [entry.version for entry in scene.producer.log(collection)]
            times = Counter(run_id for version in versions for run_id, _ in version.runs)
            assert set(times.values()) == {1}
            changes = {run_id for run_id in times if run_id.startswith("change-")}
            assert set(times) - changes == self.runs[collection]
            assert len(changes) == self.changes[collection]
            counts = scene.producer.parts.ledger.counts(collection)
            assert counts[RunState.COMPLETED] == len(times) == sum(counts.values())


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMASEAL_VAULT", "s3://bucket/vault")
    for name, url in QUEUE_URLS.items():
        monkeypatch.setenv(f"{name.upper()}_QUEUE_URL", url)


def played(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    habits: Habits,
    *,
    at: int = 0,
    landed: bool = False,
) -> FunctionsScene:
    """Tell the story, with an end of an invocation at one operation; check what comes of it."""
    handlers = (on_run_changed.handler, on_runs_waiting.handler)
    scene = FunctionsScene(folder, seed, handlers, habits)

    def here(settings: Settings) -> Equipment:
        return Equipment(scene.function, settings, lambda *_: scene.labels)

    monkeypatch.setattr(functions, "_sqs", lambda: scene.client)
    monkeypatch.setattr(on_runs_waiting, "equipment", here)
    scene.stop.plan(at, landed=landed)
    story = Story(scene)
    with pools.in_turn():
        story.tell(story.short() if at else story.long())
    raised = [*scene.telling.errors, *scene.compacting.errors]
    assert [type(error) for error in raised] == [SimulatedCrash] * bool(raised), raised
    story.check()
    return scene


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """In order and once; out of order, and some again after they were done."""
    for habits in (ORDERLY, UNRULY):
        played(tmp_path / str(habits.in_order), monkeypatch, seed, habits)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "landed"), [(0, False), (1, True)])
def test_wherever_a_function_ends(
    monkeypatch: pytest.MonkeyPatch, seed: int, *, landed: bool
) -> None:
    """At every operation on store, ledger, leases and queues in turn, before it and after it."""
    for at in itertools.count(1):
        with TemporaryDirectory(dir=SHARED_MEMORY) as folder:
            scene = played(Path(folder), monkeypatch, seed, UNRULY, at=at, landed=landed)
        if scene.stop.operations < at:
            break
        assert [*scene.telling.errors, *scene.compacting.errors]
    assert at > 50


def queue_of(answers: list[object], habits: Habits) -> tuple[Queue, list[list[str]], ManualClock]:
    """Give a queue, the bodies that its handler is given, by batch, and the time."""
    given: list[list[str]] = []
    clock = ManualClock()

    def handle(event: dict[str, list[dict[str, str]]]) -> object:
        given.append([each["body"] for each in event["Records"]])
        ids = {each["body"]: each["messageId"] for each in event["Records"]}
        failed = answers.pop(0) if answers else []
        if not isinstance(failed, list):
            raise TypeError(failed)
        return {"batchItemFailures": [{"itemIdentifier": ids.get(each, each)} for each in failed]}

    queue = Queue("q", Invocations(handle), clock, chance_of("queue"), habits)
    return queue, given, clock


def test_only_what_failed_comes_again_and_not_at_once() -> None:
    """What was answered for is gone; the rest is hidden until its time has come."""
    queue, given, clock = queue_of([["b"]], Habits(batch_size=2, visibility_s=60))
    for body in "abc":
        queue.send(body, {})
    assert [queue.deliver() for _ in range(3)] == [True, True, False]
    clock.sleep(60)
    assert queue.deliver()
    assert given == [["a", "b"], ["c"], ["b"]]
    assert queue.next_s() is None


def test_what_fails_too_often_is_a_dead_letter() -> None:
    """After as many deliveries as are allowed; an error and an unknown id count for a batch."""
    queue, given, clock = queue_of([None, ["unknown"], ["a"]], Habits(most_receives=3))
    queue.send("a", {})
    queue.send("b", {})
    deliver_all([queue], clock, chance_of("queue"))
    assert given == [["a", "b"]] * 3
    assert queue.dead == ["a"]


def test_a_stream_goes_on_from_what_failed() -> None:
    """Nothing behind it is passed by; what fails for ever is given up with what is behind it."""
    given: list[list[str]] = []

    def handle(event: dict[str, list[dict[str, dict[str, str]]]]) -> object:
        numbers = [each["dynamodb"]["SequenceNumber"] for each in event["Records"]]
        given.append([str(int(each)) for each in numbers])
        failed = [each for each in numbers if len(given) < 2 and int(each) == 2]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}

    clock = ManualClock()
    stream = Stream(Invocations(handle), clock, chance_of("stream"), Habits(batch_size=3), shards=1)
    for _ in range(4):
        stream.put(None, {"PK": "p", "SK": "s"})
    deliver_all([stream], clock, chance_of("stream"))
    assert given == [["1", "2", "3"], ["2", "3", "4"]]
    assert not stream.dead
