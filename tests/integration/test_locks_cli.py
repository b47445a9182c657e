"""chromaseal locks: processes that hold a directory in every way there is, and what it says."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.composition.locks import examine_locks
from chromaseal.seal.lock_words import Role
from chromaseal.seal.locks import LocksReport, Standing
from chromaseal.seal.quiet import DATABASE
from chromaseal.testing.command_line import Answer, chromaseal, command_line, environment
from chromaseal.testing.holding import holding

JOURNAL = f"{DATABASE}-journal"
HEADER = "segment/header.bin"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory with a small SQLite database and a file of an index."""
    folder = tmp_path / "chroma"
    (folder / "segment").mkdir(parents=True)
    (folder / HEADER).write_bytes(b"x" * 100)
    with closing(sqlite3.connect(folder / DATABASE)) as db:
        db.execute("CREATE TABLE t (x)")
        db.executemany("INSERT INTO t VALUES (?)", [(b"x" * 5_000,)] * 50)
        db.commit()
    return folder


def only_role(found: LocksReport, process: subprocess.Popen[str]) -> Role:
    """Give what is said of the one process that holds the directory."""
    [role] = found.roles
    assert role.process.pid == process.pid
    assert found.standing is Standing.OPEN
    return role


@pytest.mark.parametrize(
    ("way", "said", "mode"),
    [
        ("idle", "idle client", ""),
        ("read", "reads (SHARED)", "SHARED"),
        ("reserve", "write transaction under way (RESERVED)", "RESERVED"),
        ("write", "writing the database at this moment (EXCLUSIVE)", "EXCLUSIVE"),
        ("lock-by-descriptor", "write transaction under way (RESERVED)", "RESERVED"),
    ],
)
def test_what_a_process_does_is_told_by_its_locks(
    directory: Path, way: str, said: str, mode: str
) -> None:
    """An idle client, a reader and a writer are told from each other, with all that ps shows."""
    with holding(directory / DATABASE, way) as process:
        found = examine_locks(directory)
        role = only_role(found, process)
    assert said in role.does
    assert mode in role.does
    assert role.process.user
    assert role.process.started_at is not None
    assert "chromaseal.testing.holding" in role.process.command
    [file] = role.process.files
    assert (file.name, file.access, file.gone) == (DATABASE, "read and write", False)
    assert examine_locks(directory).standing is Standing.CLOSED


def test_a_writer_that_waits_for_readers_is_told(directory: Path) -> None:
    """Whoever commits while others read holds PENDING, and both are told."""
    path = directory / DATABASE
    with holding(path, "read") as reader, holding(path, "commit") as writer:
        does = {role.process.pid: role.does for role in examine_locks(directory).roles}
    assert "reads" in does[reader.pid]
    assert "until nobody reads (PENDING)" in does[writer.pid]


def test_who_waits_for_a_lock_is_told(directory: Path) -> None:
    """A process that waits is told apart from the one that it waits for."""
    path = directory / DATABASE
    with holding(path, "reserve") as writer, holding(path, "wait") as waiting:
        does = {role.process.pid: role.does for role in examine_locks(directory).roles}
    assert does[waiting.pid] == f"waits for a lock on {DATABASE}"
    assert "waits" not in does[writer.pid]


def test_a_mapping_holds_a_file(directory: Path) -> None:
    """A file that is mapped and no longer open is held all the same."""
    with holding(directory / HEADER, "map") as process:
        role = only_role(examine_locks(directory), process)
        assert {holder.how for holder in ProcOpenFiles().holders(directory)} == {"mapped"}
    [file] = role.process.files
    assert (file.name, file.how, file.access) == (HEADER, "mapped", "read and write")


def test_deleted_and_replaced_files_are_told(directory: Path) -> None:
    """Who has open what is no longer there is found, and told that it writes for nothing."""
    with holding(directory / DATABASE, "open") as process:
        shutil.copyfile(directory / DATABASE, directory / "other")
        (directory / "other").replace(directory / DATABASE)
        role = only_role(examine_locks(directory), process)
    assert [(file.name, file.gone) for file in role.process.files] == [(DATABASE, True)]
    assert "what it writes there is lost" in role.does


