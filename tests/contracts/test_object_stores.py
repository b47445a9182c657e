"""Every object store keeps the object store's promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.object_store import ObjectStore
from chromaseal.testing.faults import FaultyStore
from chromaseal.testing.object_store_contract import ObjectStoreContract


class TestMemory(ObjectStoreContract):
    """obstore's store in memory."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give an empty one."""
        return ObstoreObjectStore("memory://")


class TestLocal(ObjectStoreContract):
    """A directory."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        """Give an empty one."""
        return LocalObjectStore(tmp_path / "store")


class TestFaultyWithoutFaults(ObjectStoreContract):
    """The wrapper that fails where it is told to, told nothing."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give an empty one."""
        return FaultyStore(ObstoreObjectStore("memory://"))
