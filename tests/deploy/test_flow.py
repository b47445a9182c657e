"""The whole flow as events: the emulator hands each one to the function that the template names.

Deployed unmodified into ministack, whose own notifications, stream and queues call the functions.
Theirs is only a directory in place of EFS, and a package that leads to this installation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chromaseal import open_copy_from_mount
from chromaseal.adapters.pillow.sample import write_sample
from chromaseal.composition.engine import open_vault
from chromaseal.ids import SystemIds
from chromaseal.mount.layout import Layout, parse_directory_name
from chromaseal.receipts.samples import SAMPLES, SampleReceipt
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.testing.function_code import thin_package
from chromaseal.testing.servers import ministack
from chromaseal.testing.stack import Stack, deployed, waiting_messages
from chromaseal.testing.waiting import wait_until
from chromaseal.vault import Vault

pytestmark = pytest.mark.slow

NAME = f"flow-{SystemIds().unique()[:12]}"
COLLECTIONS = ("lines", "words")
FIRST, SECOND = SAMPLES[0], SAMPLES[2]
HIDDEN = f"secret-{SystemIds().unique()}"
FUNCTIONS = ("receipt-uploaded", "run-changed", "runs-waiting", "version-published")
# The emulator looks every ten seconds which schedule's time has come.
EVERY_MINUTE = "cron(* * * * ? *)"
STOCK = """
import json, sys
import chromadb

