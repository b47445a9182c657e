"""Every observer keeps the contract, and says what it was told in its own way."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import chromaseal
from chromaseal.adapters.opentelemetry.observer import OpenTelemetryObserver, attribute
from chromaseal.adapters.structlog.observer import StructlogObserver, logger_to
from chromaseal.errors import Conflict
from chromaseal.telemetry.emit import event, is_observed, observed, operation, step
from chromaseal.telemetry.names import FACTS, MEASURES
from chromaseal.telemetry.observer import Observer, Several, Severity, Silent
from chromaseal.telemetry.relay import RelayObserver
from chromaseal.testing.observer_contract import ObserverContract
from chromaseal.testing.recording_observer import RecordingObserver

# What tells one thing from another of its kind: as attributes of metrics they would never end.
UNBOUNDED = {"run_id", "version_id", "key", "path", "directory", "pid", "layer", "number"}


class Collector:
    """OpenTelemetry's providers in memory."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        tracing = TracerProvider(shutdown_on_exit=False)
        tracing.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        metering = MeterProvider([self.reader], shutdown_on_exit=False)
        self.observer = OpenTelemetryObserver(
            tracing.get_tracer("chromaseal"), metering.get_meter("chromaseal")
        )

    def span(self, name: str) -> ReadableSpan:
        """Give the only span of a name."""
        (found,) = [span for span in self.spans.get_finished_spans() if span.name == name]
        return found

    def points(self) -> dict[str, list[Any]]:
        """Give the points of every metric by its name."""
        data = self.reader.get_metrics_data()
        assert data is not None
        scopes = data.resource_metrics[0].scope_metrics
        return {each.name: list(each.data.data_points) for s in scopes for each in s.metrics}


class TestSilent(ObserverContract):
    """Nobody."""

    @pytest.fixture
    def observer(self) -> Observer:
        """Give one."""
        return Silent()


class TestRecording(ObserverContract):
    """The one of the tests."""

    @pytest.fixture
    def observer(self) -> Observer:
        """Give one."""
        return RecordingObserver()


class TestSeveral(ObserverContract):
    """Two at once."""

    @pytest.fixture
    def observer(self) -> Observer:
        """Give one."""
        return Several((RecordingObserver(), RecordingObserver()))


class TestRelay(ObserverContract):
    """A child's."""

    @pytest.fixture
    def observer(self) -> Observer:
        """Give one; all that it sends is JSON."""
        sent: list[str] = []
        return RelayObserver(lambda line: sent.append(json.dumps(line)))


class TestStructlog(ObserverContract):
    """Logs for programs."""

    @pytest.fixture
    def observer(self) -> Iterator[Observer]:
        """Give one; every line that it wrote is an object of JSON."""
        stream = io.StringIO()
        yield StructlogObserver(logger_to(stream, as_json=True, severity=Severity.DEBUG))
        for line in stream.getvalue().splitlines():
            assert {"event", "level", "timestamp"} <= json.loads(line).keys()


def test_no_fact_has_the_name_of_what_every_line_has() -> None:
    """Each documented fact stands in a line of its own name, of steps and events alike."""
    stream = io.StringIO()
    observer = StructlogObserver(logger_to(stream, as_json=True, severity=Severity.DEBUG))
    for name in FACTS:
        observer.event("race lost", Severity.INFO, {name: "told"}, under=None, at_s=0.0)
        begun = observer.begin("examine", {name: "told"}, under=None, at_s=0.0)
        observer.end(begun, "ok", {}, duration_s=1.0)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 3 * len(FACTS)
    for number, name in enumerate(FACTS):
        assert [line[name] for line in lines[3 * number : 3 * number + 2]] == ["told", "told"]


class TestConsole(ObserverContract):
    """Logs for people."""

    @pytest.fixture
    def observer(self) -> Observer:
        """Give one."""
        return StructlogObserver(logger_to(io.StringIO(), as_json=False, severity=Severity.INFO))


class TestOpenTelemetry(ObserverContract):
    """Spans and metrics."""

    @pytest.fixture
    def observer(self) -> Observer:
        """Give one."""
        return Collector().observer


def _lose_a_race() -> None:
    with step("push", collection="notes"), operation("get object", key="k") as asked:
        asked.note(size_bytes=7)
        raise Conflict("somebody was first", kind="lost-race")


def test_spans_nest_and_carry_facts_and_errors() -> None:
    """Parents, attributes by convention, and the kind of the error are on the spans."""
    collector = Collector()
    with observed(collector.observer), pytest.raises(Conflict):
        _lose_a_race()
    outer, inner = collector.span("push"), collector.span("get object")
    assert outer.context is not None
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert outer.attributes == {"db.collection.name": "notes", "error.type": "lost-race"}
    assert inner.attributes is not None
    assert inner.attributes["chromaseal.size_bytes"] == 7
    assert not inner.status.is_ok


def test_every_measure_becomes_its_metric() -> None:
    """Each line of the table of measures is a metric with a value, by its facts."""
    collector = Collector()
    facts: dict[str, Any] = {"collection": "c", "outcome": "won", "check": "x", "passed": True}
    facts |= {"duration_s": 0.5, "held_s": 0.25, "stored_bytes": 9}
    with observed(collector.observer):
        with step("run job", job="merge"), operation("get object") as asked:
            asked.note(size_bytes=7)
        for measure in MEASURES:
            if measure.of == "event":
                event(measure.name, **facts)
    points = collector.points()
    assert points.keys() == {measure.metric for measure in MEASURES}
    assert points["chromaseal.store.io"][0].value == 7
    assert points["chromaseal.version.stored"][0].value == 9
    assert points["chromaseal.lock.hold.duration"][0].sum == pytest.approx(0.25)
    assert points["chromaseal.commit.attempts"][0].attributes == {
        attribute("collection"): "c",
        attribute("outcome"): "won",
    }


def test_metrics_have_bounded_attributes() -> None:
    """No metric is split by an id, a path or a key."""
    assert not {fact for measure in MEASURES for fact in measure.by} & UNBOUNDED


def test_a_log_names_the_step_around_each_line() -> None:
    """Lines of one step carry its number; what happened in it says so."""
    stream = io.StringIO()
    with (
        observed(StructlogObserver(logger_to(stream, as_json=True, severity=Severity.INFO))),
        step("push", collection="notes"),
    ):
        event("race lost", lost_races=1, waited_s=0.12345678)
    first, last = map(json.loads, stream.getvalue().splitlines())
    assert first["part_of"] == last["step"]
    assert (first["event"], first["waited_s"]) == ("race lost", 0.123457)
    assert (last["event"], last["outcome"], last["collection"]) == ("push", "ok", "notes")


def test_an_application_hands_in_its_logger() -> None:
    """``chromaseal.observe`` tells it from then on, until it is called with nothing."""
    stream = io.StringIO()
    chromaseal.observe(logger=logger_to(stream, as_json=True, severity=Severity.INFO))
    try:
        event("race lost", lost_races=1)
    finally:
        chromaseal.observe()
    event("race lost", lost_races=2)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["lost_races"] == 1


def test_an_application_with_providers_gets_spans() -> None:
    """``chromaseal.observe(opentelemetry=True)`` works, also before any provider is set up."""
    chromaseal.observe(opentelemetry=True)
    try:
        assert is_observed()
        with step("push"):
            event("race lost")
    finally:
        chromaseal.observe()
    assert not is_observed()
