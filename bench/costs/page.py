"""Counts and prices -> ``docs/costs.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.costs.model import (
    COMPACT,
    DYNAMODB_S,
    EFS_BYTES_PER_S,
    INGEST,
    KEEP,
    KEPT_S,
    MOUNT,
    OLD_WINDOW_S,
    POLLS_AT_ONCE,
    S3_BYTES_PER_S,
    S3_S,
    SQS_S,
    WATCH,
    Deployment,
    Month,
    old,
    ours,
    seconds,
)
from bench.costs.prices import AS_OF, HOURS_PER_MONTH, PRICES, REGION
from bench.stats import markdown_table

RATES = (1, 100, 10_000)
WINDOWS_S = (1, 9, 20, 60, 300)
PARTS = (INGEST, COMPACT, MOUNT, KEEP, WATCH)
_BYTES = {"s3_bytes_up": "GB up to S3", "s3_bytes_down": "GB down from S3"}
_BYTES_PER_GB = 1e9
_BYTES_PER_MB = 1e6
_COUNTED = {
    "processor_s": "s computed",
    "s3_put": "PUT",
    "s3_get": "GET",
    "s3_list": "LIST",
    "s3_delete": "DELETE",
    "s3_bytes_up": "MB up",
    "s3_bytes_down": "MB down",
    "write_units": "write units",
    "read_units": "read units",
    "sqs_requests": "SQS",
    "efs_written_bytes": "MB to EFS",
    "log_bytes": "kB of logs",
}

_TEXT = Path(__file__).with_name("page.txt")


def page(results: Mapping[str, Any], deployment: Deployment) -> str:
    """Write the page.

    Args:
        results: by the number of words, as ``measuring`` gives it.
        deployment: what the template says.
    """
    size = max(results, key=int)
    counted = results[size]
    months, before = _both(counted, deployment)
    each = counted["records_per_receipt"]
    smaller = [other for other in sorted(results, key=int) if other != size]
    return _TEXT.read_text(encoding="utf-8").format(
        summary=_summary(size, counted, deployment),
        by_window=_by_window(counted, deployment),
        by_part=_by_part(months, before),
        amounts=_amounts(months, before),
        amounts_per_receipt=_amounts(months, before, per_receipt=True),
        other_sizes="".join(
            "\n" + _summary(other, results[other], deployment) for other in smaller
        ),
        words_before=int(size),
        lines_before=int(size) * each["lines"] // each["words"],
        calls=_calls(counted),
        versions=_listed([str(number) for number in counted["versions"].values()]),
        batches=_listed([*counted["versions"]]),
        words=each["words"],
        lines=each["lines"],
        queue_window_s=deployment.queue_window_s,
        window_s=deployment.stream_window_s + deployment.queue_window_s,
        old_window_s=OLD_WINDOW_S,
        hours=HOURS_PER_MONTH,
        s3_ms=S3_S * 1e3,
        dynamodb_ms=DYNAMODB_S * 1e3,
        sqs_ms=SQS_S * 1e3,
        s3_mb=S3_BYTES_PER_S / _BYTES_PER_MB,
        efs_mb=EFS_BYTES_PER_S / _BYTES_PER_MB,
        kept_min=KEPT_S / 60,
        polls=POLLS_AT_ONCE,
        fastest=max(RATES),
        words_per_month=max(RATES) * HOURS_PER_MONTH * each["words"] / 1e6,
        region=REGION,
        as_of=AS_OF,
        prices=_prices(),
    )


def headline(results: Mapping[str, Any], deployment: Deployment) -> str:
    """Write the one line for the README."""
    size = max(results, key=int)
    month, before = (each(results[size], deployment, 100) for each in (ours, old))
    bare, bare_before = (each.cost_without(MOUNT, "efs_gb_months") for each in (month, before))
    return (
        f"100 receipts per hour into {int(size):,} words cost ${bare:,.0f} a month (the old way "
        f"${bare_before:,.0f}), and ${month.cost():,.0f} with a shared mount "
        f"(${before.cost():,.0f})"
    )


def _both(
    counted: Mapping[str, Any], deployment: Deployment
) -> tuple[dict[int, Month], dict[int, Month]]:
    mine = {rate: ours(counted, deployment, rate) for rate in RATES}
    return mine, {rate: old(counted, deployment, rate) for rate in RATES}


def _columns() -> list[str]:
    return [f"{who} {rate:,} per hour" for who in ("at", "the old way at") for rate in RATES]


def _listed(texts: Sequence[str]) -> str:
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _summary(words: str, counted: Mapping[str, Any], deployment: Deployment) -> str:
    months, before = _both(counted, deployment)
    megabytes = sum(counted["directory_bytes"].values()) / _BYTES_PER_MB
    header = ["receipts per hour", *(f"{rate:,}" for rate in RATES)]
    receipts = [months[rate].receipts for rate in RATES]
    costs = [months[rate].cost() for rate in RATES]
    costs_before = [before[rate].cost() for rate in RATES]
    rows = [
        ["dollars a month", *map(_dollars, costs)],
        ["dollars per receipt", *(_dollars(c / n) for c, n in zip(costs, receipts, strict=True))],
        ["the old way, dollars a month", *map(_dollars, costs_before)],
        [
            "the old way, dollars per receipt",
            *(_dollars(c / n) for c, n in zip(costs_before, receipts, strict=True)),
        ],
        [
            "the old way / this",
            *(f"{b / c:.1f}" for b, c in zip(costs_before, costs, strict=True)),
        ],
        [
            "without a mount, dollars a month",
            *(_dollars(months[rate].cost_without(MOUNT, "efs_gb_months")) for rate in RATES),
        ],
        [
            "the old way without a mount",
            *(_dollars(before[rate].cost_without(MOUNT, "efs_gb_months")) for rate in RATES),
        ],
        ["receipts in a version", *(f"{months[r].per_version['words']:.1f}" for r in RATES)],
        [
            "receipts in a snapshot of the old way",
            *(f"{before[r].per_version['words']:.1f}" for r in RATES),
        ],
    ]
    table = markdown_table(header, rows)
    title = f"## A collection of {int(words):,} words"
    return f"{title}\n\n{megabytes:,.0f} MB with its lines.\n\n{table}\n"


def _by_window(counted: Mapping[str, Any], deployment: Deployment) -> str:
    header = ["seconds in which runs gather (`QueueWindowS`)", *(f"{r:,} per hour" for r in RATES)]
    header += [f"without a mount, {rate:,} per hour" for rate in RATES[1:]]
    rows = []
    for window_s in WINDOWS_S:
        months = [ours(counted, replace(deployment, queue_window_s=window_s), r) for r in RATES]
        bare = [month.cost_without(MOUNT, "efs_gb_months") for month in months[1:]]
        rows.append([str(window_s), *map(_dollars, [m.cost() for m in months] + bare)])
    return markdown_table(header, rows)


def _by_part(months: Mapping[int, Month], before: Mapping[int, Month]) -> str:
    header = ["part", *_columns()]
    rows = [
        [part, *(_dollars(each[rate].cost(part)) for each in (months, before) for rate in RATES)]
        for part in PARTS
    ]
    return markdown_table(header, rows)


def _amounts(
    months: Mapping[int, Month], before: Mapping[int, Month], *, per_receipt: bool = False
) -> str:
    header = ["unit", *_columns()]
    columns = [each[rate] for each in (months, before) for rate in RATES]
    of = [month.receipts if per_receipt else 1.0 for month in columns]
    rows = [
        [price.unit, *(_plain(m.amount(u) / n) for m, n in zip(columns, of, strict=True))]
        for u, price in PRICES.items()
        if u not in {"alarms", "dashboards", "metrics"}
    ]
    rows += [
        [
            said,
            *(
                _plain(m.transfer[unit] / _BYTES_PER_GB / n)
                for m, n in zip(columns, of, strict=True)
            ),
        ]
        for unit, said in _BYTES.items()
    ]
    return markdown_table(header, rows)


def _calls(counted: Mapping[str, Any]) -> str:
    named: list[tuple[str, Mapping[str, float]]] = [
        ("an image, first call", counted["ingest"]["cold"]),
        ("an image", counted["ingest"]["warm"]),
        ("a run is told, first call", counted["tell"]["cold"]),
        ("a run is told", counted["tell"]["warm"]),
        ("nothing is to be told", counted["tell"]["idle"]),
        ("upkeep, first call", counted["schedule"]["cold"]),
    ]
    for what, said in (("compact", "a version of"), ("sync", "to the mount,")):
        for name, calls in counted[what].items():
            named += [(f"{said} {name}, {_batch(size)}", call) for size, call in calls.items()]
    for name, calls in counted["old"].items():
        named += [(f"the old way, {name}, {_batch(size)}", call) for size, call in calls.items()]
    rows = [
        [said, f"{seconds(call):.3g}", *(_unit(unit, call.get(unit, 0)) for unit in _COUNTED)]
        for said, call in named
    ]
    return markdown_table(["call", "s on AWS", *_COUNTED.values()], rows)


def _batch(size: str) -> str:
    return "1, first call" if size == "cold" else size


def _unit(unit: str, amount: float) -> str:
    scale = {"log_bytes": 1e3}.get(unit, _BYTES_PER_MB if "bytes" in unit else 1)
    return _plain(amount / scale)


def _prices() -> str:
    rows: Sequence[Sequence[str]] = [
        [price.page, price.unit, f"{price.per_unit:.10f}".rstrip("0").rstrip(".")]
        for price in PRICES.values()
    ]
    header = ["page of AWS's", "unit", "dollars"]
    return markdown_table(header, rows)


def _dollars(amount: float) -> str:
    if amount >= 100:
        return f"{amount:,.0f}"
    return f"{amount:.2f}" if amount >= 1 else _plain(amount)


def _plain(amount: float) -> str:
    if amount == 0:
        return "0"
    if amount >= 100:
        return f"{amount:,.0f}"
    return f"{amount:.6f}".rstrip("0").rstrip(".") if amount < 0.01 else f"{amount:.3g}"