collection = chromadb.PersistentClient(sys.argv[1]).get_collection(sys.argv[2])
found = collection.get(
    where_document={"$contains": sys.argv[3]}, include=["documents", "metadatas", "embeddings"]
)
nearest = collection.query(query_embeddings=found["embeddings"], n_results=1)
print(json.dumps({
    "images": [each["image_id"] for each in found["metadatas"]],
    "itself": [each[0] for each in nearest["ids"]] == found["ids"],
    "count": collection.count(),
}))
"""


@dataclass(frozen=True)
class Flow:
    """What is there after the last event.

    Attributes:
        stack: as it was deployed.
        mount: the directory in place of EFS.
        vault: the deployed one, opened from outside.
    """

    stack: Stack
    mount: Path
    vault: Vault


def upload(stack: Stack, sample: SampleReceipt, folder: Path, called: str) -> None:
    """Put a drawn receipt into the bucket, and wait until its function has put it away."""
    image = folder / f"{sample.slug}.jpg"
    write_sample(sample, image)
    client = stack.client("s3")
    client.put_object(Bucket=NAME, Key=f"inbox/{called}", Body=image.read_bytes())

    def is_away() -> bool:
        listed = client.list_objects_v2(Bucket=NAME, Prefix="inbox/").get("Contents", [])
        return [each["Key"] for each in listed if each["Key"].endswith(f"/{called}")] == [
            f"inbox/done/{called}"
        ]

    wait_until(is_away, f"{called} in done/")


def newest_on(mount: Path) -> dict[str, int]:
    """Give the number of the newest version on the mount, by collection; 0 for none."""
    found = dict.fromkeys(COLLECTIONS, 0)
    for name in COLLECTIONS:
        current = Layout(mount, name).current
        directory = parse_directory_name(current.read_text().strip()) if current.exists() else None
        found[name] = directory.id.number if directory else 0
    return found


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """Give what is there after an image, the same once more, and another one."""
    folder = tmp_path_factory.mktemp("flow")
    mount, disks = folder / "mount", folder / "disks"
    mount.mkdir()
    disks.mkdir()
    # An emulator of its own: it keeps functions' processes until it ends itself.
    with ministack(folder / "ministack") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        secrets = {"AWS_SECRET_ACCESS_KEY": HIDDEN, "AWS_SESSION_TOKEN": HIDDEN[::-1]}
        given = {"AWS_ALLOW_HTTP": "true", "CHROMASEAL_MOUNT": str(mount), **secrets}
        code = thin_package(disks, given)
        with deployed(server, NAME, code, UpkeepSchedule=EVERY_MINUTE) as stack:
            upload(stack, FIRST, folder, "first.jpg")
            both = dict.fromkeys(COLLECTIONS, 1)
            wait_until(lambda: newest_on(mount) == both, "first version on the mount")
            upload(stack, FIRST, folder, "first again.jpg")
            upload(stack, SECOND, folder, "second.jpg")
            wait_until(lambda: min(newest_on(mount).values()) > 1, "later version on the mount")
            wait_until(lambda: not any(waiting_messages(stack).values()), "queue that is empty")
            places = (stack.outputs["Vault"], stack.outputs["Ledger"])
            vault = open_vault(Settings(*places, folder / "cache"))
            yield Flow(stack, mount, vault)
            vault.close()


@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize("word", ["SOURDOUGH", "ROLLER"])
def test_a_stock_client_finds_the_receipts(
    flow: Flow, tmp_path: Path, collection: str, word: str
) -> None:
    """On a private copy of what is on the mount, by text and by vector."""
    copy = tmp_path / "copy"
    open_copy_from_mount(flow.mount, collection, copy)
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(copy), collection, word], check=True, capture_output=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    assert len(set(answer["images"])) == 1, answer
    assert answer["itself"], answer


def test_an_image_that_was_uploaded_again_adds_nothing(flow: Flow) -> None:
    """Three uploads of two images are two runs, each in one version of each collection, once."""
    runs = flow.vault.parts.ledger.newest()
    assert len(runs) == 2
    for name in COLLECTIONS:
        assert {run.parts[name].state for run in runs} == {RunState.COMPLETED}
        versions = [flow.vault.version(name, at=number) for number in (1, 2)]
        merged = [run.run_id for version in versions for run in version.manifest.runs]
        assert sorted(merged) == sorted(run.run_id for run in runs)
        assert flow.vault.version(name).manifest.number == 2
        assert not flow.vault.verify(name).failed


def test_nothing_is_left_anywhere(flow: Flow) -> None:
    """No message in a queue, seen or unseen, none among the dead letters, no event given up."""
    assert waiting_messages(flow.stack) == dict.fromkeys(
        ("LinesQueue", "WordsQueue", "LinesDeadLetters", "WordsDeadLetters", "FailedEvents"), 0
    )


def test_no_credential_is_in_a_log(flow: Flow) -> None:
    """Every function was called by an event, and none has failed or told a secret."""
    logs = flow.stack.client("logs")
    for name in FUNCTIONS:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{NAME}-on-{name}")["events"]
        lines = [each["message"] for each in found]
        assert sum(line.startswith("REPORT") for line in lines) >= 2, name
        assert not [line for line in lines if HIDDEN in line or HIDDEN[::-1] in line]
        told = [json.loads(line) for line in lines if line.startswith("{")]
        assert not [line for line in told if line.get("level") in {"ERROR", "CRITICAL"}]
        assert not [line for line in lines if "Traceback" in line]


@pytest.mark.timeout(330)
def test_the_schedule_calls_its_function_by_itself(flow: Flow) -> None:
    """Each work in an invocation of its own, at both collections, and none of them fails."""
    logs = flow.stack.client("logs")

    def told() -> list[dict[str, Any]]:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{NAME}-on-schedule")["events"]
        lines = [each["message"] for each in found]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def works() -> dict[str, set[str]]:
        by_work: dict[str, set[str]] = {
            "swept": set(),
            "verified": set(),
            "garbage collected": set(),
        }
        for line in told():
            if line.get("message") in by_work:
                by_work[line["message"]].add(line.get("collection", ""))
        return by_work

    both = set(COLLECTIONS)
    wanted = {"swept": {""}, "verified": both, "garbage collected": both}
    # Up to a minute until it is time, and then the work, on a machine that has other work.
    wait_until(lambda: works() == wanted, "work of the schedule", patience_s=300.0, look_s=1.0)
    invocations = {each["function_request_id"] for each in told() if "function_request_id" in each}
    assert len(invocations) >= len(wanted)
    assert not [line for line in told() if line.get("level") in {"ERROR", "CRITICAL"}]
    assert waiting_messages(flow.stack)["FailedEvents"] == 0
