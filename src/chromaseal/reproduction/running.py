"""An application that is writing: a job in a child process, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Self

from chromaseal.errors import ChromasealError, Unavailable
from chromaseal.reproduction.application import Plan
from chromaseal.sandbox import Limits, Progress, Sandbox, no_progress

_LIMITS = Limits(timeout_s=3600, memory_bytes=16 << 30, file_size_bytes=8 << 30)
_PATIENCE_S = 120.0


class RunningApplication:
    """Use as a context manager, which kills it in the end, wherever it is.

    Args:
        sandbox: where it runs; nobody else uses it, and it is closed in the end.
        directory: that it writes.
        plan: what it writes.
        progress: told of its first records.

    Attributes:
        directory: that it writes.
    """

    def __init__(
        self, sandbox: Sandbox, directory: Path, plan: Plan, *, progress: Progress = no_progress
    ) -> None:
        self._sandbox = sandbox
        self.directory = directory
        self._rest = directory.with_name(f"{directory.name}.rest")
        self._plan = plan
        self._progress = progress
        self._said = Condition()
        self._batches = 0
        self._heard = 0
        self._ended: ChromasealError | None = None
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Wait until it has written its first records and one batch."""
        self._thread.start()
        try:
            self.wait_for(1)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def batches(self) -> int:
        """Give the number of batches that it has reported as written."""
        return self._batches

    def wait_for(self, batches: int) -> None:
        """Wait until it has written that many batches.

        Raises:
            Unavailable: ``child-died``, it ended before, or it wrote nothing for minutes.
        """
        with self._said:
            while self._batches < batches and self._ended is None:
                heard = self._heard
                self._said.wait(_PATIENCE_S)
                if self._heard == heard and self._ended is None:
                    self._ended = _stuck()
            if self._batches < batches and self._ended is not None:
                raise self._ended

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let it begin no batch, so that others get on with their work."""
        self._rest.touch()
        try:
            yield
        finally:
            self._rest.unlink()

    def _run(self) -> None:
        request = {
            "directory": str(self.directory),
            "plan": self._plan.as_plain(),
            "rest": str(self._rest),
        }
        try:
            self._sandbox.run("write-on", request, limits=_LIMITS, progress=self._listen)
        except ChromasealError as error:
            with self._said:
                self._ended = error
                self._said.notify_all()

    def _listen(self, done: int, total: int) -> None:
        if total:
            self._progress(done, total)
        with self._said:
            self._batches = 0 if total else done
            self._heard += 1
            self._said.notify_all()

    def _end(self) -> None:
        self._sandbox.close()
        self._thread.join()


def _stuck() -> Unavailable:
    return Unavailable(
        f"the writing application wrote nothing for {_PATIENCE_S:.0f} s",
        kind="child-timeout",
        hint="run the same command again when the machine has less to do",
    )
