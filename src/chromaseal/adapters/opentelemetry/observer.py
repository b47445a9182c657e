"""Steps as OpenTelemetry spans, and what the table of measures says as metrics.

Only the API is used: an application that has set up providers gets everything through them.
Events are no span events, which OpenTelemetry deprecates, but log lines and metrics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opentelemetry import metrics, trace
from opentelemetry.metrics import Counter, Histogram, Meter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from chromaseal.telemetry.names import MEASURES, OPERATIONS, Measure
from chromaseal.telemetry.observer import OK, Fact, Facts, Handle, Severity

_SCOPE = "chromaseal"
_NS_PER_S = 1_000_000_000
# The usual ones are made for milliseconds.
_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
# Facts for which OpenTelemetry has names of its own.
_CONVENTIONS = {
    "collection": "db.collection.name",
    "path": "file.path",
    "directory": "file.directory",
    "pid": "process.pid",
    "command": "process.command",
    "exit_code": "process.exit.code",
}


@dataclass(frozen=True, slots=True)
class _Begun:
    name: str
    span: Span
    facts: Facts
    at_s: float


class OpenTelemetryObserver:
    """Makes spans and metrics.

    Args:
        tracer: makes the spans; the process's own by default.
        meter: makes the metrics; the process's own by default.
    """

    def __init__(self, tracer: Tracer | None = None, meter: Meter | None = None) -> None:
        self._tracer = tracer or trace.get_tracer(_SCOPE)
        meter = meter or metrics.get_meter(_SCOPE)
        self._instruments = [(measure, _instrument(meter, measure)) for measure in MEASURES]

    def begin(self, name: str, facts: Facts, *, under: Handle | None, at_s: float) -> Handle:
        """Start a span; without a step around it, in the application's current one."""
        context = trace.set_span_in_context(under.span) if isinstance(under, _Begun) else None
        span = self._tracer.start_span(
            name,
            context,
            kind=SpanKind.CLIENT if name in OPERATIONS else SpanKind.INTERNAL,
            attributes=_attributes(facts.items()),
            start_time=int(at_s * _NS_PER_S),
        )
        return _Begun(name, span, facts, at_s)

    def end(self, step: Handle, outcome: str, facts: Facts, *, duration_s: float) -> None:
        """End the span, and measure."""
        if not isinstance(step, _Begun):
            return
        step.span.set_attributes(_attributes(facts.items()))
        if outcome != OK:
            step.span.set_attribute("error.type", outcome)
            step.span.set_status(Status(StatusCode.ERROR, outcome))
        step.span.end(end_time=int((step.at_s + duration_s) * _NS_PER_S))
        of = "operation" if step.name in OPERATIONS else "step"
        known = {**step.facts, **facts, "duration_s": duration_s, of: step.name}
        if outcome != OK:
            known["error"] = outcome
        self._measure(of, step.name, known)

    def event(
        self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
    ) -> None:
        """Measure what happened."""
        del severity, under, at_s
        self._measure("event", name, facts)

    def _measure(self, of: str, name: str, facts: Facts) -> None:
        for measure, instrument in self._instruments:
            if measure.of != of or measure.name not in {"", name}:
                continue
            value = facts.get(measure.fact, 0) if measure.fact else 1
            if isinstance(value, str):
                continue
            by = _attributes((fact, facts[fact]) for fact in measure.by if fact in facts)
            if isinstance(instrument, Histogram):
                instrument.record(value, by)
            else:
                instrument.add(value, by)


def _instrument(meter: Meter, measure: Measure) -> Counter | Histogram:
    if measure.is_histogram:
        return meter.create_histogram(
            measure.metric,
            measure.unit,
            measure.meaning,
            explicit_bucket_boundaries_advisory=_BUCKETS_S,
        )
    return meter.create_counter(measure.metric, measure.unit, measure.meaning)


def _attributes(facts: Iterable[tuple[str, Fact]]) -> dict[str, Fact]:
    return {attribute(name): value for name, value in facts}


def attribute(fact: str) -> str:
    """Give what a fact is called as an attribute."""
    return "error.type" if fact == "error" else _CONVENTIONS.get(fact, f"chromaseal.{fact}")
