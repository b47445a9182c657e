"""Counts of single calls, and receipts per hour -> what a month asks of AWS, and what it costs.

Pure. Receipts come at random times (Poisson), day and night alike; a collection has the size at
which the calls were counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from bench.costs.prices import HOURS_PER_MONTH, PRICES

Counts: TypeAlias = Mapping[str, float]

# How long Lambda keeps a process that nothing calls. AWS says neither that nor how long at least.
KEPT_S = 600.0
# The long polls with which Lambda looks at a queue in which nothing is.
POLLS_AT_ONCE = 5
_POLL_S = 20.0
# What SQS hands over, and takes back, at once.
_MESSAGES_AT_ONCE = 10
# A compactor takes a run, and is done with it: two changes that the stream's function looks at.
_CHANGES_PER_VERSION = 2
_FREE_DISK_MB = 512
_MB_PER_GB = 1024
_BYTES_PER_GB = 1e9
_STEPS = 1000
_CLOSE = 1e-9
_REQUESTS = (
    *("s3_put", "s3_list", "s3_get", "s3_delete"),
    *("write_units", "read_units", "sqs_requests"),
)
# Seconds per request, and bytes per second, of a function in the same region: what the emulator,
# a millisecond away on a busy machine, cannot tell.
S3_S, DYNAMODB_S, SQS_S = 0.03, 0.005, 0.01
S3_BYTES_PER_S, EFS_BYTES_PER_S = 75e6, 100e6
# The later of its two settings, 5 s for the stream and 5 s for the queue: fewer compactions.
OLD_WINDOW_S = 10.0
INGEST, COMPACT, MOUNT = "images to runs", "runs to versions", "versions to the mount"
KEEP, WATCH = "what is kept", "upkeep and watching"


@dataclass(frozen=True, slots=True)
class Function:
    """What the template gives a function.

    Attributes:
        memory_mb: of memory.
        disk_mb: of disk.
    """

    memory_mb: float
    disk_mb: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the template says that counts.

    Attributes:
        functions: by what they are called in the counts.
        stream_window_s: for which records of the stream are gathered.
        queue_window_s: for which messages are gathered.
        batch_size: of how many at most.
        alarms: how many.
        schedules_per_hour: of the function for upkeep.
    """

    functions: Mapping[str, Function]
    stream_window_s: float
    queue_window_s: float
    batch_size: float
    alarms: int
    schedules_per_hour: float


@dataclass(frozen=True, slots=True)
class Month:
    """What a month asks of AWS.

    Attributes:
        receipts: that came.
        per_version: receipts in a version, by collection.
        parts: amounts, by what they are for, and by the unit that is billed.
        transfer: bytes that no bill has: up to S3 and down from it.
    """

    receipts: float
    per_version: Mapping[str, float]
    parts: Mapping[str, Counts]
    transfer: Counts

    def amount(self, unit: str) -> float:
        """Give how much of a unit there was."""
        return sum(part.get(unit, 0) for part in self.parts.values())

    def cost(self, part: str = "") -> float:
        """Give the dollars of a part; of everything by default."""
        parts = [self.parts[part]] if part else self.parts.values()
        return sum(PRICES[u].per_unit * amount for each in parts for u, amount in each.items())

    def cost_without(self, part: str, unit: str) -> float:
        """Give the dollars of everything but a part, and a unit that others have of it."""
        return self.cost() - self.cost(part) - PRICES[unit].per_unit * self.amount(unit)


def receipts_per_version(
    per_hour: float, window_s: float, duration_s_of: Callable[[float], float]
) -> float:
    """Say how many receipts a version takes.

    The first one opens the windows of stream and queue, and those that come until they close are
    taken along. Where a compaction takes longer than that, the next one takes what came meanwhile.

    Args:
        per_hour: receipts.
        window_s: of stream and queue together.
        duration_s_of: seconds of a compaction, by receipts.

    Raises:
        ValueError: compactions of any size take longer than their receipts take to come.
    """
    per_s = per_hour / 3600
    at_least = 1 + per_s * window_s
    receipts = at_least
    for _ in range(_STEPS):
        following = max(at_least, per_s * duration_s_of(receipts))
        if abs(following - receipts) <= _CLOSE * receipts:
            return following
        receipts = following
    raise ValueError(f"{per_hour:,.0f} receipts per hour are more than can be compacted")


