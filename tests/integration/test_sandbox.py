"""A child process that hangs, dies or grows harms nobody, and the next job is answered."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread

import pytest

from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.adapters.process import sandbox as sandbox_module
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.delta.model import Delta, DeltaHeader, upserts_of
from chromaseal.errors import ChromasealError, Unavailable
from chromaseal.sandbox import Plain, limits_for
from chromaseal.testing.records import record
from chromaseal.testing.waiting import wait_until

LIMITS = limits_for(0)


@pytest.fixture(autouse=True)
def _cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start children as every user's machine does."""
    monkeypatch.setattr(sandbox_module, "begin", sandbox_module.begin_cold)


class EnoughError(Exception):
    """What a caller's own progress callback raises."""


def merge_request(folder: Path, records: int = 1) -> Plain:
    """Ask for a merge of that many records into a directory that does not exist yet."""
    header = DeltaHeader("run", "notes", "2026-11-23T12:00:00.000000Z", None)
    rows = upserts_of([record(f"r{number}", number) for number in range(records)])
    path = folder / "delta.parquet"
    path.write_bytes(ParquetDeltaCodec().encode(Delta(header, rows, {}, ())))
    return {
        "directory": str(folder / "directory"),
        "collection": "notes",
        "space": "l2",
        "default_model": False,
        "deltas": [str(path)],
    }


def endless_request(folder: Path) -> Plain:
    """Ask for a merge that waits for ever: its delta is a pipe that nobody writes to."""
    os.mkfifo(folder / "pipe")
    return {**merge_request(folder), "deltas": [str(folder / "pipe")]}


def is_alive(sandbox: ProcessSandbox, folder: Path) -> None:
    """Check that the next job is answered with its own answer."""
    folder.mkdir()
    assert sandbox.run("merge", merge_request(folder), limits=LIMITS)["changed"] == 1


def test_a_job_that_hangs_is_killed(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    """A job that does not end within its time is killed and said to have been."""
    with pytest.raises(Unavailable) as caught:
        sandbox.run("merge", endless_request(tmp_path), limits=replace(LIMITS, timeout_s=0.2))
    assert caught.value.kind == "child-timeout"
    is_alive(sandbox, tmp_path / "next")


def test_a_job_that_is_killed_is_told(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    """A job whose process is killed is an error that names the signal."""
    sandbox.start()
    killer = Thread(target=kill_next_child, args=(sandbox,))
    killer.start()
    with pytest.raises(Unavailable) as caught:
        sandbox.run("merge", endless_request(tmp_path), limits=replace(LIMITS, timeout_s=30))
    killer.join()
    assert caught.value.kind == "child-killed"
    assert "SIGKILL" in caught.value.message
    assert "memory" in caught.value.hint
    is_alive(sandbox, tmp_path / "next")


def kill_next_child(sandbox: ProcessSandbox) -> None:
    """Wait until a job has a process of its own, and kill it."""
    wait_until(lambda: bool(children_of(sandbox)), "a job")
    os.kill(children_of(sandbox)[0], signal.SIGKILL)


def children_of(sandbox: ProcessSandbox) -> list[int]:
    """Give the processes that the warm process has forked."""
    assert sandbox._process is not None
    pid = sandbox._process.pid
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_job_has_exited_when_its_answer_comes(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    """Whoever has the answer may rely on everything being closed."""
    for turn in range(5):
        is_alive(sandbox, tmp_path / str(turn))
        assert children_of(sandbox) == []


def test_a_warm_process_that_is_killed_is_started_anew(tmp_path: Path) -> None:
    """The death of the warm process costs at most the job that it had."""
    sandbox = ProcessSandbox()
    sandbox.start()
    assert sandbox._process is not None
    sandbox._process.kill()
    sandbox._process.wait()
    is_alive(sandbox, tmp_path / "next")
    sandbox.close()


@pytest.mark.parametrize("fork", [True, False])
def test_a_job_that_is_no_job_is_told(tmp_path: Path, *, fork: bool) -> None:
    """What the job raises comes back as words, and the process lives on."""
    sandbox = ProcessSandbox(fork=fork)
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            sandbox.run("nothing", {}, limits=LIMITS)
        assert caught.value.kind == "child-died"
        # The line that tells what it was comes first, then where.
        said = caught.value.message.splitlines()
        assert said[0] == "the process that was to nothing died: KeyError: 'nothing'"
        assert said[1].startswith("Traceback")
    with pytest.raises(ChromasealError):
        sandbox.run(
            "verify",
            {"directory": str(tmp_path), "deep": False, "collection": "x"},
            limits=LIMITS,
        )
    sandbox.close()


def test_a_job_that_writes_too_much_is_stopped(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    """A runaway file ends the job, not the disk."""
    with pytest.raises(Unavailable):
        sandbox.run("merge", merge_request(tmp_path), limits=replace(LIMITS, file_size_bytes=8192))
    assert all(p.stat().st_size <= 8192 for p in tmp_path.rglob("*") if p.is_file())
    is_alive(sandbox, tmp_path / "next")


@pytest.mark.slow
def test_a_caller_that_gives_up_gets_no_stale_answer(tmp_path: Path) -> None:
    """After a progress callback raised, the next job is answered with its own answer."""
    sandbox = ProcessSandbox()

    def give_up(done: int, total: int) -> None:
        raise EnoughError(f"{done} of {total}")

    with pytest.raises(EnoughError):
        sandbox.run("merge", merge_request(tmp_path, 1_100), limits=LIMITS, progress=give_up)
    is_alive(sandbox, tmp_path / "next")
    sandbox.close()


def test_errors_keep_their_class(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    """A chromaseal error of the child is the same error here."""
    request = {
        "directory": str(tmp_path),
        "deep": True,
        "scratch": str(tmp_path),
        "collection": "notes",
    }
    with pytest.raises(ChromasealError) as caught:
        sandbox.run("verify", request, limits=LIMITS)
    assert (type(caught.value).__name__, caught.value.kind) == ("Damaged", "no-database")
    assert caught.value.hint


@pytest.mark.slow
def test_a_job_that_hangs_outlives_nobody_for_long(tmp_path: Path) -> None:
    """One without a process of its own ends, though whoever watched over its time was killed."""
    with (tmp_path / "stderr").open("w+") as stderr:
        process = sandbox_module.begin_cold([], stderr)
        assert process.stdin is not None
        limits = asdict(replace(LIMITS, timeout_s=0.1))
        asked = {"job": "merge", "request": endless_request(tmp_path), "limits": limits}
        process.stdin.write(json.dumps({**asked, "fork": False, "observe": False}) + "\n")
        process.stdin.flush()
        try:
            assert process.wait(timeout=60) == -signal.SIGALRM
        finally:
            process.kill()
            process.communicate()
