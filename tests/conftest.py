"""Vaults for tests: real ones, with one warm child process for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.clock import Clock
from chromaseal.composition.engine import open_vault
from chromaseal.ids import SystemIds
from chromaseal.object_store import ObjectStore
from chromaseal.settings import Settings
from chromaseal.snapshot.checkouts import Checkouts
from chromaseal.testing.directory_states import made_states
from chromaseal.testing.dynamodb import credentials, make_table
from chromaseal.testing.machine import Machine, RememberingSandbox
from chromaseal.testing.mount_scene import MountScene
from chromaseal.testing.postgres import PostgresServer, postgres
from chromaseal.testing.servers import S3Server, ministack, seaweedfs
from chromaseal.testing.warm_start import warm_sandboxes
from chromaseal.vault import Vault

# How long an example takes depends on what else the machine does; whole tests have time limits.
hypothesis.settings.register_profile(
    "chromaseal",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("chromaseal")

_CHILD_MODULES = ("chromaseal.adapters.chroma.merge", "chromaseal.adapters.chroma.verification")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, and all files for which samples are ingested once.

    Files with slow tests go first, so that what is left for the end is short.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    sampled = {item.path for item in items if "samples" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        together = "samples" if item.path in sampled else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(together))


class OpenVault(Protocol):
    """What the fixture ``vault_at`` gives."""

    def __call__(
        self,
        url: str = "",
        *,
        clock: Clock | None = None,
        store: Callable[[ObjectStore], ObjectStore] | None = None,
    ) -> Vault:
        """Open a vault whose ledger and cache are in the test's own folder.

        Args:
            url: of the vault; ``file://`` below the test's folder by default. Vaults in
                memory have a ledger each, the others share one.
            clock: the system's by default.
            store: gives what is to stand between the vault and its real store.
        """
        ...


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """Let children start in milliseconds; tests/integration/test_sandbox.py starts real ones."""
    warm_sandboxes()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[ProcessSandbox]:
    """Give one warm process for the whole session: importing ChromaDB takes 1.5 s."""
    shared = ProcessSandbox(preload=_CHILD_MODULES)
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def seaweedfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give a running SeaweedFS with one bucket; tests take a prefix each."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def ministack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give a running ministack with one bucket; tests take a prefix each."""
    with ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give a running PostgreSQL; tests take a database each."""
    with postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """Give the URL of an empty database."""
    return postgres_server.make_database()


@pytest.fixture
def dynamodb_url(ministack_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URL of an empty table; this process's environment has what it takes to ask it."""
    for name, value in credentials(ministack_server).items():
        monkeypatch.setenv(name, value)
    return make_table(ministack_server, f"t-{SystemIds().unique()}")


@pytest.fixture(scope="session")
def states() -> list[Path]:
    """Give directories that follow each other."""
    return made_states()


@pytest.fixture(scope="session")
def remembering(sandbox: ProcessSandbox) -> RememberingSandbox:
    """Give a sandbox that is asked once per content."""
    return RememberingSandbox(sandbox)


@pytest.fixture
def machine(tmp_path: Path, remembering: RememberingSandbox) -> Machine:
    """Give a machine with an empty vault."""
    return Machine(
        ObstoreObjectStore("memory://"), tmp_path / "cache", tmp_path / "app", remembering
    )


@pytest.fixture
def scene(machine: Machine, states: list[Path], tmp_path: Path) -> MountScene:
    """Give an empty vault and an empty mount."""
    mount = tmp_path / "mount"
    mount.mkdir()
    return MountScene(machine, states, mount)


@pytest.fixture
def vault_at(tmp_path: Path, sandbox: ProcessSandbox) -> Iterator[OpenVault]:
    """Give a function that opens vaults; they are closed when the test ends."""
    with ExitStack() as held:

        def open_one(
            url: str = "",
            *,
            clock: Clock | None = None,
            store: Callable[[ObjectStore], ObjectStore] | None = None,
        ) -> Vault:
            url = url or (tmp_path / "vault").as_uri()
            in_memory = url.startswith("memory://")
            ledger = "memory://" if in_memory else f"sqlite:///{tmp_path / 'ledger.sqlite'}"
            cache = tmp_path / "cache"
            vault = held.enter_context(open_vault(Settings(url, ledger, cache), clock=clock))
            vault.parts = replace(vault.parts, sandbox=sandbox)
            if store is not None:
                _put_between(vault, store(vault.parts.store), cache)
            return vault

        yield open_one


@pytest.fixture
def vault(vault_at: OpenVault) -> Vault:
    """Give an empty vault in a directory."""
    return vault_at()


def _put_between(vault: Vault, store: ObjectStore, cache: Path) -> None:
    checkouts = Checkouts(store, cache, "between", clock=vault.parts.clock, ids=vault.parts.ids)
    vault.parts = replace(vault.parts, store=store, checkouts=checkouts)
