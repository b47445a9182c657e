"""COMPACTION_RUNs that producers of the existing pipeline write are compacted by our worker."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.formats.legacy_pipeline import OldBucket, OldWriter, make_directory, run_item

from chromaseal.adapters.dynamodb import items
from chromaseal.adapters.dynamodb.legacy_runs import legacy_run_of, legacy_runs
from chromaseal.adapters.dynamodb.place import parse
from chromaseal.adapters.dynamodb.table import Table, connect
from chromaseal.adapters.local.object_store import ForeignDirectory
from chromaseal.clock import SystemClock
from chromaseal.composition import functions
from chromaseal.composition.engine import open_vault
from chromaseal.composition.legacy import adopter, adopting, open_legacy
from chromaseal.entrypoints.functions import on_schedule
from chromaseal.errors import Incomplete, UsageError
from chromaseal.fleet.turn import Terms
from chromaseal.ids import SystemIds
from chromaseal.legacy.adoption import adopt_runs
from chromaseal.legacy.deltas import Adopted, LegacyRun
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.stream.batch import work_off
from chromaseal.stream.messages import Message
from chromaseal.stream.translation import TableChange, messages_of
from chromaseal.testing.command_line import Answer, chromaseal
from chromaseal.testing.handling import URL, RecordedQueues, context
from chromaseal.testing.records import record
from chromaseal.vault import Vault

IMAGE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
RUNS = [f"0f0e0d0c-0b0a-4908-8706-05040302010{n}" for n in range(6)]
NAMES = ("lines", "words")
BEGAN = "2026-11-23T11:00:00+00:00"


@dataclass
class Scene:
    """A table, the bucket beside it, and a vault that takes over what producers leave there.

    Attributes:
        folder: for everything that is on disk.
        url: of the ledger in the table.
        table: as another program has it.
        place: what the pipeline's bucket is copied to.
        old: the bucket as producers write to it.
    """

    folder: Path
    url: str
    table: Any
    place: Path
    old: OldBucket

    @property
    def settings(self) -> Settings:
        """Say where vault and ledger are."""
        return Settings((self.folder / "vault").as_uri(), self.url, self.folder / "cache")

    def leave(self, run_id: str, *, upload: str = "", **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        """Upload two deltas, then put the run into the table, as producers do."""
        prefixes = {}
        for name in ("lines", "words"):
            directory = self.folder / f"{name}-{run_id}"
            if not directory.exists():
                records = [record(f"{name}-{run_id}", 1, image_id=IMAGE, receipt_id=1)]
                make_directory(directory, name, records)
            prefixes[name] = OldWriter(self.old).delta(name, run_id, directory, upload=upload)
        began = fields.pop("created_at", BEGAN)
        item = run_item(run_id, IMAGE, prefixes, created_at=began, **fields)
        self.table.put_item(Item=item)
        return item

    def read(self, run_id: str) -> dict[str, Any]:
        """Give a run as other programs read it."""
        key = {"PK": f"IMAGE#{IMAGE}", "SK": f"RECEIPT#00001#COMPACTION_RUN#{run_id}"}
        item: dict[str, Any] = self.table.get_item(Key=key, ConsistentRead=True)["Item"]
        return item

    def look(self, **options: Any) -> list[LegacyRun]:  # noqa: ANN401
        """Give the runs that wait in the table."""
        place = parse(self.url)
        with closing(Table(place, connect(place), clock=SystemClock(), ids=SystemIds())) as opened:
            return list(legacy_runs(opened, **options))

    def adopt(self, vault: Vault, runs: list[LegacyRun]) -> list[Adopted]:
        """Take runs over."""
        return list(adopt_runs(vault.parts, open_legacy(str(self.place), vault.parts.ids), runs))

    def command(self, *arguments: str) -> Answer:
        """Run a command on the vault; it ends well."""
        options = ("--vault", str(self.folder / "vault"), "--ledger", self.url, "--json")
        answer = chromaseal(*arguments, *options, cache=self.folder / "cache")
        assert answer.exit_code == 0, answer.errors
        return answer


@pytest.fixture
def scene(tmp_path: Path, dynamodb_url: str, table: Any) -> Scene:  # noqa: ANN401
    """Give an empty table and an empty bucket."""
    place = tmp_path / "bucket"
    place.mkdir()
    bucket = OldBucket(ForeignDirectory(place, ids=SystemIds()))
    return Scene(tmp_path, dynamodb_url, table, place, bucket)


def test_a_run_is_taken_over_in_its_own_item(scene: Scene) -> None:
    """Other programs go on reading it, with what they wrote; what is done is left alone."""
    written = scene.leave(RUNS[0])
    scene.leave(RUNS[1], states={"lines": "COMPLETED"})
    done = scene.leave(RUNS[2], states={"lines": "COMPLETED", "words": "FAILED"})
    with open_vault(scene.settings) as vault:
        found = scene.look()
        assert {each.run_id for each in found} == {RUNS[0], RUNS[1]}
        assert [each.status for each in scene.adopt(vault, found)] == ["adopted"] * 2
        assert scene.look() == []
        assert [each.status for each in scene.adopt(vault, found)] == ["known"] * 2
        run = vault.run(RUNS[0])
        assert (run.created_at, run.attributes["image_id"]) == (
            "2026-11-23T11:00:00.000000Z",
            IMAGE,
        )
        item = scene.read(RUNS[0])
        own = {"parts", "format", "attributes", "created_at"}
        assert {k: v for k, v in item.items() if k not in own} == {
            k: v for k, v in written.items() if k not in own
        }
        merged = {name: done.merged for done in vault.compact() for name in [done.collection]}
        assert merged == {"lines": (RUNS[0],), "words": (RUNS[0], RUNS[1])}
    item = scene.read(RUNS[0])
    assert (item["lines_state"], item["words_merged_vectors"]) == ("COMPLETED", 1)
    assert (scene.read(RUNS[1])["lines_state"], scene.read(RUNS[2])) == ("COMPLETED", done)


def test_a_table_that_lost_what_finds_a_run_gets_it_again(scene: Scene) -> None:
    """The run's own item is the ledger's by then, whatever state it says."""
    scene.leave(RUNS[0])
    with open_vault(scene.settings) as vault:
        scene.adopt(vault, scene.look())
        vault.compact(["lines"])
        before = vault.run(RUNS[0])
        scene.table.delete_item(Key=items.name_key(RUNS[0]))
        assert vault.parts.ledger.get(RUNS[0]) is None
        assert vault.parts.ledger.add(before)
        assert vault.run(RUNS[0]) == before
        assert before.parts["lines"].state is RunState.COMPLETED
        vault.compact(["words"])
    assert scene.read(RUNS[0])["words_state"] == "COMPLETED"


def test_what_the_old_compactor_lost_is_named(scene: Scene) -> None:
    """COMPLETED in the table, and not in the snapshot; where it is, nothing is said."""
    both = {"lines": "COMPLETED", "words": "COMPLETED"}
    began = SystemClock().now().isoformat()
    for run_id in RUNS[:3]:
        scene.leave(run_id, states=both, created_at=began)
    scene.old.store.delete(f"words/delta/{RUNS[2]}/delta.tar.gz")
    for name in ("lines", "words"):
        directory = scene.folder / f"{name}-{RUNS[0]}"
        OldWriter(scene.old).snapshot(name, "20261101_000000", directory, compressed=True)
    (found,) = scene.command("import", "--from", str(scene.place)).only("run")
    assert (found["run_id"], found["status"]) == (RUNS[1], "missing")
    assert found["records"] == {"lines": 1, "words": 1}


def test_only_what_can_be_read_is_taken(scene: Scene) -> None:
    """Items of another kind, keys of another form and old runs are passed over."""
    prefixes = {"lines": "lines/delta/x/", "words": "words/delta/x/"}
    item = run_item(RUNS[0], IMAGE, prefixes, created_at=BEGAN)
    assert legacy_run_of(item) is not None
    for field, value in (("TYPE", "IMAGE"), ("SK", "RECEIPT#1"), ("parts", {})):
        assert legacy_run_of({**item, field: value}) is None
    for number, began in enumerate(("2025-01-01T00:00:00", "2026-11-23T11:00:00")):
        scene.table.put_item(Item=run_item(RUNS[number], IMAGE, prefixes, created_at=began))
    since = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert [each.run_id for each in scene.look(since=since)] == [RUNS[1]]
    assert len(scene.look()) == 2


def test_what_others_have_merged_meanwhile_is_refused(scene: Scene) -> None:
    """The table decides, by a condition, not what was read of it before."""
    scene.leave(RUNS[0])
    with open_vault(scene.settings) as vault:
        (run,) = scene.look()
        item = scene.leave(RUNS[0], states={"lines": "COMPLETED"})
        (done,) = scene.adopt(vault, [run])
        assert done.error is not None
        assert (done.status, done.error.kind) == ("refused", "foreign-run")
        assert vault.parts.ledger.counts("lines")[RunState.PENDING] == 0
        # Its deltas are in the vault by now. They are told of, and stop no sweep.
        swept = vault.rebuild_ledger()
        assert any(RUNS[0] in why for why in swept.left)
    assert scene.read(RUNS[0]) == item


def told_by_the_stream(item: dict[str, Any]) -> dict[str, Message]:
    """Give the messages of an item that a producer has put."""
    key = (str(item["PK"]), str(item["SK"]))
    change = TableChange("INSERT", *key, None, item, "event", "1", 1_764_352_800, "us-east-1")
    return {each.collection: each for each in messages_of(change)}


def test_what_messages_tell_of_is_taken_over_and_merged(scene: Scene) -> None:
    """Told once or twice, of a run, of one half of which the old compactor has merged, of none."""
    terms = Terms("me", 10.0)
    told: list[str] = []
    with open_vault(scene.settings) as vault:
        adopt = adopting(
            vault, scene.settings, str(scene.place), lambda done: told.append(done.status)
        )

        def deliver(messages: Mapping[str, Message]) -> dict[str, str]:
            batch = work_off(vault, messages, terms, labels_of=lambda *_: (), adopt=adopt)
            return {key: error.kind for key, error in batch.left.items()}

        messages = told_by_the_stream(scene.leave(RUNS[0]))
        assert set(messages) == {"lines", "words"}
        for _ in range(2):
            assert deliver(messages) == {}
        half = scene.leave(RUNS[1])
        half_told = told_by_the_stream(half)
        scene.leave(RUNS[1], states={"lines": "COMPLETED"})
        assert deliver(half_told) == {}
        assert deliver({"lines": half_told["lines"]}) == {}
        never = told_by_the_stream({**half, "SK": f"RECEIPT#00001#COMPACTION_RUN#{RUNS[2]}"})
        assert deliver(never) == {"lines": "foreign-run", "words": "foreign-run"}
        assert told == ["adopted", "adopted"]
        versions = {name: vault.version(name).manifest for name in ("lines", "words")}
        assert {n: each.records.count for n, each in versions.items()} == {"lines": 1, "words": 2}
        assert {n: each.number for n, each in versions.items()} == {"lines": 1, "words": 2}
    item = scene.read(RUNS[0])
    assert {item["lines_state"], item["words_state"]} == {"COMPLETED"}


def test_a_delta_that_cannot_be_taken_over_is_delivered_again(scene: Scene) -> None:
    """With the reason, and it stops no other; without a bucket none is taken over."""
    terms = Terms("me", 10.0)
    good = told_by_the_stream(scene.leave(RUNS[0]))
    bad = told_by_the_stream(scene.leave(RUNS[1]))
    damaged = [each for each in scene.place.rglob("*") if each.is_file() and RUNS[1] in str(each)]
    assert damaged
    for file in damaged:
        file.write_bytes(b"nothing of the kind")
    messages = {"good": good["lines"], "bad": bad["lines"]}
    with open_vault(scene.settings) as vault:
        batch = work_off(vault, messages, terms, labels_of=lambda *_: ())
        assert {error.kind for error in batch.left.values()} == {"foreign-run"}
        adopt = adopting(vault, scene.settings, str(scene.place), lambda _: None)
        batch = work_off(vault, messages, terms, labels_of=lambda *_: (), adopt=adopt)
        assert set(batch.left) == {"bad"}
        assert RUNS[1] in batch.left["bad"].message
        assert [done.merged for done in batch.done] == [(RUNS[0],)]


def test_the_schedule_takes_over_what_no_message_tells_of(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of the stream was lost: its run is told to the queues, once; a bad one is named."""
    recorded = RecordedQueues()
    monkeypatch.setattr(functions, "_sqs", lambda: recorded)
    monkeypatch.setenv("CHROMASEAL_VAULT", str(scene.folder / "vault"))
    for name in ("lines", "words"):
        monkeypatch.setenv(f"{name.upper()}_QUEUE_URL", f"{URL}/{name}")
    began = (SystemClock().now() - dt.timedelta(hours=2)).isoformat()
    work = {"work": ["adopt"]}
    with open_vault(scene.settings) as vault:
        known = functions.Equipment(vault, scene.settings, lambda *_: ())
        monkeypatch.setattr(on_schedule, "equipment", lambda *_, **__: known)
        scene.leave(RUNS[0], created_at=began)
        on_schedule.handler(work, context())
        assert recorded.sent == {}
        assert vault.parts.ledger.get(RUNS[0]) is None
        monkeypatch.setenv("CHROMASEAL_ADOPT_FROM", str(scene.place))
        on_schedule.handler(work, context())
        told = {name: [json.loads(e["MessageBody"]) for e in recorded.sent[name]] for name in NAMES}
        assert {n: [e["entity_data"]["run_id"] for e in told[n]] for n in told} == {
            name: [RUNS[0]] for name in NAMES
        }
        vault.compact()
        recorded.sent.clear()
        on_schedule.handler(work, context())
        assert recorded.sent == {}
        scene.leave(RUNS[1], created_at=began)
        for file in scene.place.rglob("*"):
            if file.is_file() and RUNS[1] in str(file):
                file.write_bytes(b"nothing of the kind")
        scene.leave(RUNS[2], created_at=began)
        with pytest.raises(Incomplete, match="adopt: upkeep-failed"):
            on_schedule.handler(work, context())
        # It stops no other.
        assert [run.run_id for run in vault.parts.ledger.waiting("lines")] == [RUNS[2]]


