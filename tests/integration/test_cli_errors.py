"""What the command line says when it is stopped, misused, or refused by machine and store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chromadb
import pytest

from chromaseal import keys
from chromaseal.testing.command_line import (
    TIMEOUT_S,
    Answer,
    begin,
    chromaseal,
    command_line,
    environment,
)
from chromaseal.testing.warm_start import FOREGROUND

pytestmark = pytest.mark.slow

# Root may do what modes forbid, unless it gives that up.
_BOUND_BY_MODES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
_STOPPERS = (signal.SIGINT, signal.SIGTERM)
_COMMANDS: dict[str, tuple[str, ...]] = {
    "push": ("push", "notes", "notes"),
    "pull": ("pull", "notes", "copy"),
    "diff": ("diff", "notes", "1"),
    "replicate": ("replicate", "notes", "notes"),
    "follow": ("follow", "notes", "copies"),
}
_ENDLESS = ("replicate", "follow")


def make_directory(directory: Path, *collections: str) -> Path:
    """Make a ChromaDB directory that no process has open."""
    script = (
        "import sys, chromadb\n"
        "client = chromadb.PersistentClient(sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    client.create_collection(name).add(ids=['a'], embeddings=[[1.0, 0.0]])\n"
    )
    done = [command_line()[0], "-c", script, str(directory), *collections]
    subprocess.run(done, check=True, timeout=TIMEOUT_S)
    return directory


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a directory and a vault that has it; tests take copies."""
    folder = tmp_path_factory.mktemp("pushed")
    make_directory(folder / "notes", "notes")
    answer = chromaseal("push", "notes", "notes", cache=folder / "cache", folder=folder)
    assert answer.exit_code == 0, answer.errors
    return folder


@pytest.fixture
def here(pushed: Path, tmp_path: Path) -> Path:
    """Give a folder of the test's own with a directory, and a vault that has it."""
    shutil.copytree(pushed, tmp_path / "here")
    return tmp_path / "here"


def run(
    here: Path, *arguments: str, prefix: tuple[str, ...] = (), cache: Path | None = None
) -> Answer:
    """Run a command in a folder."""
    answer = chromaseal(*arguments, cache=cache or here / "cache", folder=here, prefix=prefix)
    assert "Traceback" not in answer.errors, answer.errors
    return answer


