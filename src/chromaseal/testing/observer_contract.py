"""What every observer must do, and must bear."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from chromaseal.telemetry.emit import carried, event, observed, operation, step
from chromaseal.telemetry.observer import Observer, Severity


class ObserverContract:
    """Inherit, and give an observer in a fixture ``observer``."""

    def test_steps_nest_and_end(self, observer: Observer) -> None:
        """Steps in steps, operations and events in them, with facts of every type."""
        with observed(observer), step("push", collection="notes") as outer:
            with step("seal") as inner:
                inner.note(files=3, size_bytes=5, waited_s=0.25, sound=True)
            with operation("get object", key="a/b") as asked:
                asked.note(size_bytes=7)
            event("commit attempt", collection="notes", outcome="won")
            outer.note(records=1)

    def test_an_error_passes_on(self, observer: Observer) -> None:
        """What ends a step in an error is still that error to whoever called."""
        with observed(observer), pytest.raises(KeyError, match="mine"), step("push"):
            raise KeyError("mine")

    def test_threads_may_tell_at_once(self, observer: Observer) -> None:
        """Work in a pool tells from every thread."""

        def work(number: int) -> int:
            with step("store layer", layer=str(number)):
                event("check", check="labels", passed=True, duration_s=0.5)
            return number

        with observed(observer), step("publish"), ThreadPoolExecutor(4) as pool:
            assert list(pool.map(carried(work), range(20))) == list(range(20))

    def test_a_step_that_was_never_told_of_can_end(self, observer: Observer) -> None:
        """Whatever another observer called a step, or nothing, is borne."""
        observer.end(None, "ok", {}, duration_s=0.0)
        observer.event("check", Severity.INFO, {}, under=object(), at_s=0.0)
