"""The functions called as the flow calls them, and the way that was there before -> counts."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.costs.old_way import FIRST
from bench.costs.scene import RECORDS_PER_RECEIPT, Counts, Function, Scene, scene
from chromaseal import keys
from chromaseal.adapters.dynamodb.items import run_item
from chromaseal.adapters.pillow.sample import write_sample
from chromaseal.clock import SystemClock
from chromaseal.receipts.samples import SAMPLES
from chromaseal.stream.messages import Message
from chromaseal.stream.table import EntityType
from chromaseal.testing.aws_events import bucket_event, queue_event, stream_record
from chromaseal.testing.stack import client_of

# Seventeen receipts of 60 words are more than the thousand at which ChromaDB writes its index, and
# every sixteenth version is looked at as a whole.
BATCHES = {1: 17, 10: 8, 100: 3}
_OLD_TIMES = 1
COLD = "cold"
_IMAGES = 4
_TOLD = 21


def measured(records: int) -> dict[str, Any]:
    """Give all that is counted at a size, as JSON."""
    with scene(records) as here:
        found: dict[str, Any] = {
            **sizes(here),
            "records_per_receipt": RECORDS_PER_RECEIPT,
            "versions": {str(receipts): times for receipts, times in BATCHES.items()},
            "old": old(here),
            "ingest": _ingest(here),
            "tell": tell(here),
            "compact": {name: {} for name in RECORDS_PER_RECEIPT},
            "sync": {name: {} for name in RECORDS_PER_RECEIPT},
        }
        _compact(here, found)
        schedule, _ = here.function("on_schedule").call({})
        found["schedule"] = {COLD: schedule}
        files = {each.stat().st_ino: each.stat().st_size for each in _files(here.mount)}
        found["mount_bytes"] = sum(files.values())
        found["metrics"] = len(_metrics(here.folder))
    return found


def sizes(here: Scene) -> dict[str, dict[str, int]]:
    """Give the bytes of directories, and of what the vault has of them."""
    newest = {name: here.vault.version(name).manifest for name in RECORDS_PER_RECEIPT}
    return {
        "directory_bytes": {name: each.size_bytes for name, each in newest.items()},
        "vault_bytes": {name: each.chain_bytes for name, each in newest.items()},
    }


def mean(counts: Sequence[Counts]) -> Counts:
    """Give the mean of each kind; what is missing in one of them was 0 there."""
    names = sorted({name for each in counts for name in each})
    return {name: statistics.fmean(each.get(name, 0) for each in counts) for name in names}


def _ingest(here: Scene) -> dict[str, Counts]:
    function = here.function("on_receipt_uploaded")
    client = client_of(here.server, "s3")
    took = []
    for number, sample in enumerate(SAMPLES[: _IMAGES + 1]):
        image = here.folder / f"{sample.slug}.jpg"
        write_sample(sample, image)
        key = f"inbox/{image.name}"
        client.put_object(Bucket=here.server.bucket, Key=key, Body=image.read_bytes())
        counts, _ = function.call(bucket_event(here.server.bucket, [key]))
        # The image lies below the inbox afterwards, which is an event too.
        again, _ = function.call(bucket_event(here.server.bucket, [f"inbox/done/{image.name}"]))
        took.append({n: counts.get(n, 0) + again.get(n, 0) for n in {*counts, *again}})
        # The next one finds a new version to look for merchants in, as it mostly does.
        here.vault.compact()
        print(f"ingest {number}: {counts}", flush=True)
    return {COLD: took[0], "warm": mean(took[1:])}


def tell(here: Scene) -> dict[str, Counts]:
    """Count what the stream's function takes for new runs, and for what is done with them."""
    function = here.function("on_run_changed")
    took, idle = [], []
    for number, run_id in enumerate(here.write(_TOLD)):
        now_s, item = SystemClock().now().timestamp(), run_item(here.vault.run(run_id), "w")
        record = stream_record(None, item, number=number, created_s=now_s)
        took.append(function.call({"Records": [record]})[0])
        # That a compactor has taken it, or is done with it, is in the stream too, and tells nobody.
        record = stream_record(item, item, number=number, created_s=now_s)
        idle.append(function.call({"Records": [record]})[0])
    here.vault.compact()
    return {COLD: took[0], "warm": mean(took[1:]), "idle": mean(idle)}