@pytest.mark.slow
def test_a_worker_merges_what_producers_leave(scene: Scene) -> None:
    """Both forms of a delta, by the command that stays; and an import leaves nothing to it."""
    now = SystemClock().now()
    scene.leave(RUNS[0], created_at=now.isoformat())
    imported = scene.command("import", "--from", str(scene.place))
    assert [each["status"] for each in imported.only("run")] == ["adopted"]
    scene.leave(RUNS[1], upload="0a" * 16, created_at=now.isoformat())
    worked = scene.command("worker", "--once", "--adopt-from", str(scene.place))
    assert [each["run_id"] for each in worked.only("adopted")] == [RUNS[1]]
    merged = {run_id for each in worked.only("compaction") for run_id in each["merged"]}
    assert merged == {RUNS[0], RUNS[1]}
    for run_id in RUNS[:2]:
        item = scene.read(run_id)
        assert {item["lines_state"], item["words_state"]} == {"COMPLETED"}
    assert scene.command("doctor").exit_code == 0


def test_only_the_table_tells_which_deltas_are_complete(vault: Vault, tmp_path: Path) -> None:
    """Without it nobody waits for producers."""
    settings = Settings(vault.url, "memory://", tmp_path / "cache")
    terms = Terms("me", 10.0)
    with pytest.raises(UsageError) as caught:
        adopter(vault, settings, str(tmp_path), terms, lambda _: None)
    assert caught.value.kind == "needs-dynamodb"
