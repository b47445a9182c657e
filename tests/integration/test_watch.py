"""A vault is watched cheaply, whether or not everything answers, and until it is stopped."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pty
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chromaseal.clock import SystemClock
from chromaseal.entrypoints.cli.output import Output
from chromaseal.entrypoints.cli.watch_cmd import _Show
from chromaseal.errors import ChromasealError, NotFound, Unavailable
from chromaseal.fleet.pipeline import CollectionLook, Look, happenings
from chromaseal.fleet.watching import Watching
from chromaseal.metering import CountingStore
from chromaseal.run.model import RunState
from chromaseal.run.unnamed_ledger import UnnamedLedger
from chromaseal.testing.command_line import chromaseal, command_line, environment
from chromaseal.testing.records import record, upserts
from chromaseal.testing.warm_start import FOREGROUND
from chromaseal.vault import Vault

NAME = "notes"


class Asked:
    """A ledger that counts what it is asked.

    Args:
        inner: the ledger.
    """

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self.questions: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the inner one has
        self.questions[name] += 1
        return getattr(self._inner, name)


class Watched:
    """A vault that is watched, and what that costs.

    Attributes:
        down: raised instead of opening the vault.
        opened: how often it was opened.
    """

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.down: Exception | None = None
        self.opened = 0
        self.store = CountingStore(vault.parts.store)
        self.ledger = Asked(vault.parts.ledger)
        self.watching = Watching(self.open, SystemClock())
        self._parts = vault.parts
        self.restore()

    @contextlib.contextmanager
    def open(self) -> Iterator[Vault]:
        """Open it, once more."""
        if self.down is not None:
            raise self.down
        self.opened += 1
        yield self.vault

    def restore(self) -> None:
        """Let everything answer."""
        ledger: Any = self.ledger
        self.vault.parts = replace(self._parts, store=self.store, ledger=ledger, leases=ledger)

    def cost(self) -> tuple[dict[str, int], int]:
        """Look; give the requests to the store, and the number of questions to the ledger."""
        before = self.store.usage
        self.ledger.questions.clear()
        self.watching.look()
        used = self.store.usage.since(before)
        counts = {
            name: getattr(used, name) for name in ("create", "replace", "get", "head", "list")
        }
        assert used.requests == sum(counts.values())
        return counts, sum(self.ledger.questions.values())


@pytest.fixture
def watched(written: Vault) -> Watched:
    """Give a vault of four versions."""
    return Watched(written)


def test_a_look_is_cheap(watched: Watched) -> None:
    """At rest a listing and a pointer, and two questions; a manifest where the pointer moved."""
    rest = {"create": 0, "replace": 0, "get": 1, "head": 0, "list": 1}
    assert watched.cost() == ({**rest, "get": 2}, 2)
    assert watched.cost() == (rest, 2)
    watched.vault.write({NAME: upserts(record("a", 1))})
    # What waits, and what is new.
    assert watched.cost() == (rest, 4)
    assert watched.cost() == (rest, 3)
    watched.vault.compact()
    assert watched.cost() == ({**rest, "get": 2}, 2)
    assert watched.cost() == (rest, 2)
    watched.vault.write({"others": upserts(record("a", 1))})
    # Before its first version a collection takes a listing more: its pointer may be lost.
    assert watched.cost()[0] == {**rest, "get": 2, "list": 2}


def test_all_is_seen(watched: Watched) -> None:
    """Runs by state, the oldest that waits, who compacts, what came, and why something failed."""
    vault, watching = watched.vault, watched.watching
    before = watching.look()
    vault.write({NAME: upserts(record("a", 1))}, run_id="late")
    vault.parts.leases.acquire(NAME, "somebody", duration_s=60)
    pending = [RunState.PENDING]
    vault.write({NAME: upserts(record("a", 1))}, run_id="bad")
    vault.parts.ledger.move(["bad"], NAME, states=pending, to=RunState.FAILED, at="", error="torn")
    now = watching.look()
    (seen,) = now.collections
    assert (seen.number, seen.records, seen.merged, seen.waiting) == (4, 8, 1, 1)
    assert (seen.holder, 0 < seen.lease_left_s <= 60) == ("somebody", True)
    assert seen.oldest_at == vault.run("late").created_at
    assert seen.lag_s is not None
    told = {each.what: each.detail for each in happenings(before, now)}
    assert told == {"added": "bad; late", "failed": "bad: torn"}


def test_what_does_not_answer_is_asked_again(watched: Watched) -> None:
    """Store or ledger, at the start or later; what was seen of it stands, and the other goes on."""
    watching, error = watched.watching, Unavailable("no route", kind="store-unavailable")
    watched.down = error
    assert (watching.look().problems, watching.look().collections) == ({"the store": error}, ())
    watched.down = None
    whole = watching.look()
    assert (watched.opened, whole.problems) == (1, {})
    parts = watched.vault.parts

    def gone() -> Unavailable:
        return error

    silent: Any = UnnamedLedger(gone)
    watched.vault.parts = replace(parts, ledger=silent, leases=silent)
    blind = watching.look()
    assert (list(blind.problems), blind.collections) == (["the ledger"], whole.collections)
    watched.restore()
    assert (watching.look().problems, watched.opened) == ({}, 2)
    key = f"{NAME}/snapshot/latest-pointer.txt"
    pointer = parts.store.get(key)
    parts.store.replace(key, b"torn", etag=pointer.etag)
    torn = watching.look()
    assert (list(torn.problems), torn.collections) == ([NAME], whole.collections)
    watched.down = NotFound("no vault", kind="no-vault")
    with pytest.raises(NotFound):
        watching.look()


def test_a_silent_ledger_is_noticed_before_the_first_collection(
    vault_at: Callable[[], Vault], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is told that no run waits; a ledger that is yet to be made keeps nothing back."""
    vault = vault_at()
    assert Watched(vault).cost()[1] == 1

    def look_without(error: ChromasealError) -> Look:
        silent: Any = UnnamedLedger(lambda: error)
        vault.parts = replace(vault.parts, ledger=silent, leases=silent)
        look = Watched(vault).watching.look()
        _Show(Output.of(as_json=False), None).look(look)
        return look

    assert look_without(NotFound("none yet", kind="missing-ledger")).problems == {}
    assert "0 collections, 0 runs waiting" in capsys.readouterr().out
    gone = Unavailable("no route", kind="ledger-unavailable")
    assert look_without(gone).problems == {"the ledger": gone}
    assert "0 collections, ? runs waiting" in capsys.readouterr().out


