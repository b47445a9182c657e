"""What people see of tables, amounts and progress, without a command around it."""

from __future__ import annotations

import io
import re
import sys

import pytest

from chromaseal.entrypoints.cli.gc_cmd import _usd
from chromaseal.entrypoints.cli.output import Output, short_ids, span

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        """Say that people read this."""
        return True


def test_a_table_without_rows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A title with nothing below it would leave open whether there is nothing."""
    Output.of(as_json=False).table("Runs merged", ["run", "begun"], [])
    assert capsys.readouterr().out == "Runs merged: none\n"


def test_a_table_leaves_out_empty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns that no row fills take no place."""
    Output.of(as_json=False).table("Versions", ["number", "runs"], [[2, ""], [1, ""]])
    assert "runs" not in capsys.readouterr().out


def test_lines_end_where_somebody_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off a terminal they have no end, unless COLUMNS names one."""
    for columns, lines in (("", 3), ("40", 4), ("no number", 3)):
        monkeypatch.setenv("COLUMNS", columns)
        Output.of(as_json=False).table("Runs", ["why"], [["word " * 12]])
        assert len(capsys.readouterr().out.splitlines()) == lines


def test_ids_are_as_long_as_it_takes_to_tell_them_apart() -> None:
    """Eight characters at least, and the whole of one with which another begins."""
    ids = ["import-2026-a1", "b7fe33d1-52", "import-2026-a2", "import-2026", "one"]
    assert list(short_ids(ids).values()) == [
        *("import-2026-a1", "b7fe33d1", "import-2026-a2", "import-2026", "one")
    ]
    assert short_ids(["0123456789", "0123456x"]) == {
        "0123456789": "01234567",
        "0123456x": "0123456x",
    }
    assert short_ids([]) == {}


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(12.345, "$12.35"), (0.25, "$0.25"), (1.6e-05, "$0.000016"), (8.1e-10, "$0.00000000081")],
)
def test_small_amounts_of_money_are_written_out(amount: float, shown: str) -> None:
    """Nobody has to count what an e-07 means."""
    assert _usd(amount) == shown


def test_a_span_of_one_version_is_its_number() -> None:
    """From 3 to 3 is 3."""
    assert [span(3, 3), span(3, 5)] == ["3", "3 to 5"]


def test_a_step_ends_as_the_next_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done shows as done, also where nobody knew how long it would take."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    with Output.of(as_json=False).steps() as show:
        show("notes", "verify", 0, 0)
        show("words", "verify", 0, 0)
        show("notes", "publish", 10_501_560, 21_003_120)
    drawn = _ESCAPES.sub("", terminal.getvalue())
    assert re.search(r"notes verify +\S+ +100%", drawn)
    assert re.search(r"notes publish +\S+ +50%", drawn)
    assert not re.search(r"words verify +\S+ +\d+%", drawn)
    assert "10501560" not in drawn
