"""The template -> what of it counts for a bill."""

from __future__ import annotations

import re
from typing import Any

from bench.costs.model import Deployment, Function
from chromaseal.adapters.cloudformation import template_file
from chromaseal.deployment.template import Place, parameters_of, resources

_FUNCTIONS = {
    "ingest": "OnReceiptUploaded",
    "tell": "OnRunChanged",
    "compact": "OnRunsWaiting",
    "schedule": "OnSchedule",
    "sync": "OnVersionPublished",
}
# As it was deployed: 10 GB of memory, 10 GB of disk.
_OLD = Function(10_240, 10_240)


def deployment() -> Deployment:
    """Read the template with its defaults and a mount."""
    parsed = template_file.parse(template_file.text())
    given = {"BucketName": "bucket", "MountVpcId": "v", "MountSubnetA": "a", "MountSubnetB": "b"}
    found = resources(parsed, parameters_of(parsed, given), Place())
    properties = {name: each["Properties"] for name, each in found.items()}
    functions = {
        name: Function(
            float(properties[logical]["MemorySize"]),
            float(properties[logical]["EphemeralStorage"]["Size"]),
        )
        for name, logical in _FUNCTIONS.items()
    }
    return Deployment(
        {**functions, "old": _OLD},
        float(properties["OnRunChangedSource"]["MaximumBatchingWindowInSeconds"]),
        float(properties["OnLinesWaitingSource"]["MaximumBatchingWindowInSeconds"]),
        float(properties["OnLinesWaitingSource"]["BatchSize"]),
        sum(each["Type"] == "AWS::CloudWatch::Alarm" for each in found.values()),
        _per_hour(properties["Schedule"]),
    )


def _per_hour(rule: Any) -> float:  # noqa: ANN401 - as parsed
    ((count, unit),) = re.findall(r"rate\((\d+) (minute|hour|day)", rule["ScheduleExpression"])
    return {"minute": 60.0, "hour": 1.0, "day": 1 / 24}[unit] / int(count)
