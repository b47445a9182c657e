"""The servers that tests run on are alone with their tests, and end with them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from chromaseal.clock import SystemClock
from chromaseal.ids import SystemIds
from chromaseal.retried_store import RetriedStore
from chromaseal.testing.command_line import environment
from chromaseal.testing.postgres import postgres
from chromaseal.testing.servers import S3Server, ministack, restartable_seaweedfs, seaweedfs

TIMEOUT_S = 60
LISTENING = "0A"
# Starts a server, says where, and waits to be killed.
STARTER = """
import sys
from pathlib import Path
from chromaseal.testing import servers

with servers.ministack(Path(sys.argv[1])) as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""
POSTGRES_STARTER = """
import sys
from chromaseal.testing.postgres import postgres

with postgres() as server:
    print(f"http://127.0.0.1:{server.port}", flush=True)
    sys.stdin.read()
"""
OPENER = """
import sys
from chromaseal.composition.engine import open_store
from chromaseal.ids import SystemIds

open_store(sys.argv[1], SystemIds()).create("from-the-environment", b"x")
"""


class Start(Protocol):
    """One of the two servers."""

    def __call__(self, directory: Path) -> AbstractContextManager[S3Server]:
        """Start it."""
        ...


def answers(endpoint: str) -> bool:
    """Tell whether somebody listens there."""
    host, _, port = endpoint.removeprefix("http://").rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def descendants(pid: int) -> Iterator[int]:
    """Give a process's children, and theirs."""
    # PostgreSQL has one for each connection, which goes with it.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from descendants(child)


def listening_addresses(pid: int) -> set[str]:
    """Give the addresses that a process listens on, as the kernel writes them."""
    links: list[str] = []
    # The server works meanwhile: files are closed, helping processes end; those that listen stay.
    with contextlib.suppress(FileNotFoundError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.append(str(descriptor.readlink()))
    own = {link.removeprefix("socket:[")[:-1] for link in links if link.startswith("socket:[")}
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        # The tables are of the network that the tests and all that they start share.
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and columns[9] in own:
                found.add(columns[1].partition(":")[0])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("start", [seaweedfs, ministack])
def test_a_server_listens_to_this_machine_only_and_stops(start: Start, tmp_path: Path) -> None:
    """No port is open to others, and none is left when the block ends."""
    own = Path("/proc/self").resolve().name
    before = set(descendants(int(own)))
    with start(tmp_path / "server") as server:
        begun = set(descendants(int(own))) - before
        found = set().union(*map(listening_addresses, begun))
        assert found == {"0100007F"}
        assert answers(server.endpoint)
    assert not answers(server.endpoint)
    assert not begun & set(descendants(int(own)))


@pytest.mark.slow
@pytest.mark.parametrize("script", [STARTER, POSTGRES_STARTER], ids=["ministack", "postgres"])
def test_a_server_dies_with_a_killed_test_run(script: str, tmp_path: Path) -> None:
    """Whoever started it may die in any way; the server does not outlive them.

    All servers are started in one way. Killed, SeaweedFS would leave its sockets behind.
    """
    starter = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)} if os.geteuid() else None,
    )
    with starter:
        assert starter.stdout is not None
        endpoint = starter.stdout.readline().strip()
        assert answers(endpoint)
        processes = list(descendants(starter.pid))
        starter.send_signal(signal.SIGKILL)
        starter.wait(TIMEOUT_S)
    for process in processes:
        wait_for_end(process)
    assert not answers(endpoint)


@pytest.mark.slow
def test_postgres_listens_to_this_machine_only_and_stops() -> None:
    """No port is open to others, and nothing is left when the block ends, data included."""
    before = set(descendants(os.getpid()))
    with postgres() as server:
        begun = set(descendants(os.getpid())) - before
        found = set().union(*map(listening_addresses, begun))
        assert found == {"0100007F"}
        assert answers(f"http://127.0.0.1:{server.port}")
    assert not answers(f"http://127.0.0.1:{server.port}")
    assert not begun & set(descendants(os.getpid()))


def wait_for_end(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    done = subprocess.run(
        ["tail", f"--pid={pid}", "-f", "/dev/null"], check=False, timeout=TIMEOUT_S
    )
    assert done.returncode == 0


def test_servers_are_opened_through_the_environment(
    ministack_server: S3Server, tmp_path: Path
) -> None:
    """A process that has only a URL and its variables reaches the same objects."""
    subprocess.run(
        [sys.executable, "-c", OPENER, ministack_server.url(tmp_path.name)],
        env={**environment(tmp_path), **ministack_server.environment()},
        check=True,
        timeout=TIMEOUT_S,
    )
    assert ministack_server.store(tmp_path.name).get("from-the-environment").body == b"x"


def test_a_killed_seaweedfs_has_what_it_acknowledged(tmp_path: Path) -> None:
    """Begun again where it was, on the same port."""
    with restartable_seaweedfs(tmp_path / "server") as (server, program):
        store = server.store("kept")
        store.create("before", b"x" * 5000)
        program.end(signal.SIGKILL)
        assert not answers(server.endpoint)
        program.start_again()
        # It takes new objects before it has found all old ones; vaults ask again, too.
        again = RetriedStore(store, clock=SystemClock(), ids=SystemIds())
        assert again.get("before").body == b"x" * 5000
        assert [info.key for info in store.list("")] == ["before"]