def started(
    here: Path,
    *arguments: str,
    prefix: tuple[str, ...],
    variables: Mapping[str, str] | None = None,
) -> Answer:
    """Run a command that starts as a user's does, for tests of starting."""
    done = subprocess.run(
        [*prefix, *command_line(*arguments)],
        cwd=here,
        env={**environment(here / "cache"), **(variables or {})},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def only_error(answer: Answer) -> dict[str, Any]:
    """Give the one error of an answer, which has to be its last line."""
    [error] = answer.only("error")
    assert answer.events[-1] == error
    assert (error["exit_code"], bool(error["hint"])) == (answer.exit_code, True)
    return error


def bound_by_modes() -> tuple[str, ...]:
    """Give what to put before a command so that file modes count for it."""
    if os.geteuid() != 0:
        return ()
    usable = subprocess.run([*_BOUND_BY_MODES, "true"], check=False, capture_output=True)
    if usable.returncode:
        pytest.skip("root cannot give up its rights here")
    return _BOUND_BY_MODES


def stopped(here: Path, signal_number: int, *arguments: str) -> Answer:
    """Stop a command as it reads its vault's first object, and give what it says.

    The object is a pipe that opens when the command reads it. It ends after the signal: one that
    comes just before a read is heard when that has ended.
    """
    pin = here / "vault" / keys.VAULT
    pin.unlink()
    os.mkfifo(pin)

    def stop(process: int) -> None:
        with pin.open("wb"):
            os.kill(process, signal_number)

    return chromaseal(*arguments, cache=here / "cache", folder=here, meanwhile=stop)


@pytest.mark.parametrize("signal_number", _STOPPERS)
@pytest.mark.parametrize("command", [name for name in _COMMANDS if name not in _ENDLESS])
def test_whoever_stops_a_command_is_told_what_that_means(
    here: Path, command: str, signal_number: int
) -> None:
    """Ctrl-C and SIGTERM end with an exit code, a word once, and what to do next."""
    answer = stopped(here, signal_number, *_COMMANDS[command])
    assert (answer.exit_code, answer.out) == (130, "")
    told = ["everything that was reported as done is stored", "run the same command again to go on"]
    if command == "diff":
        # It only looks.
        told = [
            "it was stopped before its end, and has stored nothing",
            "run the same command again; it begins anew",
        ]
    assert answer.errors.splitlines() == [f"interrupted: {told[0]}", f"  next: {told[1]}"]


@pytest.mark.parametrize("signal_number", _STOPPERS)
def test_programs_are_told_that_a_command_was_stopped(here: Path, signal_number: int) -> None:
    """With --json the last line is an error, as for every other way to fail."""
    answer = stopped(here, signal_number, *_COMMANDS["pull"], "--json")
    assert answer.exit_code == 130
    assert only_error(answer)["error"] == "interrupted"
    assert answer.errors == ""


@pytest.mark.parametrize("signal_number", _STOPPERS)
@pytest.mark.parametrize("command", _ENDLESS)
def test_what_only_ends_when_stopped_ends_well(
    here: Path, command: str, signal_number: int
) -> None:
    """Ctrl-C is how follow and replicate end: no error, and one word."""
    answer = stopped(here, signal_number, *_COMMANDS[command])
    assert (answer.exit_code, answer.out, answer.errors) == (0, "stopped\n", "")


@pytest.mark.parametrize("command", _ENDLESS)
def test_programs_are_told_that_watching_ended(here: Path, command: str) -> None:
    """What was done before stays reported, and the last line says that it was stopped."""
    if command == "replicate":
        shutil.rmtree(here / "vault")
    process = begin(*_COMMANDS[command], "--json", cache=here / "cache", folder=here)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate()
    assert (first["version"], process.returncode) == (1, 0)
    assert [json.loads(line) for line in rest.splitlines()] == [{"event": "stopped"}]


@pytest.mark.parametrize(
    ("module", "command", "end"),
    [
        *((each, "log notes", (130, "")) for each in ("typer", "numpy", "rich.console")),
        *(("typer", each, (0, "stopped\n")) for each in ("worker", "follow notes copies")),
    ],
)
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_stopping_at_the_start_shows_no_traceback(
    tmp_path: Path, module: str, command: str, end: tuple[int, str], signal_name: str
) -> None:
    """A signal in the middle of the imports ends like one after them, services well."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Stopping:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            sys.meta_path.remove(self)\n"
        f"            os.kill(os.getpid(), signal.{signal_name})\n"
        "sys.meta_path.insert(0, Stopping())\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    answer = started(tmp_path, *command.split(), prefix=FOREGROUND, variables={"PYTHONPATH": path})
    assert (answer.exit_code, answer.out) == end
    assert answer.errors.startswith("interrupted: ") == bool(answer.exit_code)


@pytest.mark.parametrize(
    "arguments",
    [
        ("push", "--json"),
        ("push", "notes", "notes", "--unknown", "--json"),
        ("follow", "notes", "copies", "--interval", "soon", "--json"),
        ("nothing", "--json"),
        ("runs", "nothing", "--json"),
        ("--json",),
    ],
)
def test_wrong_calls_are_errors_for_programs(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """With --json a wrong call is one line on standard output, and nothing else anywhere."""
    answer = run(tmp_path, *arguments)
    error = only_error(answer)
    assert (error["error"], answer.exit_code, answer.errors) == ("usage", 2, "")
    assert error["message"]
    assert error["hint"].endswith(" --help")


def test_wrong_calls_are_shown_to_people(tmp_path: Path) -> None:
    """Without --json standard error has the usage line and what is wrong."""
    answer = run(tmp_path, "push")
    assert (answer.exit_code, answer.out) == (2, "")
    assert "chromaseal push [OPTIONS] DIR COLLECTION" in answer.errors
    assert "Missing argument 'DIR'" in answer.errors


@pytest.mark.parametrize("url", ["s3://", "gs://", "az://", "s3:///vault", "s3://b b/vault"])
def test_urls_without_a_bucket_are_refused(tmp_path: Path, url: str) -> None:
    """What no store can be made of is a wrong URL, and is named as it was given."""
    error = only_error(run(tmp_path, "log", "notes", "--vault", url, "--json"))
    assert error["error"] == "bad-url"
    assert url in error["message"]


def test_an_impossible_cache_is_named(here: Path) -> None:
    """A cache that cannot be made is told from a vault or target that cannot be written."""
    (here / "file").touch()
    for cache in (here / "file" / "cache", Path("/proc/nothing/cache")):
        answer = run(here, "pull", "notes", "copy", "--json", cache=cache)
        error = only_error(answer)
        assert error["error"] == "cannot-write"
        assert str(cache) in error["message"]
    assert not (here / "copy").exists()
    assert run(here, "log", "notes", cache=Path("/proc/nothing")).exit_code == 0


def test_a_cache_without_the_right_to_write_is_named(here: Path) -> None:
    """The same for a cache that is there and that this user may only read."""
    prefix, cache = bound_by_modes(), here / "shared"
    cache.mkdir(mode=0o555)
    answer = run(here, "pull", "notes", "copy", "--json", prefix=prefix, cache=cache)
    error = only_error(answer)
    assert error["error"] == "cannot-write"
    assert str(cache) in error["message"]


def test_a_folder_that_is_gone_is_an_error_like_others(tmp_path: Path) -> None:
    """Without a folder to stand in nothing can be found, and the message says that."""
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    answer = started(tmp_path, "log", "notes", "--json", prefix=("bash", "-c", script, "bash"))
    assert only_error(answer)["error"] == "system-error"


def test_what_the_machine_refuses_is_an_error_like_others(here: Path) -> None:
    """A file that cannot be read is named, in text and in JSON."""
    prefix, database = bound_by_modes(), here / "notes" / "chroma.sqlite3"
    database.chmod(0)
    said = run(here, "push", "notes", "notes", "--vault", "new", prefix=prefix)
    assert (said.exit_code, said.out) == (7, "")
    assert "system-error: " in said.errors
    error = only_error(run(here, "push", "notes", "notes", "--json", prefix=prefix))
    assert error["error"] == "system-error"
    assert "chroma.sqlite3" in error["message"]
    assert "Permission denied" in error["message"]


@pytest.mark.parametrize("ledger", ["there", "unreadable", "missing"])
def test_a_vault_that_cannot_be_written_can_be_read(here: Path, ledger: str) -> None:
    """Versions come from a vault on a read-only disk; only writing is refused."""
    prefix, vault = bound_by_modes(), here / "vault"
    if ledger == "missing":
        shutil.rmtree(vault / ".ledger")
    for path in (vault, *vault.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    if ledger == "unreadable":
        next((vault / ".ledger").iterdir()).chmod(0)
    assert run(here, "log", "notes", prefix=prefix).exit_code == 0
    assert run(here, "pull", "notes", "copy", prefix=prefix).exit_code == 0
    assert (here / "copy" / "chroma.sqlite3").is_file()
    runs = run(here, "runs", "list", "--json", prefix=prefix)
    if ledger == "there":
        assert (runs.exit_code, runs.out) == (0, "")
    else:
        assert only_error(runs)["error"] == "ledger-unavailable"
    assert run(here, "tag", "notes", "name", prefix=prefix).exit_code == 7


def test_a_vault_has_to_be_somewhere(here: Path) -> None:
    """Where no directory can be made, none is, and the next step is another place."""
    (here / "file.py").touch()
    for place in ("file.py", "file.py/vault"):
        error = only_error(run(here, "push", "notes", "notes", "--vault", place, "--json"))
        assert error["error"] == "cannot-write"
        assert str(here / place) in error["message"]
        assert error["hint"] == "choose another place for the vault"


@pytest.mark.parametrize("made", [True, False])
def test_a_vault_has_to_be_writable(here: Path, *, made: bool) -> None:
    """The same where the place, or the one above it, may only be read."""
    prefix, parent = bound_by_modes(), here / "parent"
    parent.mkdir(mode=0o555)
    place = "parent" if made else "parent/vault"
    answer = run(here, "push", "notes", "notes", "--vault", place, "--json", prefix=prefix)
    assert only_error(answer)["error"] == "cannot-write"
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize("command", ["push", "replicate"])
def test_a_mistyped_directory_makes_no_vault(here: Path, command: str) -> None:
    """It is refused before anything is written."""
    answer = run(here, command, "./mistyped", "notes", "--vault", "new", "--json")
    assert (only_error(answer)["error"], answer.errors) == ("not-chromadb", "")
    assert not (here / "new").exists()


def test_a_new_vault_is_announced_once(here: Path) -> None:
    """A mistyped --vault is a new vault: whoever makes one is told, beside the answer."""
    arguments = ("push", "notes", "notes", "--vault", "mistyped", "--json")
    first, second = run(here, *arguments), run(here, *arguments)
    assert first.errors == f"made a vault at {(here / 'mistyped').as_uri()}\n"
    assert [event["event"] for event in first.events] == ["pushed"]
    assert second.errors == ""


def test_where_no_vault_is_both_ways_to_make_one_are_named(tmp_path: Path) -> None:
    """A vault begins with a ChromaDB directory as well as with receipts."""
    error = only_error(run(tmp_path, "log", "notes", "--json"))
    assert error["error"] == "no-vault"
    assert all(f"chromaseal {verb}" in error["hint"] for verb in ("push", "ingest"))


@pytest.mark.parametrize("names", [("aaa", "bbb"), ()])
def test_open_shows_the_collections_that_there_are(here: Path, names: tuple[str, ...]) -> None:
    """What open prints runs: it names the collections of the copy, not that of the vault."""
    make_directory(here / "other", *names)
    assert run(here, "push", "other", "pair").exit_code == 0
    said = run(here, "open", "pair", "copy").out.splitlines()[1:]
    assert len(said) == 1 + len(names)
    client = chromadb.PersistentClient(str(here / "copy"))
    assert {collection.name for collection in client.list_collections()} == set(names)
    assert said[0].strip() == "client = chromadb.PersistentClient('copy')"
    for line, name in zip(said[1:], names, strict=True):
        assert line.strip() == f"client.get_collection({name!r})"


@pytest.mark.parametrize("called", [["--help"], ["-h", "compact"]])
def test_help_is_for_both_kinds_of_users(tmp_path: Path, called: list[str]) -> None:
    """The first line and two lists: any ChromaDB directory, and receipts."""
    said = run(tmp_path, *called).out
    first = next(line for line in said.splitlines()[2:] if line.strip())
    assert "ChromaDB" in first
    assert "receipts" in first
    general, receipts = said.index("Any ChromaDB directory"), said.index("─ Receipts ")
    assert said.index("push ") < said.index("stats ")
    assert general < said.index("│ push ") < receipts < said.index("│ ingest ")
    assert receipts < said.index("│ runs ")


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("push", "push [OPTIONS] DIR COLLECTION"),
        ("open", "open [OPTIONS] COLLECTION DIR"),
        ("diff", "diff [OPTIONS] COLLECTION A [B]"),
        ("ingest", "ingest [OPTIONS] PATHS..."),
        ("compact", "compact [OPTIONS] [COLLECTIONS]..."),
    ],
)
def test_usage_lines_read_like_the_reference(tmp_path: Path, command: str, usage: str) -> None:
    """Arguments are capitals, and those that may be left out are in brackets."""
    assert usage in run(tmp_path, command, "--help").out