def test_a_renamed_folder_hides_nobody(directory: Path) -> None:
    """A process that came before a folder above was renamed is found under the new name."""
    with holding(directory / DATABASE, "open") as process:
        moved = directory.parent.rename(directory.parent.with_name("moved")) / directory.name
        only_role(examine_locks(moved), process)
        assert [h.pid for h in ProcOpenFiles().holders(moved)] == [process.pid]


def test_links_hide_nobody(directory: Path, tmp_path: Path) -> None:
    """Neither a link to the directory nor another name of a file hides who has it open."""
    (tmp_path / "link").symlink_to(directory)
    os.link(directory / HEADER, tmp_path / "another name")
    with holding(tmp_path / "link" / DATABASE, "open") as process:
        only_role(examine_locks(directory), process)
        only_role(examine_locks(tmp_path / "link"), process)
    with holding(tmp_path / "another name", "open") as process:
        role = only_role(examine_locks(directory), process)
    [file] = role.process.files
    assert (file.name, file.path) == (HEADER, str(tmp_path / "another name"))


def through(*mounts: str) -> list[str]:
    """Give a command that starts another one with mounts of its own, as a container has."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not have mounts of their own")
    return ["unshare", "-m", "sh", "-ec", f'{"; ".join(mounts)}; exec "$@"', "sh"]


def test_another_mount_hides_nobody(directory: Path, tmp_path: Path) -> None:
    """A process in a container that has the directory at another path is found."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mounts = through(f"mount --bind {directory} {elsewhere}")
    with holding(elsewhere / DATABASE, "reserve", through=mounts) as process:
        role = only_role(examine_locks(directory), process)
        assert process.pid in {holder.pid for holder in ProcOpenFiles().holders(directory)}
    [file] = role.process.files
    assert (file.name, file.path) == (DATABASE, str(elsewhere / DATABASE))
    with holding(elsewhere / HEADER, "map", through=mounts):
        assert {holder.how for holder in ProcOpenFiles().holders(directory)} == {"mapped"}


def test_another_file_of_the_same_path_is_nobodys(directory: Path) -> None:
    """A container that has another directory at the same path holds nothing of this one."""
    mounts = through(
        f"mount -t tmpfs tmpfs {directory}", f"dd if=/dev/zero of={directory / DATABASE} count=9"
    )
    with holding(directory / DATABASE, "open", through=mounts):
        assert examine_locks(directory).standing is Standing.CLOSED
        assert ProcOpenFiles().holders(directory) == []


