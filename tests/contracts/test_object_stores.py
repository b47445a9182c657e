"""Every object store keeps the object store's promises."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

import pytest

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.ids import SystemIds
from chromaseal.metering import CountingStore
from chromaseal.object_store import ObjectStore
from chromaseal.retried_store import RetriedStore
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.faults import FaultyStore
from chromaseal.testing.killing import KillingStore
from chromaseal.testing.object_store_contract import ObjectStoreContract
from chromaseal.testing.servers import S3Server
from chromaseal.testing.simulation.memory import MemoryStore


class LockedStore(MemoryStore):
    """The simulation's store for threads, which the simulation has none of."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is."""
        with self._lock:
            super().create(key, body)

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``."""
        with self._lock:
            super().replace(key, body, etag=etag)


class TestMemory(ObjectStoreContract):
    """obstore's store in memory."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give an empty one."""
        return ObstoreObjectStore("memory://")


class TestDictionary(ObjectStoreContract):
    """The simulation's store, a dictionary; nobody is between a condition and its write."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give an empty one."""
        return LockedStore()


class TestLocal(ObjectStoreContract):
    """A directory."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        """Give an empty one."""
        return LocalObjectStore(tmp_path / "store")


class TestMinistack(ObjectStoreContract):
    """S3's protocol and conditions over HTTP, by an emulator of AWS."""

    @pytest.fixture
    def store(self, ministack_server: S3Server) -> ObjectStore:
        """Give an empty prefix of the one bucket."""
        return ministack_server.store(SystemIds().unique())


@pytest.mark.slow
class TestSeaweedFS(ObjectStoreContract):
    """S3's protocol and conditions over HTTP, by a real store with its data on disk."""

    # Its losers wait one to three seconds, longer with every contender.
    CONTENDERS: ClassVar[int] = 4
    TURNS: ClassVar[int] = 2

    @pytest.fixture
    def store(self, seaweedfs_server: S3Server) -> ObjectStore:
        """Give an empty prefix of the one bucket."""
        return seaweedfs_server.store(SystemIds().unique())


class TestFaultyWithoutFaults(ObjectStoreContract):
    """The wrapper that fails where it is told to, told nothing."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give an empty one."""
        return FaultyStore(ObstoreObjectStore("memory://"))


class TestKillingNobody(ObjectStoreContract):
    """The wrapper that kills its process at an operation that never comes."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give an empty one."""
        return KillingStore(ObstoreObjectStore("memory://"), at=1 << 60)


class TestRetried(ObjectStoreContract):
    """The wrapper that asks again, of a store that always answers."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give an empty one."""
        return RetriedStore(ObstoreObjectStore("memory://"), clock=ManualClock(), ids=SystemIds())


class TestCounting(ObjectStoreContract):
    """The wrapper that counts."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give an empty one."""
        return CountingStore(ObstoreObjectStore("memory://"))
