"""Environment and verbosity -> who is told what a command does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from chromaseal.errors import UsageError
from chromaseal.telemetry import emit
from chromaseal.telemetry.observer import Observer, Several, Severity, Silent

LOG = "CHROMASEAL_LOG"
LOG_LEVEL = "CHROMASEAL_LOG_LEVEL"
_FORMS = ("off", "console", "json")
_SEVERITIES = {severity.name.lower(): severity for severity in Severity}
# Any of them says that somebody wants to hear.
_COLLECTORS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)


def observe(*, logger: object | None = None, opentelemetry: bool = False) -> None:
    """Tell an application's own log and providers what chromaseal does in this process.

    Args:
        logger: a structlog logger, such as ``structlog.get_logger()``; none by default.
        opentelemetry: make spans and metrics with the providers that the application has set
            up. Without either, nobody is told from now on.
    """
    observers: list[Observer] = []
    if logger is not None:
        from chromaseal.adapters.structlog.observer import StructlogObserver  # noqa: PLC0415

        observers.append(StructlogObserver(logger))
    if opentelemetry:
        from chromaseal.adapters.opentelemetry.observer import (  # noqa: PLC0415
            OpenTelemetryObserver,
        )

        observers.append(OpenTelemetryObserver())
    emit.observe(Several(tuple(observers)) if observers else Silent())


@contextmanager
def watched(
    environment: Mapping[str, str], *, verbosity: int = 0, without_log: Observer | None = None
) -> Iterator[None]:
    """Tell logs and a collector what happens in the block, as far as anybody wants them.

    Args:
        environment: ``CHROMASEAL_LOG`` (off, console or json), ``CHROMASEAL_LOG_LEVEL``
            (debug, info or warning), and OpenTelemetry's own variables.
        verbosity: 1 for a log at INFO, 2 for one at DEBUG, on the console if nothing else is
            said; 0 for what the environment says.
        without_log: who is told where there is no log; nobody by default.

    Raises:
        UsageError: ``bad-settings``.
    """
    form = _one_of(environment, LOG, _FORMS, "console" if verbosity else "off")
    level = _one_of(
        environment, LOG_LEVEL, tuple(_SEVERITIES), "debug" if verbosity > 1 else "info"
    )
    with ExitStack() as held:
        observers: list[Observer] = []
        if form != "off":
            observers.append(_log(_SEVERITIES[level], as_json=form == "json"))
        elif without_log is not None:
            observers.append(without_log)
        if _is_collected(environment):
            observers.append(_collected(environment, held))
        if observers:
            one = observers[0] if len(observers) == 1 else Several(tuple(observers))
            held.enter_context(emit.observed(one))
        yield


def _one_of(environment: Mapping[str, str], name: str, choices: tuple[str, ...], usual: str) -> str:
    value = environment.get(name, "").lower() or usual
    if value not in choices:
        raise UsageError(
            f"{name} is {value!r}", kind="bad-settings", hint=f"one of {', '.join(choices)}"
        )
    return value


def _is_collected(environment: Mapping[str, str]) -> bool:
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(environment.get(name) for name in _COLLECTORS)


def _log(severity: Severity, *, as_json: bool) -> Observer:
    # It takes a quarter of a second to import.
    from chromaseal.adapters.structlog.observer import (  # noqa: PLC0415
        StructlogObserver,
        logger_to,
    )

    return StructlogObserver(logger_to(sys.stderr, as_json=as_json, severity=severity))


def _collected(environment: Mapping[str, str], held: ExitStack) -> Observer:
    from chromaseal.adapters.opentelemetry.observer import OpenTelemetryObserver  # noqa: PLC0415
    from chromaseal.adapters.opentelemetry.setup import set_up  # noqa: PLC0415

    held.callback(set_up(environment))
    return OpenTelemetryObserver()
