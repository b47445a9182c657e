"""What every handler tells: structured log lines, metrics as log lines, and traces.

Lines and metrics have ids, counts, kinds and reasons, as errors give them; never an event, an
answer, or the environment.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)

from chromaseal.errors import ChromasealError, UsageError

Event: TypeAlias = dict[str, Any]
# What every image, stream and queue of the existing pipeline counts under.
_NAMESPACE = "EmbeddingWorkflow"

logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "chromaseal"))
metrics = Metrics(
    namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", _NAMESPACE),
    service=os.environ.get("POWERTOOLS_SERVICE_NAME", "chromaseal"),
)


class Context(Protocol):
    """What is asked of Lambda's context."""

    @property
    def aws_request_id(self) -> str:
        """Name the invocation."""
        ...

    def get_remaining_time_in_millis(self) -> int:
        """Tell how long it may go on."""
        ...


Handler: TypeAlias = Callable[[Event, Any], Any]


def told(work: Callable[[Event, Context], Any]) -> Handler:
    """Make a handler of what is done with an event: its lines, metrics and traces begin and end."""

    @functools.wraps(work)
    def do(event: Event, context: Context) -> Any:  # noqa: ANN401 - what Lambda takes
        try:
            return work(event, context)
        except ChromasealError as error:
            log_error("the invocation failed", error)
            raise
        finally:
            left_ms = context.get_remaining_time_in_millis()
            metrics.add_metric("LambdaRemainingTime", unit=MetricUnit.Milliseconds, value=left_ms)

    watched: Handler = metrics.log_metrics(do, capture_cold_start_metric=True)
    watched = logger.inject_lambda_context(watched, clear_state=True)
    return _traced(watched)


def count(name: str, number: float = 1) -> None:
    """Count for a metric; 0 is no sample."""
    if number:
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=number)


def log_error(message: str, error: ChromasealError, **facts: object) -> None:
    """Write what went wrong, its kind and what to do next."""
    told_of = {"error": error.kind, "reason": error.message, "hint": error.hint}
    logger.error(message, extra={**told_of, **facts})


def stops_at(context: Context, reserve_s: float) -> Callable[[], bool]:
    """Give what tells whether too little time is left to go on.

    Args:
        context: of the invocation.
        reserve_s: what the rest, from anywhere on, may take at most.
    """
    left = left_s(context, reserve_s)
    return lambda: left() < 0


def left_s(context: Context, reserve_s: float) -> Callable[[], float]:
    """Give what tells for how many seconds an invocation may go on, but for what it keeps back."""
    return lambda: context.get_remaining_time_in_millis() / 1000 - reserve_s


def reserved_s(usual: float) -> float:
    """Give the seconds that are kept back for the end; ``CHROMASEAL_RESERVE_S`` says otherwise.

    Raises:
        UsageError: ``bad-settings``.
    """
    return number_of(os.environ, "CHROMASEAL_RESERVE_S", usual)


def number_of(environment: Mapping[str, str], name: str, usual: float) -> float:
    """Read a number of at least 0 from the environment.

    Raises:
        UsageError: ``bad-settings``.
    """
    text = environment.get(name) or str(usual)
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not number >= 0:
        raise UsageError(f"{name} is {text!r}", kind="bad-settings", hint="a number of 0 or more")
    return number


def partial_answer(event: Event, kind: EventType, left: Mapping[str, ChromasealError]) -> Event:
    """Answer which messages or records are to be delivered again.

    Args:
        event: as it came.
        kind: of the event.
        left: why, by message id or sequence number.
    """

    def settle(record: Any) -> None:  # noqa: ANN401 - one class per kind
        key = record.message_id if kind is EventType.SQS else record.dynamodb.sequence_number
        if key in left:
            log_error("delivered again", left[key], message_id=key)
            raise left[key]

    processor = BatchProcessor(event_type=kind, raise_on_entire_batch_failure=False)
    answer: Any = process_partial_response(event, settle, processor)
    return dict(answer)


def _traced(handler: Handler) -> Handler:
    # The tracer takes half a second to import, and has nobody to tell where no daemon is.
    disabled = os.environ.get("POWERTOOLS_TRACE_DISABLED", "").lower() in {"true", "1"}
    if disabled or not os.environ.get("AWS_XRAY_DAEMON_ADDRESS"):
        return handler
    from aws_lambda_powertools.tracing import Tracer  # noqa: PLC0415

    tracer = Tracer(auto_patch=False)
    traced: Handler = tracer.capture_lambda_handler(
        handler, capture_response=False, capture_error=False
    )
    return traced
