"""An emulator, a vault of a size in it, and processes of functions whose requests are counted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from bench.costs.answering import Answering
from bench.data import fresh_copy, make_directory
from bench.records import DIMENSION, make_records
from chromaseal.composition.engine import open_vault
from chromaseal.composition.receipts import DEFAULT_MODEL, embedder
from chromaseal.delta.model import Changes
from chromaseal.pin import CollectionPin, pin_collection
from chromaseal.settings import Settings
from chromaseal.testing.dynamodb import REGION, make_table
from chromaseal.testing.programs import LOOPBACK
from chromaseal.testing.servers import S3Server, ministack
from chromaseal.testing.stack import client_of
from chromaseal.vault import Vault

Counts: TypeAlias = dict[str, float]
# What a receipt has, and so what both collections have to each other.
RECORDS_PER_RECEIPT = {"words": 60, "lines": 15}
_SHARE = RECORDS_PER_RECEIPT["words"] // RECORDS_PER_RECEIPT["lines"]
_TABLE = "chromaseal"
# 4 kB of a directory, in a vault, a mount, and what seven functions and the old way keep of it.
_BYTES_PER_RECORD = 80_000


@dataclass
class Function:
    """A process of a function, with a disk and a log of its own.

    Attributes:
        log: the lines that it has written.
    """

    log: Path
    _process: Answering
    _counting: Answering

    def call(self, event: Mapping[str, Any]) -> tuple[Counts, Any]:
        """Hand it an event; give what that took, and the answer."""
        before, written = self._counts(), self.log.stat().st_size
        told = json.loads(self._process.ask(json.dumps(event)))
        after = self._counts()
        took = {name: after[name] - before.get(name, 0) for name in after}
        took |= {**told["took"], "log_bytes": self.log.stat().st_size - written}
        return {name: value for name, value in took.items() if value}, told["answer"]

    def _counts(self) -> Counts:
        return dict(json.loads(self._counting.ask("")))


@dataclass
class Scene:
    """What is under measurement.

    Attributes:
        vault: the same as the functions', whose requests are not counted.
        server: the emulator.
        endpoint: by which functions ask it, and are counted.
        folder: for their disks and logs.
        mount: the directory in place of EFS.
        written: how many receipts were written so far.
    """

    vault: Vault
    server: S3Server
    endpoint: str
    folder: Path
    mount: Path
    first: Mapping[str, int]
    _counting: Answering
    _held: ExitStack
    written: int = 0

    def function(self, name: str) -> Function:
        """Begin a process of a function."""
        disk = Path(tempfile.mkdtemp(dir=self.folder))
        log = disk / "log"
        service = {"POWERTOOLS_SERVICE_NAME": name.replace("_", "-")}
        environment = {**os.environ, **self._environment(disk), **service}
        process = self.begin("bench.costs.function", name, environment=environment, log=log)
        return Function(log, process, self._counting)

    def begin(self, *arguments: str, **where: Any) -> Answering:  # noqa: ANN401 - as ``Answering``
        """Begin a process that ends with the scene."""
        process = Answering(*arguments, **where)
        self._held.callback(process.close)
        return process

    def write(self, receipts: int) -> list[str]:
        """Let receipts wait, uncounted; give their runs."""
        runs = []
        for number in range(self.written, self.written + receipts):
            changes = {
                name: Changes(upserts=make_records(self.first[name] + number * each, each))
                for name, each in RECORDS_PER_RECEIPT.items()
            }
            run_id = f"run-{number:06d}"
            self.vault.write(changes, model=embedder(DEFAULT_MODEL).pin, run_id=run_id)
            runs.append(run_id)
        self.written += receipts
        return runs

    def _environment(self, disk: Path) -> dict[str, str]:
        counted = self.endpoint
        client = client_of(self.server, "sqs")
        queues = {
            f"{name.upper()}_QUEUE_URL": client.create_queue(QueueName=name)["QueueUrl"].replace(
                self.server.endpoint, counted
            )
            for name in RECORDS_PER_RECEIPT
        }
        return {
            **self.server.environment(),
            **queues,
            "AWS_ENDPOINT": counted,
            "AWS_ENDPOINT_URL": counted,
            "AWS_DEFAULT_REGION": REGION,
            "CHROMASEAL_VAULT": self.server.url("vault"),
            "CHROMASEAL_LEDGER": f"dynamodb://{_TABLE}?region={REGION}",
            "CHROMASEAL_CACHE": str(disk / "cache"),
            "CHROMASEAL_MOUNT": str(self.mount),
        }


def refuse_full(folder: Path, size_bytes: int) -> None:
    """Refuse to begin what would end after ten minutes on a full disk.

    Raises:
        SystemExit: the disk has less room than that.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes:
        raise SystemExit(
            f"counting takes {size_bytes / 1e9:.1f} GB, and {folder} has {free_bytes / 1e9:.1f}: "
            "name a directory with more room in TMPDIR"
        )


@contextlib.contextmanager
def scene(records: int) -> Iterator[Scene]:
    """Give a vault with that many words and a quarter as many lines, in an emulator."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        server = held.enter_context(ministack(folder / "ministack"))
        os.environ.update(server.environment())
        place = urlsplit(server.endpoint)
        counting = Answering("bench.costs.counting", str(place.hostname), str(place.port))
        held.callback(counting.close)
        settings = Settings(server.url("vault"), make_table(server, _TABLE), folder / "cache")
        vault = held.enter_context(open_vault(settings))
        first = {"words": records, "lines": records // _SHARE}
        refuse_full(folder, sum(first.values()) * _BYTES_PER_RECORD)
        for name, count in first.items():
            pin = CollectionPin(name, DIMENSION, "l2", embedder(DEFAULT_MODEL).pin)
            pin_collection(vault.parts.store, pin)
            directory = folder / name
            if name == "words":
                fresh_copy(count, directory)
            else:
                directory.mkdir()
                make_directory(directory, name, count)
            vault.push(directory, name)
        mount = folder / "mount"
        mount.mkdir()
        endpoint = f"http://{LOOPBACK}:{counting.line()}"
        inner = held.enter_context(ExitStack())
        yield Scene(vault, server, endpoint, folder, mount, first, counting, inner)
