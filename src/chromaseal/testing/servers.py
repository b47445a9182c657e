"""Real S3 servers on this machine, for tests and benchmarks: SeaweedFS and ministack.

Both are development dependencies (``make setup``), listen on free ports of the loopback
interface only, and send nothing anywhere. A server ends with its ``with`` block; should the
process that started it be killed, the kernel ends the server too. Start them from a thread that
lives as long as they should: the kernel takes the end of the starting thread for its process's.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.clock import Clock, SystemClock
from chromaseal.errors import Conflict, Unavailable
from chromaseal.ids import SystemIds
from chromaseal.testing.programs import (
    LOOPBACK,
    START_TIMEOUT_S,
    Restartable,
    bare_environment,
    existing,
    free_ports,
    running,
    started,
    wait,
)

_BUCKET = "chromaseal"
_ACCESS_KEY = "chromaseal-test"
# Its own worker looks for the admin server's gRPC there, whatever the flags say.
_ADMIN_GRPC_OFFSET = 10_000
_PAIR_TRIES = 20
_SEAWEEDFS_SOCKETS = Path("/tmp")  # noqa: S108 - its choice, not ours


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where a server is, and who may use it.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``.
        access_key: of the one user.
        secret_key: of the one user.
        bucket: one that is there.
    """

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    def url(self, prefix: str) -> str:
        """Give the URL of a prefix, as a vault's settings take it."""
        return f"s3://{self.bucket}/{prefix}"

    def options(self) -> dict[str, str]:
        """Give what ``ObstoreObjectStore`` needs besides the URL."""
        return {
            "endpoint": self.endpoint,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            "region": "us-east-1",
            "allow_http": "true",
        }

    def environment(self) -> dict[str, str]:
        """Give the same as variables, for processes that open the URL by themselves."""
        return {f"AWS_{name.upper()}": value for name, value in self.options().items()}

    def store(self, prefix: str) -> ObstoreObjectStore:
        """Open a prefix."""
        return ObstoreObjectStore(self.url(prefix), options=self.options())


@contextlib.contextmanager
def seaweedfs(directory: Path, *, flags: Sequence[str] = ()) -> Iterator[S3Server]:
    """Run SeaweedFS: exact about conditions, with its data on disk.

    Args:
        directory: an empty one for its data, or that of an earlier one; left as it is in the end.
        flags: more options of its own.

    Raises:
        RuntimeError: it did not start; the message has the end of its output.
    """
    with restartable_seaweedfs(directory, flags=flags) as (server, _):
        yield server


