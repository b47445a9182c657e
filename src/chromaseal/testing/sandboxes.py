"""Sandboxes for tests: one that somebody watches, and one in which nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from chromaseal.sandbox import Limits, Plain, Progress, Sandbox

Watch: TypeAlias = Callable[[str, Mapping[str, Any]], None]
Answer: TypeAlias = Callable[[str, Mapping[str, Any]], Plain]


class WatchedSandbox:
    """Runs jobs in another sandbox, each after somebody was told.

    Args:
        inner: where jobs really run.
        watch: told of a job and its request; what it raises, the job has raised.
    """

    def __init__(self, inner: Sandbox, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    def start(self) -> None:
        """Begin what takes long."""
        self._inner.start()

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Tell of a job, and run it."""
        self._watch(job, request)
        return self._inner.run(job, request, limits=limits, progress=progress)

    def close(self) -> None:
        """End whatever runs."""
        self._inner.close()


class AnsweringSandbox:
    """Runs nothing.

    Args:
        answer: gives what a job would have.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def start(self) -> None:
        """Have nothing to start."""

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Answer."""
        del limits, progress
        return self._answer(job, request)

    def close(self) -> None:
        """Have nothing to close."""
