"""OpenTelemetry's SDK as its environment variables say, for the command line."""

from __future__ import annotations

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


def set_up(environment: Mapping[str, str]) -> Callable[[], None]:
    """Set the process's providers up, with exporters to the collector that is named.

    Args:
        environment: with ``OTEL_EXPORTER_OTLP_ENDPOINT`` and the like, which the SDK reads itself,
            and ``TRACEPARENT`` of who called this program, if anybody did.

    Returns:
        What sends the rest and ends it all.
    """
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