@contextlib.contextmanager
def restartable_seaweedfs(
    directory: Path, *, clock: Clock | None = None, flags: Sequence[str] = ()
) -> Iterator[tuple[S3Server, Restartable]]:
    """Run SeaweedFS so that it can be ended and begun again; see ``seaweedfs``.

    Killed, it has all that it ever acknowledged.
    """
    directory.mkdir(parents=True, exist_ok=True)
    secret = SystemIds().unique()
    users = directory / "users.json"
    credentials = [{"accessKey": _ACCESS_KEY, "secretKey": secret}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    user = {"name": _ACCESS_KEY, "credentials": credentials, "actions": actions}
    users.write_text(json.dumps({"identities": [user]}))
    program = _beside_python("weed")

    def begin(held: ExitStack) -> tuple[S3Server, Restartable]:
        ports = seaweedfs_ports()
        held.callback(_remove_sockets, ports)
        command = [*seaweedfs_command(program, directory, users, ports), *flags]
        server = S3Server(f"http://{LOOPBACK}:{ports['s3']}", _ACCESS_KEY, secret, _BUCKET)
        weed = Restartable(
            # Asked to end, it waits for open connections for up to half a minute.
            functools.partial(
                running,
                command,
                directory,
                bare_environment(directory),
                ending=signal.SIGKILL,
            ),
            lambda: _takes_objects(server),
            clock or SystemClock(),
        )
        return server, held.enter_context(weed)

    yield from started(begin, directory)


@contextlib.contextmanager
def ministack(directory: Path) -> Iterator[S3Server]:
    """Run ministack: AWS in one process, with its data in memory. It checks no credentials.

    Args:
        directory: an empty one for its log.

    Raises:
        RuntimeError: it did not start; the message has the end of its output.
    """
    directory.mkdir(parents=True, exist_ok=True)
    prefix = Path(sys.prefix)
    program = existing(prefix.with_name(f"{prefix.name}-ministack") / "bin" / "ministack")

    def begin(held: ExitStack) -> S3Server:
        (port,) = free_ports(1)
        server = S3Server(f"http://{LOOPBACK}:{port}", _ACCESS_KEY, "no-secret", _BUCKET)
        process = held.enter_context(
            running([str(program)], directory, _ministack_environment(directory, port))
        )
        wait(lambda: _has_bucket(server, port), process, SystemClock())
        return server

    yield from started(begin, directory)


def seaweedfs_ports() -> dict[str, int]:
    """Give free ports for all that SeaweedFS listens on, by name."""
    admin, admin_grpc = _free_pair(_ADMIN_GRPC_OFFSET)
    servers = ("s3", "master", "volume", "filer")
    # Without a port of their own, the gRPC servers take the others' plus 10000, free or not.
    names = [*servers, *(f"{server}.grpc" for server in servers)]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    return {**ports, "admin": admin, "admin.grpc": admin_grpc}


def seaweedfs_command(
    program: Path, directory: Path, users: Path, ports: Mapping[str, int]
) -> list[str]:
    """Give the command that runs SeaweedFS on those ports."""
    named = {name.replace(".grpc", ".port.grpc"): port for name, port in ports.items()}
    places = [f"-{n if '.port' in n else n + '.port'}={port}" for n, port in named.items()]
    return [
        *(str(program), f"-logdir={directory}", "mini", f"-dir={directory}"),
        *(f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", *places),
        *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-master.telemetry=false", f"-s3.config={users}", f"-bucket={_BUCKET}"),
        f"-filer.localSocket={directory / 'filer.sock'}",
        f"-s3.localSocket={directory / 's3.sock'}",
    ]


def _remove_sockets(ports: Mapping[str, int]) -> None:
    # SeaweedFS puts these into one fixed place and leaves some of them there.
    for name, port in ports.items():
        socket_name = f"seaweedfs-{name.replace('.', '-')}-{port}.sock"
        (_SEAWEEDFS_SOCKETS / socket_name).unlink(missing_ok=True)


def _ministack_environment(directory: Path, port: int) -> dict[str, str]:
    return {
        **bare_environment(directory),
        "BIND_HOST": LOOPBACK,
        "MINISTACK_HOST": LOOPBACK,
        "GATEWAY_PORT": str(port),
        "EDGE_PORT": str(port),
        # It clears away containers that it takes for its own.
        "DOCKER_HOST": f"unix://{directory}/no-docker.sock",
        "LOG_LEVEL": "WARNING",
    }


def _takes_objects(server: S3Server) -> bool:
    store = server.store("started")
    try:
        store.create("yes", b"")
    except Conflict:
        # An earlier try landed although its answer did not come.
        pass
    except Unavailable:
        return False
    return True


def _has_bucket(server: S3Server, port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=START_TIMEOUT_S)
    try:
        connection.request("PUT", f"/{server.bucket}")
        if connection.getresponse().status != http.HTTPStatus.OK:
            return False
    except OSError:
        return False
    finally:
        connection.close()
    return _takes_objects(server)


def _free_pair(offset: int) -> tuple[int, int]:
    for port in free_ports(_PAIR_TRIES):
        with socket.socket() as second, contextlib.suppress(OSError, OverflowError):
            second.bind((LOOPBACK, port + offset))
            return port, port + offset
    raise RuntimeError("no two ports of this machine are free")


def _beside_python(name: str) -> Path:
    return existing(Path(sys.executable).with_name(name))
