"""The verbs on any ChromaDB directory from the outside: push to stats, as the README tells it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from chromaseal.testing.command_line import Answer, chromaseal, command_line, environment
from chromaseal.testing.directory_states import EXTRA, contents, made_states
from chromaseal.testing.warm_start import FOREGROUND

pytestmark = pytest.mark.slow

NAME = "notes"
# What an application does between two versions: 2 records new, 3 changed, 1 gone.
APPLICATION = """
import sys
from chromaseal.adapters.chroma.client import opened
with opened(sys.argv[1]) as client:
    notes = client.get_collection("notes", embedding_function=None)
    notes.add(ids=["new1", "new2"], embeddings=[[1.0] * 8, [2.0] * 8], documents=["one", "two"])
    # Without the vector ChromaDB would make one of the words.
    vector = notes.get(ids=["r10"], include=["embeddings"])["embeddings"]
    notes.update(ids=["r10"], documents=["other words"], embeddings=vector)
    notes.update(ids=["r11"], embeddings=[[3.0] * 8])
    notes.update(ids=["r12"], metadatas=[{"state": 99}])
    notes.delete(ids=["r20"])
"""


@dataclass(frozen=True)
class Desk:
    """A user's vault and cache, the directory of an application, and what pushes of it said."""

    folder: Path
    application: Path
    pushes: tuple[Answer, ...] = ()

    @property
    def vault(self) -> Path:
        """Say where the vault is."""
        return self.folder / "vault"

    @property
    def cache(self) -> Path:
        """Say where verified copies are kept."""
        return self.folder / "cache"

    def arguments(self, *arguments: str) -> tuple[str, ...]:
        """Give a command's arguments with the vault."""
        return (*arguments, "--vault", str(self.vault))

    def run(self, *arguments: str) -> Answer:
        """Run a command for its JSON."""
        return chromaseal(*self.arguments(*arguments), "--json", cache=self.cache)

    def said(self, *arguments: str) -> Answer:
        """Run a command for what it says to people."""
        return chromaseal(*self.arguments(*arguments), cache=self.cache)

    def one(self, event: str, *arguments: str) -> dict[str, Any]:
        """Run a command that must succeed; give the one thing that it says."""
        return only(self.run(*arguments), event)

    def run_all(self, *commands: str) -> list[Answer]:
        """Run commands for their JSON, one after the other."""
        return [self.run(*each.split()) for each in commands]

    def objects(self) -> dict[str, int]:
        """Give the size of every object of the collection."""
        found = (path for path in (self.vault / NAME).rglob("*") if path.is_file())
        return {str(path.relative_to(self.vault)): path.stat().st_size for path in found}

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command that does not end by itself; it is killed in the end."""
        command = command_line(*self.arguments(*arguments), "--json")
        with subprocess.Popen(
            [*FOREGROUND, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(self.cache),
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def only(answer: Answer, event: str) -> dict[str, Any]:
    """Give the one thing that a command said that did what it should."""
    assert answer.exit_code == 0
    [found] = answer.events
    assert found.pop("event") == event
    return found


def refusal(answer: Answer) -> tuple[str, int]:
    """Give the kind of the one error that a command ended with, and its exit code."""
    [error] = answer.events
    assert error["event"] == "error"
    assert error["hint"]
    assert error["exit_code"] == answer.exit_code
    return error["error"], answer.exit_code


def next_event(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the next thing that a command says to programs."""
    assert process.stdout is not None
    return dict(json.loads(process.stdout.readline()))


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Press Ctrl-C, which is how these commands end; give the exit code and the last event."""
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    return process.returncode, json.loads(out.splitlines()[-1])["event"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Give a vault with two versions; tests must not change it."""
    folder = tmp_path_factory.mktemp("desk")
    application = folder / "app"
    shutil.copytree(made_states()[0], application)
    made = Desk(folder, application)
    pushes = made.run_all(*[f"push {application} notes"] * 2)
    subprocess.run([sys.executable, "-c", APPLICATION, str(application)], check=True)
    pushes.append(made.run("push", str(application), NAME))
    return replace(made, pushes=tuple(pushes))


@pytest.fixture
def own(desk: Desk, tmp_path: Path) -> Desk:
    """Give a desk like that, to be changed; what was pushed is remembered of the same directory."""
    shutil.copytree(desk.vault, tmp_path / "vault")
    shutil.copytree(desk.cache, tmp_path / "cache", symlinks=True)
    return replace(desk, folder=tmp_path)


