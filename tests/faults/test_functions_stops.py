"""The functions of uploads, mounts and the schedule, ended at each operation in turn.

``test_functions_deliveries`` has those of stream and queues. Whoever is called again finds what is
done, and does the rest: nothing is lost, and nothing is there twice.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest

from chromaseal import keys, open_copy_from_mount, pools
from chromaseal.adapters.obstore.inbox import InboxBucket, ObstoreInbox
from chromaseal.adapters.pillow.sample import write_sample
from chromaseal.adapters.rapidfuzz.text_similarity import RapidFuzzSimilarity
from chromaseal.composition import fleet
from chromaseal.composition import functions as composed
from chromaseal.composition.functions import Equipment
from chromaseal.composition.receipts import DEFAULT_MODEL, embedder, image_decoder, page_worker
from chromaseal.delta.model import Changes
from chromaseal.entrypoints.functions import (
    on_receipt_uploaded,
    on_run_changed,
    on_runs_waiting,
    on_schedule,
    on_version_published,
)
from chromaseal.errors import NotFound
from chromaseal.object_store import StoredObject
from chromaseal.receipts.image import inspect_image
from chromaseal.receipts.ingest import Ingest, Tools
from chromaseal.receipts.page_work import PageResult
from chromaseal.receipts.samples import SAMPLES
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.testing.aws_deliveries import Habits, Invocations, deliver_all
from chromaseal.testing.aws_events import bucket_event
from chromaseal.testing.faults import SimulatedCrash
from chromaseal.testing.functions_scene import QUEUE_URLS, FunctionsScene
from chromaseal.testing.records import record
from chromaseal.testing.simulation.dictionary import read_rows
from chromaseal.testing.simulation.episode import SHARED_MEMORY
from chromaseal.testing.simulation.memory import MemoryStore
from chromaseal.testing.simulation.memory_ledger import MemoryLedger
from chromaseal.vault import Vault
from chromaseal.writing import Writing

HABITS = Habits(batch_size=3)
LANDED = pytest.mark.parametrize("landed", [False, True])
IMAGE = "receipt.jpg"
LONG_AGO = dt.timedelta(minutes=31)
# Before it calls a function again that has failed; a lease is shorter.
LAMBDA_WAITS_S = 60
POINTER = "vault/lines/snapshot/latest-pointer.txt"


class Inbox(MemoryStore):
    """A prefix that others have put an image into."""

    def get(self, key: str) -> StoredObject:
        """Read an object of any name."""
        found = self.objects.get(key)
        if found is None:
            raise NotFound(f"there is no {key}", kind="no-object")
        return found

    def state(self, key: str) -> str:
        """Give what one object looks like; empty where there is none."""
        found = self.objects.get(key)
        return found.etag if found else ""


Scenes = Callable[[Path], FunctionsScene]


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> Scenes:
    """Give what makes scenes whose functions every handler works with."""
    for name, url in QUEUE_URLS.items():
        monkeypatch.setenv(f"{name.upper()}_QUEUE_URL", url)
    monkeypatch.setenv("CHROMASEAL_VAULT", "s3://bucket/vault")

    def scene_in(folder: Path) -> FunctionsScene:
        handlers = (on_run_changed.handler, on_runs_waiting.handler)
        scene = FunctionsScene(folder, 0, handlers, HABITS)

        def here(settings: Settings, **_: Any) -> Equipment:  # noqa: ANN401 - as the real one
            return Equipment(scene.function, settings, lambda *_: ())

        modules = (on_runs_waiting, on_schedule, on_version_published, on_receipt_uploaded)
        for module in modules:
            monkeypatch.setattr(module, "equipment", here)
        monkeypatch.setattr(composed, "_sqs", lambda: scene.client)
        return scene

    return scene_in


@contextlib.contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Give a folder that costs no disk its time."""
    with TemporaryDirectory(dir=SHARED_MEMORY) as folder, pools.in_turn():
        yield Path(folder)


def ends(scene: FunctionsScene, handler: Any, event: Any, *, at: int, landed: bool) -> bool:  # noqa: ANN401
    """Call a function, which ends at an operation, and then again; tell whether it did end."""
    calls: Invocations = scene.invocations(handler)
    scene.stop.plan(scene.stop.operations + at, landed=landed)
    calls.failed(event, ["event"])
    has_ended = [type(error) for error in calls.errors] == [SimulatedCrash]
    assert has_ended or not calls.errors, calls.errors
    scene.stop.plan(0, landed=False)
    for _ in range(2):
        scene.clock.sleep(LAMBDA_WAITS_S)
        assert not calls.failed(event, ["event"]), calls.errors
    return has_ended


def write_line(scene: FunctionsScene, name: str) -> None:
    """Let a run of one line wait."""
    scene.write(name, {"lines": Changes(upserts=[record(name)])}, {})