def at(counted: Mapping[str, Counts], receipts: float) -> dict[str, float]:
    """Give the counts of a call for a number of receipts, on lines between what was measured.

    Args:
        counted: by the number of receipts, as text.
        receipts: at least one.
    """
    sizes = sorted(int(size) for size in counted if size.isdigit())
    below = max((n for n in sizes[:-1] if n <= receipts), default=sizes[0])
    above = sizes[min(sizes.index(below) + 1, len(sizes) - 1)]
    low, high = counted[str(below)], counted[str(above)]
    share = (receipts - below) / (above - below) if above > below else 0.0
    return {
        unit: low.get(unit, 0) + share * (high.get(unit, 0) - low.get(unit, 0))
        for unit in {**low, **high}
    }


def cold_share(calls_per_hour: float) -> float:
    """Give how many of a function's calls find no process: nobody called for long enough."""
    return math.exp(-calls_per_hour * KEPT_S / 3600)


def mixed(warm: Counts, cold: Counts, share: float) -> dict[str, float]:
    """Give the mean counts of a call of which a share is cold."""
    return {u: (1 - share) * warm.get(u, 0) + share * cold.get(u, 0) for u in {**warm, **cold}}


def added(*amounts: Counts) -> dict[str, float]:
    """Add up, unit by unit."""
    return {u: sum(each.get(u, 0) for each in amounts) for each in amounts for u in each}


def times(amounts: Counts, count: float) -> dict[str, float]:
    """Multiply, unit by unit."""
    return {unit: amount * count for unit, amount in amounts.items()}


def seconds(call: Counts) -> float:
    """Give how long a call takes: what it computes, then its requests, one after the other."""
    s3_requests = sum(call.get(unit, 0) for unit in ("s3_put", "s3_list", "s3_get", "s3_delete"))
    s3_bytes = call.get("s3_bytes_up", 0) + call.get("s3_bytes_down", 0)
    return (
        call.get("processor_s", 0)
        + s3_requests * S3_S
        + s3_bytes / S3_BYTES_PER_S
        + call.get("dynamodb_requests", 0) * DYNAMODB_S
        + call.get("sqs_requests", 0) * SQS_S
        + call.get("efs_written_bytes", 0) / EFS_BYTES_PER_S
    )


def billed(call: Counts, function: Function) -> dict[str, float]:
    """Give what a call of a function is billed."""
    duration_s = seconds(call)
    return {
        **{unit: call[unit] for unit in _REQUESTS if unit in call},
        "lambda_requests": 1,
        "lambda_gb_s": duration_s * function.memory_mb / _MB_PER_GB,
        "lambda_disk_gb_s": duration_s * (function.disk_mb - _FREE_DISK_MB) / _MB_PER_GB,
        "efs_written_gb": call.get("efs_written_bytes", 0) / _BYTES_PER_GB,
        "log_gb": call.get("log_bytes", 0) / _BYTES_PER_GB,
    }


def ours(counted: Mapping[str, Any], deployment: Deployment, per_hour: float) -> Month:
    """Give a month of this pipeline.

    Args:
        counted: of a size of collections, as ``measuring`` gives it.
        deployment: what the template says.
        per_hour: receipts.
    """
    of = deployment.functions
    # As many messages as one call takes end the window early.
    gathered_s = min(deployment.queue_window_s, deployment.batch_size * 3600 / per_hour)
    window_s = deployment.stream_window_s + gathered_s
    per_version = {
        name: _receipts(per_hour, window_s, calls) for name, calls in counted["compact"].items()
    }
    compacting: list[Counts] = []
    mounting: list[Counts] = []
    moved: list[Counts] = []
    idle = billed(counted["tell"]["idle"], of["tell"])
    for name, receipts in per_version.items():
        per_month = per_hour / receipts * HOURS_PER_MONTH
        cold = cold_share(per_hour / receipts)
        compact, sync = (
            mixed(at(calls, receipts), calls["cold"], cold)
            for calls in (counted["compact"][name], counted["sync"][name])
        )
        once = added(
            billed(compact, of["compact"]), _messages(receipts), times(idle, _CHANGES_PER_VERSION)
        )
        compacting.append(times(once, per_month))
        mounting.append(times(billed(sync, of["sync"]), per_month))
        moved.append(times(added(_moved(compact), _moved(sync)), per_month))
    ingesting, uploaded = _ingesting(counted, deployment, per_hour)
    moving = added(uploaded, *moved)
    kept_bytes = sum(counted["vault_bytes"].values()) + moving["s3_bytes_up"]
    parts = {
        INGEST: ingesting,
        COMPACT: added(*compacting),
        MOUNT: added(*mounting),
        KEEP: _kept(kept_bytes, counted["mount_bytes"]),
        WATCH: added(_upkeep(counted, deployment), _watching(counted, deployment)),
    }
    return Month(per_hour * HOURS_PER_MONTH, per_version, parts, moving)


