"""OpenTelemetry's SDK as its environment variables say, for the command line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version as release_of

from opentelemetry import metrics, trace
from opentelemetry.context import attach, detach
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# A collector that is gone must not hold a command up for longer.
_LONGEST_FLUSH_MS = 1000
_TIMEOUT = "OTEL_EXPORTER_OTLP_TIMEOUT"
_SERVICE = "chromaseal"


class _FirstOnly(logging.Handler):
    """Says once, in one line, that the collector cannot be reached; the SDK says it each time."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said = False

    def emit(self, record: logging.LogRecord) -> None:
        """Say the first thing."""
        if not self._said and sys.stderr is not None:
            self._said = True
            why = record.getMessage().splitlines()[0]
            sys.stderr.write(f"the collector gets no spans and metrics of this command: {why}\n")


def set_up(environment: Mapping[str, str]) -> Callable[[], None]:
    """Set the process's providers up, with exporters to the collector that is named.

    Args:
        environment: with ``OTEL_EXPORTER_OTLP_ENDPOINT`` and the like, which the SDK reads itself,
            and ``TRACEPARENT`` of who called this program, if anybody did.

    Returns:
        What sends the rest and ends it all.
    """
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(_FirstOnly())
    # Nobody else has set logging up in a command, and Python would print what nobody handles.
    logger.propagate = False
    attributes = {"service.version": release_of("chromaseal")}
    if "OTEL_SERVICE_NAME" not in environment:
        attributes["service.name"] = _SERVICE
    resource = Resource.create(attributes)
    # The SDK's own ten seconds are a service's, not a command's.
    timeout_s = None if _TIMEOUT in environment else _LONGEST_FLUSH_MS / 1000
    tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=timeout_s)))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(timeout=timeout_s))
    metering = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    trace.set_tracer_provider(tracing)
    metrics.set_meter_provider(metering)
    carrier = {name.lower(): value for name, value in environment.items()}
    caller = attach(TraceContextTextMapPropagator().extract(carrier))

    def finish() -> None:
        detach(caller)
        tracing.force_flush(_LONGEST_FLUSH_MS)
        tracing.shutdown()
        metering.shutdown(_LONGEST_FLUSH_MS)

    return finish