def test_push_publishes_what_is_new(desk: Desk) -> None:
    """A push is a version with the directory's records and bytes; without a change it is none."""
    events = ("pushed", "unchanged", "pushed")
    first, again, second = map(only, desk.pushes, events)
    assert [each["version"] for each in (first, again, second)] == [1, 1, 2]
    assert [each["records"] for each in (first, again, second)] == [40, 40, 41]
    directory_bytes = sum(map(len, contents(made_states()[0]).values()))
    assert first["size_bytes"] == again["size_bytes"] == directory_bytes
    assert second["size_bytes"] == sum(map(len, contents(desk.application).values()))
    assert again["version_id"] == first["version_id"] != second["version_id"]
    assert again["stored_bytes"] == 0 < second["stored_bytes"] < first["stored_bytes"]
    layers = [size for key, size in desk.objects().items() if key.endswith(".layer")]
    assert sorted(layers) == [second["stored_bytes"], first["stored_bytes"]]


def test_log_lists_the_newest_first(desk: Desk) -> None:
    """A line per version with its records and bytes; -n cuts the list."""
    answer, shorter = desk.run_all("log notes", "log notes -n 1")
    first, _, second = (each.events[0] for each in desk.pushes)
    assert [entry["number"] for entry in answer.only("version")] == [2, 1]
    for entry, pushed in zip(answer.only("version"), (second, first), strict=True):
        same = ("version_id", "records", "stored_bytes")
        assert [entry[name] for name in same] == [pushed[name] for name in same]
        assert entry["directory_bytes"] == pushed["size_bytes"]
        assert (entry["removed"], entry["tags"], entry["restores"]) == (False, [], None)
    assert shorter.events == answer.events[:1]


def test_show_tells_what_a_version_is(desk: Desk) -> None:
    """Records, files, layers and checks of the newest version, and of one that is named."""
    answers = desk.run_all("show notes", "show notes 1")
    newest, oldest = (only(each, "version") for each in answers)
    assert (newest["number"], oldest["number"]) == (2, 1)
    assert (newest["parent"], oldest["parent"]) == (oldest["version_id"], None)
    assert (newest["collections"], oldest["collections"]) == ({NAME: 41}, {NAME: 40})
    sizes = {path: len(body) for path, body in contents(desk.application).items()}
    assert newest["files"] == sizes
    assert [layer["kind"] for layer in newest["layers"]] == ["base", "diff"]
    assert newest["layers"][:1] == oldest["layers"]
    assert {"same-ids", "space"} <= newest["checks"].keys()
    assert desk.one("version", "show", NAME, "0 seconds ago") == newest


def test_diff_counts_what_an_application_did(desk: Desk) -> None:
    """Records added, changed and removed by name, pages, and bytes to fetch; also backwards."""
    answers = desk.run_all("diff notes 1", "diff notes 2 1")
    found, reverse = (only(each, "difference") for each in answers)
    assert found["collections"][NAME] == {
        "added": {"count": 2, "ids": ["new1", "new2"]},
        "changed": {"count": 3, "ids": ["r10", "r11", "r12"]},
        "removed": {"count": 1, "ids": ["r20"]},
    }
    before, after = contents(made_states()[0]), contents(desk.application)
    assert found["pages"] == {
        path: count for path, body in after.items() if (count := pages(before.get(path), body))
    }
    assert found["size_bytes"] == sum(map(len, after.values())) - sum(map(len, before.values()))
    assert found["step_bytes"] == desk.pushes[2].events[0]["stored_bytes"]
    backwards = {kind: each["count"] for kind, each in reverse["collections"][NAME].items()}
    assert backwards == {"added": 1, "changed": 3, "removed": 2}


def pages(before: bytes | None, after: bytes) -> int:
    """Count the pages of a file that are not what they were."""
    old = before or b""
    starts = range(0, len(after), 4096)
    return sum(old[start:][:4096] != after[start:][:4096] for start in starts)


def test_pull_brings_any_version(desk: Desk, tmp_path: Path) -> None:
    """Into nothing, back to an older one, and again without a change: byte by byte."""
    target = tmp_path / "copy"
    newest = desk.one("pulled", "pull", NAME, str(target))
    assert (newest["version"], newest["records"], newest["directory"]) == (2, 41, str(target))
    assert contents(target) == contents(desk.application)
    older, again = desk.run_all(*[f"pull notes {target} --at 1"] * 2)
    assert only(older, "pulled")["version"] == 1
    assert only(again, "unchanged")["records"] == 40
    assert contents(target) == contents(made_states()[0])