def test_the_command_looks_once(written: Vault, tmp_path: Path) -> None:
    """A line for programs, a table for people; without a ledger versions are shown all the same."""
    place = ("--vault", str(tmp_path / "vault"), "--ledger", str(tmp_path / "ledger.sqlite"))
    written.close()
    answer = chromaseal("watch", "--once", "--json", *place, cache=tmp_path / "cache")
    (look,) = answer.events
    assert (answer.exit_code, look["event"], look["problems"]) == (0, "look", {})
    (notes,) = look["collections"]
    assert (notes["version"], notes["records"], notes["runs"]["COMPLETED"]) == (4, 8, 4)
    (tmp_path / "ledger.sqlite").unlink()
    shown = chromaseal("watch", "--once", *place, cache=tmp_path / "cache")
    assert (shown.exit_code, "1 collection" in shown.out) == (0, True)
    assert "the ledger does not answer: there is no ledger" in shown.out
    assert not (tmp_path / "ledger.sqlite").exists()


def start(*arguments: str, cache: Path, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a command that can be interrupted."""
    return subprocess.Popen(
        [*FOREGROUND, *command_line(*arguments)],
        stdout=stdout,
        text=True,
        env=environment(cache),
    )


def test_a_terminal_is_drawn_anew(written: Vault, tmp_path: Path) -> None:
    """In place, with rates; at the end the cursor is there again."""
    written.close()
    ours, theirs = pty.openpty()
    place = ("--vault", str(tmp_path / "vault"), "--ledger", str(tmp_path / "ledger.sqlite"))
    process = start("watch", "--interval", "0.1", *place, cache=tmp_path / "cache", stdout=theirs)
    os.close(theirs)
    shown = b""
    while shown.count(b"a minute:") < 3:
        shown += os.read(ours, 4096)
    assert b"\x1b[2K" in shown
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):
        # Linux makes an error of the end of a terminal.
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)
    assert process.wait(60) == 0
    assert b"\x1b[?25h" in shown[shown.rindex(b"a minute:") :]
    assert b"stopped" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_tells_what_happens_until_it_is_stopped(
    written: Vault, tmp_path: Path, number: signal.Signals
) -> None:
    """A version that is published meanwhile is in the next line; then a clean end."""
    place = ("--vault", str(tmp_path / "vault"), "--ledger", str(tmp_path / "ledger.sqlite"))
    process = start("watch", "--json", "--interval", "0.1", *place, cache=tmp_path / "cache")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["happened"] == []
    written.write({NAME: upserts(record("a", 1))}, run_id="late")
    told: list[dict[str, Any]] = []
    while not told:
        told = json.loads(process.stdout.readline())["happened"]
    assert [(each["what"], each["detail"]) for each in told] == [("added", "late")]
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    assert (process.returncode, json.loads(rest.splitlines()[-1])) == (0, {"event": "stopped"})


def test_whoever_looks_seldom_is_told_how_fast_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    """Between the last two looks, where there were not two within a minute."""
    show, begin = _Show(Output.of(as_json=True), None), SystemClock().now()
    for turn in range(3):
        each = CollectionLook(NAME, 1 + 4 * turn, f"{turn}")
        show.look(Look(begin + dt.timedelta(minutes=2 * turn), (each,)))
    told = [json.loads(line)["per_minute"] for line in capsys.readouterr().out.splitlines()]
    assert [each["versions"] for each in told] == [0, 2, 2]