@pytest.mark.slow
@LANDED
def test_wherever_the_schedule_ends(
    scenes: Scenes, monkeypatch: pytest.MonkeyPatch, *, landed: bool
) -> None:
    """What was lost is found, what nobody was told of is told, and garbage alone is collected."""
    monkeypatch.setenv("CHROMASEAL_KEEP_DAYS", "0")
    for at in itertools.count(1):
        with folder_in_memory() as folder:
            scene = scenes(folder)
            names = ["a", "b", "lost", "untold"]
            for name in names[:2]:
                write_line(scene, name)
                scene.producer.compact(["lines"])
            elsewhere = replace(scene.producer.parts, ledger=cast("Any", MemoryLedger()))
            Writing(elsewhere).write(
                {"lines": Changes(upserts=[record("lost")])},
                model=None,
                run_id="lost",
                attributes={},
                space="",
                stored_wins=False,
            )
            write_line(scene, "untold")
            # Told, and forgotten: nothing of it is in stream or queues.
            deliver_all(scene.sources[:1], scene.clock, scene.chance)
            scene.queues[QUEUE_URLS["lines"]].purge()
            scene.clock.sleep(LONG_AGO.total_seconds())
            has_ended = ends(scene, on_schedule.handler, {}, at=at, landed=landed)
            deliver_all(scene.sources, scene.clock, scene.chance)
            assert sorted(scene.rows("lines")) == names
            log = list(scene.producer.log("lines"))
            runs = [run_id for entry in log for run_id, _ in entry.version.runs]
            assert sorted(runs) == names
            assert (log[0].removed, log[-1].removed) == (False, True)
            counts = scene.producer.parts.ledger.counts("lines")
            assert counts[RunState.COMPLETED] == len(names) == sum(counts.values())
            assert not scene.producer.verify("lines").failed
        if not has_ended:
            break
    assert at > 30


@pytest.mark.slow
@LANDED
def test_wherever_a_sync_ends(
    scenes: Scenes, monkeypatch: pytest.MonkeyPatch, *, landed: bool
) -> None:
    """A reader of the mount finds the old version or the new one, and then the new one."""
    for at in itertools.count(1):
        with folder_in_memory() as folder:
            scene, mount = scenes(folder), folder / "mount"
            mount.mkdir()
            monkeypatch.setenv("CHROMASEAL_MOUNT", str(mount))
            write_line(scene, "a")
            scene.producer.compact(["lines"])
            event = bucket_event("bucket", [POINTER])
            assert not scene.invocations(on_version_published.handler).failed(event, ["event"])
            write_line(scene, "b")
            scene.producer.compact(["lines"])
            has_ended = ends(scene, on_version_published.handler, event, at=at, landed=landed)
            copy = folder / "copy"
            version = open_copy_from_mount(mount, "lines", copy)
            assert version.manifest.number == 2
            assert sorted(read_rows(copy)[1]) == ["a", "b"]
        if not has_ended:
            break
    assert at > 3


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a drawn receipt."""
    path = tmp_path_factory.mktemp("image") / IMAGE
    write_sample(SAMPLES[0], path)
    return path


@pytest.fixture(scope="module")
def read(image: Path) -> PageResult:
    """Give what is read off it; reading takes longer than all else of a test."""
    worker = page_worker("rapidocr", "minilm")
    return worker.work(inspect_image(image, image_decoder()), 1, None)


def opened_with(
    tools: Tools, vault: Vault, **_: object
) -> contextlib.AbstractContextManager[Ingest]:
    """Give what ingests with tools that are there already."""
    return contextlib.nullcontext(Ingest(vault, tools))


def inbox_of(bucket: InboxBucket, _place: str, **named: Any) -> ObstoreInbox:  # noqa: ANN401
    """Give the named images of a bucket, whatever it is called."""
    return ObstoreInbox(bucket, named["names"])


@pytest.mark.slow
@LANDED
def test_wherever_an_upload_ends(
    scenes: Scenes,
    monkeypatch: pytest.MonkeyPatch,
    image: Path,
    read: PageResult,
    *,
    landed: bool,
) -> None:
    """One run with the same records, one original, and the image is put away once."""
    tools = Tools(
        decoder=image_decoder(),
        work=lambda *_: read,
        workers=1,
        engine="rapidocr 0",
        model=embedder(DEFAULT_MODEL).pin,
        similarity=RapidFuzzSimilarity(),
        memory=None,
    )
    found: set[str] = set()
    for at in itertools.count(1):
        with folder_in_memory() as folder:
            scene, inbox = scenes(folder), Inbox()
            inbox.create(IMAGE, image.read_bytes())
            door = cast("InboxBucket", scene.stop.door(inbox))
            opened = functools.partial(opened_with, tools)
            monkeypatch.setattr(fleet, "open_ingest", opened)
            monkeypatch.setattr(fleet, "open_inbox", functools.partial(inbox_of, door))
            event = bucket_event("bucket", [f"inbox/{IMAGE}"])
            has_ended = ends(scene, on_receipt_uploaded.handler, event, at=at, landed=landed)
            assert list(inbox.objects) == [f"done/{IMAGE}"]
            (run,) = scene.producer.parts.ledger.newest()
            assert {part.state for part in run.parts.values()} == {RunState.PENDING}
            assert set(run.parts) == {"lines", "words"}
            found.add(stored(scene))
        if not has_ended:
            break
    assert at > 15
    assert len(found) == 1


def stored(scene: FunctionsScene) -> str:
    """Give the objects of a vault, and what its deltas have, without times."""
    store, codec = scene.producer.parts.store, scene.producer.parts.codec
    listed = sorted(info.key for info in store.list(""))
    deltas = [codec.decode(store.get(key).body) for key in listed if keys.parse_delta(key)]
    ids = [sorted(delta.upserts.ids) for delta in deltas]
    return json.dumps([listed, ids])
