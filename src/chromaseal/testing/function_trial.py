"""All functions, each in a process of its own, one after the other: from an image to the mount."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3

from chromaseal import keys
from chromaseal.adapters.pillow.sample import write_sample
from chromaseal.clock import SystemClock
from chromaseal.mount.layout import Layout
from chromaseal.receipts.samples import SAMPLES
from chromaseal.testing.aws_events import bucket_event, queue_record, stream_record
from chromaseal.testing.dynamodb import REGION, make_table
from chromaseal.testing.runtime_api import RuntimeApi, runtime_api
from chromaseal.testing.servers import S3Server
from chromaseal.testing.stack import client_of

# Starts a handler's process with these variables; it asks AWS_LAMBDA_RUNTIME_API for events.
Start = Callable[[str, Mapping[str, str]], AbstractContextManager[object]]
COLLECTIONS: Final = ("lines", "words")
_IMAGE: Final = "inbox/receipt.jpg"
_PACKAGE: Final = "chromaseal.entrypoints.functions"


@dataclass(frozen=True, slots=True)
class Trial:
    """Where the functions work, and what starts them.

    Attributes:
        start: starts one.
        server: ministack, with a bucket of its own.
        folder: theirs alone; anybody may write there.
        name: of table and vault.
    """

    start: Start
    server: S3Server
    folder: Path
    name: str

    @property
    def mount(self) -> Path:
        """Where versions are published to."""
        return self.folder / "mount"

    def run(self) -> Iterator[tuple[str, Any]]:
        """Hand each function the event that the ones before it have caused; give the answers."""
        environment = self._prepare()
        uploaded = bucket_event(self.server.bucket, [self._upload()])
        yield self._invoke("on_receipt_uploaded", uploaded, environment)
        yield self._invoke("on_run_changed", self._stream(), environment)
        for collection in COLLECTIONS:
            yield self._invoke("on_runs_waiting", self._queue(collection), environment)
        pointers = [f"{self.name}/{keys.pointer(each)}" for each in COLLECTIONS]
        published = bucket_event(self.server.bucket, pointers)
        yield self._invoke("on_version_published", published, environment)
        yield self._invoke("on_schedule", {}, environment)

    def synced(self) -> list[str]:
        """Give the collections of which a version is on the mount."""
        return [each for each in COLLECTIONS if Layout(self.mount, each).current.exists()]

    def _prepare(self) -> dict[str, str]:
        for each in (self.folder, self.mount, self.folder / "tmp"):
            each.mkdir(exist_ok=True)
            each.chmod(stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)
        sqs = client_of(self.server, "sqs")
        queues = {
            f"{each.upper()}_QUEUE_URL": sqs.create_queue(QueueName=f"{self.name}-{each}")[
                "QueueUrl"
            ]
            for each in COLLECTIONS
        }
        return {
            **self.server.environment(),
            **queues,
            "AWS_ENDPOINT_URL": self.server.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "CHROMASEAL_VAULT": self.server.url(self.name),
            "CHROMASEAL_LEDGER": make_table(self.server, self.name),
            "CHROMASEAL_CACHE": str(self.folder / "tmp/chromaseal"),
            "CHROMASEAL_MOUNT": str(self.mount),
            "POWERTOOLS_METRICS_NAMESPACE": "EmbeddingWorkflow",
            "POWERTOOLS_SERVICE_NAME": "trial",
            "TMPDIR": str(self.folder / "tmp"),
        }

    def _invoke(
        self, name: str, event: Mapping[str, Any], environment: Mapping[str, str]
    ) -> tuple[str, Any]:
        with (
            runtime_api() as api,
            self.start(f"{_PACKAGE}.{name}.handler", _with(environment, api)),
        ):
            answer = api.invoke(event)
            api.end()
            return name, answer

    def _upload(self) -> str:
        image = self.folder / "receipt.jpg"
        write_sample(SAMPLES[0], image)
        client_of(self.server, "s3").put_object(
            Bucket=self.server.bucket, Key=_IMAGE, Body=image.read_bytes()
        )
        return _IMAGE

    def _stream(self) -> dict[str, Any]:
        resource: Any = boto3.resource(
            "dynamodb",
            endpoint_url=self.server.endpoint,
            region_name=REGION,
            aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key,
        )
        items = resource.Table(self.name).scan()["Items"]
        now_s = SystemClock().now().timestamp()
        return {
            "Records": [
                stream_record(None, item, number=number, created_s=now_s)
                for number, item in enumerate(items, 1)
            ]
        }

    def _queue(self, collection: str) -> dict[str, Any]:
        sqs = client_of(self.server, "sqs")
        url = sqs.get_queue_url(QueueName=f"{self.name}-{collection}")["QueueUrl"]
        found = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages", [])
        return {"Records": [_delivered(each) for each in found]}


def _delivered(message: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {k: each["StringValue"] for k, each in message["MessageAttributes"].items()}
    return queue_record(message["MessageId"], message["Body"], attributes)


def _with(environment: Mapping[str, str], api: RuntimeApi) -> dict[str, str]:
    return {**environment, "AWS_LAMBDA_RUNTIME_API": api.address}