def old(counted: Mapping[str, Any], deployment: Deployment, per_hour: float) -> Month:
    """Give a month of the pipeline that was there before: images, queues, alarms as in this one.

    Args:
        counted: of a size of collections, as ``measuring`` gives it.
        deployment: what the template says.
        per_hour: receipts.
    """
    per_version = {
        name: _receipts(per_hour, OLD_WINDOW_S, calls) for name, calls in counted["old"].items()
    }
    compacting: list[Counts] = []
    mounting: list[Counts] = []
    moved: list[Counts] = []
    kept = {"stored_bytes": 0.0, "mount_bytes": 0.0}
    for name, receipts in per_version.items():
        per_month = per_hour / receipts * HOURS_PER_MONTH
        call = at(counted["old"][name], receipts)
        once = added(billed(call, deployment.functions["old"]), _messages(receipts))
        mounting.append({"efs_written_gb": once.pop("efs_written_gb") * per_month})
        compacting.append(times(once, per_month))
        moved.append(times(_moved(call), per_month))
        kept = {unit: size + call[unit] for unit, size in kept.items()}
    ingesting, uploaded = _ingesting(counted, deployment, per_hour)
    parts = {
        INGEST: ingesting,
        COMPACT: added(*compacting),
        MOUNT: added(*mounting),
        KEEP: _kept(kept["stored_bytes"] + uploaded["s3_bytes_up"], kept["mount_bytes"]),
        WATCH: _watching(counted, deployment),
    }
    return Month(per_hour * HOURS_PER_MONTH, per_version, parts, added(uploaded, *moved))


def _receipts(per_hour: float, window_s: float, calls: Mapping[str, Counts]) -> float:
    def duration_s(receipts: float) -> float:
        return seconds(at(calls, receipts))

    return receipts_per_version(per_hour, window_s, duration_s)


def _messages(receipts: float) -> dict[str, float]:
    """Give Lambda's requests to a queue for a version: it receives and deletes."""
    return {"sqs_requests": 2 * math.ceil(receipts / _MESSAGES_AT_ONCE)}


def _ingesting(
    counted: Mapping[str, Any], deployment: Deployment, per_hour: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Give what images are billed until their runs are told, and what they move."""
    receipts, cold = per_hour * HOURS_PER_MONTH, cold_share(per_hour)
    ingest, tell = (
        mixed(counted[name]["warm"], counted[name]["cold"], cold) for name in ("ingest", "tell")
    )
    # Each image is an event, and so is its being put away; the counts are of both together.
    image = added(billed(ingest, deployment.functions["ingest"]), {"lambda_requests": 1})
    told_at_once = 1 + per_hour / 3600 * deployment.stream_window_s
    telling = billed(tell, deployment.functions["tell"])
    found = added(times(image, receipts), times(telling, receipts / told_at_once))
    return found, times(_moved(ingest), receipts)


def _kept(stored_bytes: float, mount_bytes: float) -> dict[str, float]:
    return {
        "s3_gb_months": stored_bytes / _BYTES_PER_GB,
        "efs_gb_months": mount_bytes / _BYTES_PER_GB,
    }


def _upkeep(counted: Mapping[str, Any], deployment: Deployment) -> dict[str, float]:
    once = billed(counted["schedule"]["cold"], deployment.functions["schedule"])
    return times(once, deployment.schedules_per_hour * HOURS_PER_MONTH)


def _watching(counted: Mapping[str, Any], deployment: Deployment) -> dict[str, float]:
    polls = POLLS_AT_ONCE * HOURS_PER_MONTH * 3600 / _POLL_S
    return {
        "sqs_requests": len(counted["compact"]) * polls,
        "alarms": deployment.alarms,
        "dashboards": 1,
        "metrics": counted["metrics"],
    }


def _moved(call: Counts) -> dict[str, float]:
    return {name: call.get(name, 0) for name in ("s3_bytes_up", "s3_bytes_down")}
