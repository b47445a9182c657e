"""Names that are not there, arguments in the wrong order, output that nobody takes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from chromaseal.testing.command_line import Answer, chromaseal, command_line, environment
from chromaseal.testing.directory_states import made_states

pytestmark = pytest.mark.slow

_FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a vault that has one collection; tests must not change it."""
    folder = tmp_path_factory.mktemp("here")
    pushed = chromaseal(
        "push", str(made_states()[0]), "notes", cache=folder / "cache", folder=folder
    )
    assert pushed.exit_code == 0, pushed.errors
    return folder


def run(here: Path, *arguments: str) -> Answer:
    """Run a command for what it says to people."""
    return chromaseal(*arguments, cache=here / "cache", folder=here)


def run_into(here: Path, out: Path, *arguments: str) -> tuple[int, str]:
    """Run a command whose output goes to a file; give its exit code and what it said beside."""
    with out.open("wb") as stream:
        done = subprocess.run(
            command_line(*arguments),
            cwd=here,
            env=environment(here / "cache"),
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "show note",
        "diff note 1",
        "tag note fine",
        "untag note fine",
        "rollback note 1",
        "stats note",
        "pull note copy",
        "open note copy",
        "search word --exact --collection note",
        "compact note",
        "runs list --collection note",
    ],
)
def test_a_mistyped_collection_gets_the_right_ones(here: Path, command: str) -> None:
    """Whatever was to be done with it, the same is said of a collection that is not there."""
    answer = run(here, *command.split())
    assert (answer.exit_code, answer.out) == (4, "")
    assert answer.errors.startswith("no-collection: there is no collection note in ")
    assert answer.errors.endswith("next: there are: notes\n")


def test_a_worker_tells_a_mistyped_collection(here: Path) -> None:
    """One that ends when nothing waits does not end well over a name that nobody knows."""
    answer = run(here, "worker", "--once", "--collections", "notes", "--collections", "note")
    assert (answer.exit_code, "nothing waited" in answer.out) == (4, False)
    assert answer.errors.startswith("no-collection: there is no collection note in ")
    assert run(here, "worker", "--once", "--collections", "notes").out.endswith(
        "nothing waited to be folded into a new version\nstopped\n"
    )


def test_a_new_ledger_of_an_old_vault_is_announced(here: Path, tmp_path: Path) -> None:
    """Who lost it is not told that there was never a run, but how to make it again."""
    shutil.copytree(here / "vault", tmp_path / "vault")
    ledger = tmp_path / "vault" / ".ledger" / "ledger.sqlite"
    ledger.unlink()
    first, second = run(tmp_path, "runs", "list"), run(tmp_path, "runs", "list")
    assert first.errors.startswith(f"made a ledger at {ledger}; ")
    assert "doctor --rebuild-ledger" in first.errors
    assert (first.exit_code, second.errors) == (0, "")


def test_a_version_that_is_not_there_is_not_a_collection(here: Path) -> None:
    """A collection that is there is not said to be missing."""
    assert run(here, "show", "notes", "9").errors.startswith("no-version: ")


def test_exchanged_arguments_are_told_their_order(here: Path) -> None:
    """Push wants the directory first and pull wants it last."""
    for command, usage in {
        "pull ./copy notes": "chromaseal pull [OPTIONS] COLLECTION DIR",
        "push notes ./app": "chromaseal push [OPTIONS] DIR COLLECTION",
    }.items():
        answer = run(here, *command.split())
        assert answer.exit_code == 2
        assert "is a path, not a collection's name" in answer.errors
        assert answer.errors.endswith(f"{usage}\n")


@pytest.mark.parametrize("arguments", [("log", "notes"), ("log", "notes", "--json")])
def test_an_answer_that_cannot_be_written_is_an_error(
    here: Path, arguments: tuple[str, ...]
) -> None:
    """A full disk is told once, beside the output, and by the exit code."""
    exit_code, errors = run_into(here, _FULL, *arguments)
    assert exit_code == 7
    assert errors.startswith("system-error: ")
    assert (errors.count("No space left"), "Traceback" in errors) == (1, False)


@pytest.mark.parametrize("arguments", [("log", "notes"), ("log", "notes", "--json")])
def test_whoever_has_read_enough_may_go(here: Path, arguments: tuple[str, ...]) -> None:
    """A reader such as ``head`` ends a command well."""
    with subprocess.Popen(
        command_line(*arguments),
        cwd=here,
        env=environment(here / "cache"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (0, "")


def test_help_breaks_lines_where_the_terminal_ends(here: Path) -> None:
    """A paragraph of the source is one of the help, whatever the width of either."""
    shown = run(here, "pull", "--help").out
    assert "A directory whose records were changed since it was pulled is left alone." in shown


@pytest.mark.parametrize("target", ["vault", "."])
def test_a_directory_that_is_no_copy_is_told_so_and_not_that_it_is_open(
    here: Path, target: str
) -> None:
    """A command has its vault's files open itself; to stop that process would help nobody."""
    for flags, kind in (((), "not-a-copy"), (("--overwrite",), "not-chromadb")):
        answer = run(here, "pull", "notes", target, *flags, "--json")
        assert answer.exit_code
        assert kind in answer.out + answer.errors
        assert "still-open" not in answer.out + answer.errors