def _compact(here: Scene, found: dict[str, Any]) -> None:
    """Compact and sync with processes that are new, and then with those as they stay."""
    compactors = {name: here.function("on_runs_waiting") for name in RECORDS_PER_RECEIPT}
    syncers = {name: here.function("on_version_published") for name in RECORDS_PER_RECEIPT}
    # One receipt finds processes that are new.
    for receipts, times in {0: 1, **BATCHES}.items():
        compacted: dict[str, list[Counts]] = {name: [] for name in RECORDS_PER_RECEIPT}
        synced: dict[str, list[Counts]] = {name: [] for name in RECORDS_PER_RECEIPT}
        for _ in range(times):
            runs = here.write(receipts or 1)
            for name in RECORDS_PER_RECEIPT:
                compacted[name].append(_compacted(compactors[name], name, runs))
                synced[name].append(_synced(here, syncers[name], name))
        for name in RECORDS_PER_RECEIPT:
            label = str(receipts) if receipts else COLD
            found["compact"][name][label] = mean(compacted[name])
            found["sync"][name][label] = mean(synced[name])
            print(f"{name}, {label}: {found['compact'][name][label]}", flush=True)


def _compacted(function: Function, collection: str, runs: Sequence[str]) -> Counts:
    now = SystemClock().now().isoformat()
    messages = {
        run: Message(collection, EntityType.COMPACTION_RUN, "INSERT", {"run_id": run}, now, run)
        for run in runs
    }
    counts, answer = function.call(queue_event(messages))
    if answer["batchItemFailures"]:
        raise SystemExit(f"{answer}: see {function.log}")
    return counts


def _synced(here: Scene, function: Function, collection: str) -> Counts:
    key = f"vault/{keys.pointer(collection)}"
    counts, _ = function.call(bucket_event(here.server.bucket, [key]))
    told = [json.loads(line) for line in function.log.read_text().splitlines() if line[:1] == "{"]
    newest = [line for line in told if line.get("message") == "synced"][-1]
    return {**counts, "efs_written_bytes": newest["written_bytes"]}


def old(here: Scene) -> dict[str, dict[str, Counts]]:
    """Count what the old way takes, from the newest versions on."""
    found: dict[str, dict[str, Counts]] = {}
    for name, each in RECORDS_PER_RECEIPT.items():
        folder = here.folder / f"old-{name}"
        folder.mkdir()
        here.vault.open_copy(name, folder / FIRST)
        way = here.begin("bench.costs.old_way", here.server.endpoint, name, str(folder))
        found[name] = {}
        for receipts in BATCHES:
            took = [json.loads(way.ask(str(receipts * each))) for _ in range(_OLD_TIMES)]
            found[name][str(receipts)] = mean(took)
            print(f"the old way, {name}, {receipts}: {found[name][str(receipts)]}", flush=True)
    return found


def _metrics(folder: Path) -> set[tuple[str, ...]]:
    """Give the metrics that the functions have counted: AWS bills each by the month."""
    found: set[tuple[str, ...]] = set()
    for log in folder.glob("*/log"):
        for line in log.read_text().splitlines():
            if not line.startswith('{"_aws"'):
                continue
            told = json.loads(line)
            for block in told["_aws"]["CloudWatchMetrics"]:
                values = tuple(told[name] for name in sorted(block["Dimensions"][0]))
                found |= {(*values, each["Name"]) for each in block["Metrics"]}
    return found


def _files(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and not each.is_symlink()]