def test_a_tag_names_a_version_until_it_is_taken_away(own: Desk, tmp_path: Path) -> None:
    """A tag is shown, found and kept by gc; untagged, its version goes."""
    tagged, log, again, show, kept, untagged, gone, pulled = own.run_all(
        *("tag notes before --at 1", "log notes", "tag notes before", "show notes before"),
        *("gc --keep-last 1", "untag notes before", "gc --keep-last 1"),
        f"pull notes {tmp_path}/copy --at 1",
    )
    assert only(tagged, "tagged")["version"] == 1
    assert [entry["tags"] for entry in log.events] == [[], ["before"]]
    assert refusal(again) == ("tag-exists", 5)
    assert only(show, "version")["number"] == 1
    stays = only(kept, "removed")
    assert (stays["versions"], stays["kept"], stays["objects"]) == ([], [1, 2], [])
    assert only(untagged, "untagged")["tag"] == "before"
    goes = only(gone, "removed")
    assert (goes["versions"], goes["kept"]) == ([1], [2])
    assert refusal(pulled) == ("removed-version", 4)
    assert not (tmp_path / "copy").exists()


def test_rollback_publishes_an_old_content(own: Desk, tmp_path: Path) -> None:
    """The next version has the old records, and a directory of the version before is refused."""
    push = f"push {own.application} notes"
    rolled_back, log, pulled, refused, replaced = own.run_all(
        *("rollback notes 1", "log notes", f"pull notes {tmp_path}/copy"),
        *(push, f"{push} --replace"),
    )
    done = only(rolled_back, "rolled-back")
    assert (done["version"], done["restores"], done["records"]) == (3, 1, 40)
    assert [entry["restores"] for entry in log.events] == [1, None, None]
    assert only(pulled, "pulled")["version"] == 3
    assert contents(tmp_path / "copy") == contents(made_states()[0])
    assert refusal(refused) == ("not-the-newest", 5)
    assert only(replaced, "pushed")["version"] == 4


def test_a_repeated_rollback_publishes_nothing(own: Desk) -> None:
    """Whoever did not see the answer asks again, and the version is the one that is there."""
    first, again, log = own.run_all("rollback notes 1", "rollback notes 1", "log notes")
    done, same = only(first, "rolled-back"), only(again, "rolled-back")
    assert (same["version_id"], same["stored_bytes"]) == (done["version_id"], 0)
    assert len(log.events) == 3


def test_gc_tells_and_removes_the_same(own: Desk) -> None:
    """A dry run removes nothing and names what goes; then exactly that goes."""
    rule = "gc notes --keep-last 2"
    _, told, log = own.run_all("rollback notes 1", f"{rule} --dry-run", "log notes")
    would, before = only(told, "would-remove"), own.objects()
    assert (would["versions"], would["kept"]) == ([1], [2, 3])
    assert would["size_bytes"] == sum(before[each["key"]] for each in would["objects"]) > 0
    assert all(each["why"] for each in would["objects"])
    assert [entry["removed"] for entry in log.events] == [False, False, False]
    collected, log = own.run_all(rule, "log notes")
    assert only(collected, "removed") == would
    after = own.objects()
    assert before.keys() - after.keys() == {each["key"] for each in would["objects"]}
    # What is new is the record of what went.
    assert [key.split("/")[1] for key in after.keys() - before.keys()] == ["gc"]
    assert [entry["removed"] for entry in log.events] == [False, False, True]
    said = own.said("gc", NAME, "--keep-last", "1").out
    assert "1 version and 1 object, " in said
    assert "; 1 version stays" in said


def test_stats_add_up(desk: Desk) -> None:
    """Versions, records, bytes and the chain are those of the objects that are there."""
    found = desk.one("stats", "stats")
    first, _, second = (each.events[0] for each in desk.pushes)
    objects = desk.objects()
    assert (found["collection"], found["versions"], found["records"]) == (NAME, 2, 41)
    assert found["directory_bytes"] == second["size_bytes"]
    assert (found["objects"], found["stored_bytes"]) == (len(objects), sum(objects.values()))
    assert (found["delta_bytes"], found["write_amplification"]) == (0, None)
    written = first["stored_bytes"] + second["stored_bytes"]
    assert found["written_bytes"] == found["cold_read_bytes"] == written
    assert found["chain_length"] == len(found["layers"]) == 2
    assert found["read_amplification"] == pytest.approx(written / first["stored_bytes"])


