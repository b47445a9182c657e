"""Write ``docs/telemetry.md`` from the tables in ``chromaseal.telemetry.names``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chromaseal.adapters.opentelemetry.observer import attribute
from chromaseal.fleet.standing import METRICS
from chromaseal.telemetry.names import EVENTS, FACTS, MEASURES, OPERATIONS, STEPS

PLACE = Path(__file__).with_name("telemetry.md")
_HEAD = """\
# Logs, traces and metrics

Every step of chromaseal can be watched. Nothing depends on it: what `trace`, `doctor` and `verify`
show stands in the vault and the ledger, and an observer that fails holds nothing up.

## From the command line

    chromaseal -v push DIR COLLECTION         a line per step on standard error; -vv: every detail
    CHROMASEAL_LOG=json chromaseal ...        the same, one JSON object per line
    CHROMASEAL_LOG_LEVEL=debug                debug, info (default) or warning
    OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317 chromaseal ...

Standard output stays for answers. With an OTLP endpoint (gRPC) spans and metrics go there;
`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and the like mean what
they mean everywhere, `TRACEPARENT` makes a command part of its caller's trace, and
`OTEL_SDK_DISABLED=true` turns it off. A collector that does not answer costs a command two
seconds at its end.

## From Python

    chromaseal.observe(logger=structlog.get_logger(), opentelemetry=True)

makes lines with the application's own logger and spans and metrics with the providers that it
has set up, from then on, for the whole process.

## What is told

A line of a log and a span carry the facts below. A log's line has its step's number in `step`,
and in `part_of` that of the step around it. Spans are called as the step; as attributes facts
are called `chromaseal.<fact>` but for those that OpenTelemetry has names for. No documents, no
metadata, no vectors and no settings with secrets are ever told; `evidence` may name ids of
records, and is in logs only. What a child process does is told as part of `run job`.

Ends of steps are INFO, failed ones WARNING; beginnings and operations of the store are DEBUG;
checks are DEBUG if they pass and WARNING if not.
"""


def page() -> str:
    """Give the whole page."""
    return "\n".join(
        [
            _HEAD,
            _table("Steps", STEPS),
            _table("Operations of the store", OPERATIONS),
            _table("Events", EVENTS),
            _metrics(),
            _facts(),
            _worker_metrics(),
        ]
    )


def _table(title: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {meaning} |" for name, meaning in rows.items()]
    return "\n".join([f"### {title}\n", "| name | what it says |", "| --- | --- |", *lines, ""])


def _metrics() -> str:
    head = ["### Metrics\n", "| metric | unit | what it says | by |", "| --- | --- | --- | --- |"]
    lines = []
    for measure in MEASURES:
        by = ", ".join(f"`{attribute(fact)}`" for fact in measure.by)
        lines.append(f"| `{measure.metric}` | {measure.unit} | {measure.meaning} | {by} |")
    return "\n".join([*head, *lines, ""])


def _facts() -> str:
    head = ["### Facts\n", "| fact | as an attribute | what it says |", "| --- | --- | --- |"]
    lines = [f"| {fact} | `{attribute(fact)}` | {said} |" for fact, said in FACTS.items()]
    return "\n".join([*head, *lines, ""])


def _worker_metrics() -> str:
    head = [
        "## What a worker answers\n",
        "`chromaseal worker --port 9464` answers `/metrics` in Prometheus' text format,",
        "`/healthz` (503 where its loop is stuck) and `/readyz` (503 where ledger or store have",
        "not answered lately).\n",
        "| metric | kind | what it says | label |",
        "| --- | --- | --- | --- |",
    ]
    lines = [f"| `{m.name}` | {m.kind} | {m.meaning} | `{m.label}` |" for m in METRICS]
    return "\n".join([*head, *lines, ""])


if __name__ == "__main__":
    PLACE.write_text(page())