def in_a_container(*arguments: str, folder: Path) -> Answer:
    """Run a command in a folder, as a process that sees no others but tests' like it."""
    if subprocess.run(["unshare", "-p", "-f", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not have processes of their own")
    prefix = ("unshare", "--pid", "--fork", "--mount-proc")
    return chromaseal(*arguments, cache=folder / "cache", folder=folder, prefix=prefix)


def test_a_lock_from_outside_of_a_container_is_found(directory: Path, tmp_path: Path) -> None:
    """In a container a writer outside is found by its lock, and it is said that no more is seen."""
    with holding(directory / DATABASE, "reserve"):
        answer = in_a_container("locks", str(directory), folder=tmp_path)
    assert answer.exit_code == 5
    assert "somebody who cannot be seen from here has a lock" in answer.errors
    assert "processes outside of this container cannot be seen" in answer.out


@pytest.mark.parametrize("verb", ["verify", "push"])
def test_nothing_is_sealed_that_somebody_outside_writes(
    directory: Path, tmp_path: Path, verb: str
) -> None:
    """In a container neither verify nor push takes a directory that a writer outside has locked."""
    arguments = (verb, str(directory), *(["notes"] if verb == "push" else []))
    with holding(directory / DATABASE, "reserve"):
        answer = in_a_container(*arguments, folder=tmp_path)
    assert answer.exit_code == 5
    assert "a process that cannot be seen from here has" in answer.errors
    assert "locked (RESERVED)" in answer.errors


def test_who_may_not_be_looked_at_is_counted(directory: Path, tmp_path: Path) -> None:
    """What another user has open is not seen, which is said; what they have locked is."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    blind = ["setpriv", "--bounding-set=-sys_ptrace", *command_line("locks", str(directory))]

    def look() -> subprocess.CompletedProcess[str]:
        environ = environment(tmp_path)
        return subprocess.run(blind, capture_output=True, text=True, env=environ, check=False)

    with holding(directory / DATABASE, "open", uid=65534):
        done = look()
    assert done.returncode == 0
    assert "closed: as far as this user can see" in done.stdout
    assert "of nobody could not be looked into" in done.stdout
    with holding(directory / DATABASE, "reserve", uid=65534) as process:
        done = look()
    assert done.returncode == 5
    assert f"process {process.pid} " in done.stderr


def test_a_process_without_its_first_thread_is_found(directory: Path) -> None:
    """A process whose first thread has ended shows its files elsewhere, and is found."""
    with holding(directory / DATABASE, "without-first-thread") as process:
        only_role(examine_locks(directory), process)
        assert [h.pid for h in ProcOpenFiles().holders(directory)] == [process.pid]


def test_a_dead_writers_journal_is_hot(directory: Path, tmp_path: Path) -> None:
    """A journal is under way while its writer lives, and hot in a copy and when it was killed."""
    with holding(directory / DATABASE, "write-half") as writer:
        found = examine_locks(directory)
        assert found.standing is Standing.OPEN
        assert [(each.name, each.orphaned) for each in found.leftovers] == [(JOURNAL, False)]
        copied = examine_locks(shutil.copytree(directory, tmp_path / "copy"))
        assert copied.standing is Standing.LEFT_BEHIND
        writer.kill()
        writer.wait()
        with holding(directory / DATABASE, "open") as process:
            found = examine_locks(directory)
    assert found.standing is Standing.LEFT_BEHIND
    assert f"process {process.pid}" in found.reason
    answer = chromaseal("locks", str(directory), "--json", cache=tmp_path)
    assert answer.exit_code == 6
    assert answer.only("locks")[0]["state"] == "left-behind"
    assert answer.only("error")[0]["error"] == "hot-journal"
    with closing(sqlite3.connect(directory / DATABASE)) as db:
        db.execute("SELECT x FROM t").fetchall()
    assert examine_locks(directory).standing is Standing.CLOSED


def test_a_write_ahead_log_is_told(directory: Path) -> None:
    """A database in WAL mode is named as such, and its log is left behind by a killed writer."""
    with holding(directory / DATABASE, "write-ahead") as process:
        found = examine_locks(directory)
        role = only_role(found, process)
        assert "connected, as is usual in WAL mode" in role.does
        assert "writes to the write-ahead log" in role.does
    assert any("WAL mode" in note for note in found.notes)
    found = examine_locks(directory)
    assert found.standing is Standing.LEFT_BEHIND
    assert {each.name for each in found.leftovers} == {f"{DATABASE}-wal", f"{DATABASE}-shm"}


def test_looking_drops_nobodys_lock(directory: Path) -> None:
    """Even in the process that has the database open and locked, the lock stays."""
    with closing(sqlite3.connect(directory / DATABASE, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        found = examine_locks(directory)
        [role] = found.roles
        assert "this very process" in role.close
        with pytest.raises(AssertionError), holding(directory / DATABASE, "reserve"):
            raise RuntimeError("the lock was dropped")
        assert found.probed.locks["RESERVED"].pid == os.getpid()


@pytest.mark.slow
def test_leaked_clients_are_counted(tmp_path: Path) -> None:
    """Setting a client to None closes nothing: the command says so, and how often it is open."""
    folder = tmp_path / "live"
    folder.mkdir()
    with holding(folder / DATABASE, "leak") as process:
        answer = chromaseal("locks", str(folder), "--json", cache=tmp_path)
        said = chromaseal("locks", str(folder), cache=tmp_path)
    [found] = answer.only("process")
    assert (answer.exit_code, found["pid"], found["clients"]) == (5, process.pid, 2)
    assert "idle client" in found["does"]
    assert answer.events[-1]["error"] == "still-open"
    assert said.out.startswith("open: held by 1 process\n")
    assert "client = None, del and gc close nothing" in said.errors


@pytest.mark.slow
def test_waiting_ends_when_the_process_does(directory: Path, tmp_path: Path) -> None:
    """With --wait the command answers once it is closed."""
    with holding(directory / DATABASE, "open") as process:
        command = command_line("locks", str(directory), "--wait", "60", "--json")
        environ = environment(tmp_path)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as waiting:
            process.kill()
            out, _ = waiting.communicate()
    assert waiting.returncode == 0
    assert '"state": "closed"' in out