def test_follow_waits_moves_and_ends(tmp_path: Path, desk: Desk) -> None:
    """It says at once that there is nothing yet, moves to what comes, and ends by Ctrl-C."""
    own, other, folder = Desk(tmp_path, desk.application), "mirror", tmp_path / "followed"
    own.one("pushed", "push", str(own.application), NAME)
    with own.running("follow", other, str(folder), "--interval", "0.05") as process:
        assert process.stderr is not None
        told = "mirror has no version yet; waiting for the first one\n"
        assert process.stderr.readline() == told
        pushed = own.one("pushed", "push", str(made_states()[1]), other)
        moved = next_event(process)
        assert (moved["event"], moved["collection"], moved["version"]) == ("moved", other, 1)
        assert (moved["version_id"], moved["records"]) == (pushed["version_id"], 48)
        assert contents(folder / "current") == contents(made_states()[1])
        assert moved["directory"] == str((folder / "current").resolve())
        assert interrupted(process) == (0, "stopped")


def test_replicate_publishes_and_ends(tmp_path: Path) -> None:
    """It publishes what is there without being asked, and ends by Ctrl-C."""
    own = Desk(tmp_path, tmp_path / "app")
    shutil.copytree(made_states()[2], own.application)
    with own.running("replicate", str(own.application), NAME, "--interval", "0.05") as process:
        pushed = next_event(process)
        assert (pushed["event"], pushed["version"], pushed["records"]) == ("pushed", 1, 56)
        assert interrupted(process) == (0, "stopped")
    shown = own.one("version", "show", NAME)
    assert (shown["version_id"], shown["collections"]) == (pushed["version_id"], {NAME: 56})
    # A plain file beside ChromaDB's own is none of what an application writes through it.
    sizes = {path: len(body) for path, body in contents(own.application).items() if path != EXTRA}
    assert shown["files"] == sizes


REFUSALS = {
    "tag notes 1st": ("bad-tag", 2),
    "tag notes fine --at 9": ("no-version", 4),
    "untag notes fine": ("no-tag", 4),
    "show notes 9": ("no-version", 4),
    "diff notes 1 9": ("no-version", 4),
    "rollback notes never": ("no-version", 4),
    "rollback notes 2": ("already-newest", 5),
    "stats nothing": ("no-collection", 4),
    "log nothing": ("no-collection", 4),
    "pull nothing {folder}/copy": ("no-collection", 4),
    "pull notes {folder}/copy --at 9": ("no-version", 4),
    "pull notes {folder}": ("not-a-copy", 5),
    "follow notes {folder}": ("not-a-copy", 5),
    "follow a {folder}/copies": ("bad-collection-name", 2),
    "push {folder} notes": ("not-chromadb", 3),
    "pull {folder}/copy notes": ("bad-collection-name", 2),
    "push {other} notes": ("not-the-newest", 5),
    "replicate {other} notes": ("not-the-newest", 5),
    "replicate {folder} notes": ("not-chromadb", 3),
}


def test_refusals_have_a_kind_and_change_nothing(desk: Desk, tmp_path: Path) -> None:
    """Every way to get it wrong is told apart, and leaves vault and directory as they were."""
    (tmp_path / "mine.txt").write_text("somebody's own")
    before = desk.objects()
    places = {"folder": tmp_path, "other": made_states()[3]}
    answers = desk.run_all(*(case.format_map(places) for case in REFUSALS))
    found = {case: refusal(answer) for case, answer in zip(REFUSALS, answers, strict=True)}
    assert found == REFUSALS
    assert desk.objects() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_people_are_told_in_plain_words(desk: Desk, tmp_path: Path) -> None:
    """Two versions with the same records are said to be so; a mistyped name gets the right ones."""
    answer = desk.said("diff", NAME, "2", "2")
    same = "the records of version 2 and version 2 of notes are the same"
    assert (answer.exit_code, answer.out) == (0, f"{same}\nthe directory: +0 B\n")
    answer = desk.said("pull", "note", str(tmp_path / "copy"))
    assert (answer.exit_code, answer.out) == (4, "")
    assert "there is no collection note in " in answer.errors
    assert "there are: notes" in answer.errors
