"""Healthy directories of random histories, many per child process.

``python -m chromaseal.testing.corpus.histories FOLDER FIRST COUNT`` is such a child. What a
directory has gone through follows from its number alone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

_CALLS = 14
_TIMEOUT_S = 600
_TENANT = "default_tenant"
_WORDS = ("total", "Käse", "naïve", "日本語", "a'b\"c", "%_x", "line\nbreak", "")


def build_histories(folder: Path, first: int, count: int) -> list[Path]:
    """Build directories in a child process.

    Args:
        folder: where to.
        first: the number of the first one; it decides all of its history.
        count: how many.
    """
    command = [sys.executable, "-m", __name__, str(folder), str(first), str(count)]
    subprocess.run(command, check=True, timeout=_TIMEOUT_S)  # noqa: S603 - our own module
    return [folder / str(number) for number in range(first, first + count)]


class _History:
    """One directory's history."""

    def __init__(self, directory: Path, number: int) -> None:
        self.chance = np.random.default_rng(number)
        self.directory = directory
        self.dimension = int(self.chance.integers(2, 65))
        self.threshold = int(self.chance.choice([3, 20, 100, 1000]))
        self.space = str(self.chance.choice(["l2", "cosine", "ip"]))
        self.number = number
        self.databases: list[tuple[str, str]] = []
        self.database = 0
        # How many ids each collection of each database has had.
        self.used: dict[tuple[int, str], int] = {}
        self.client: Any = None

    def run(self) -> None:
        """Live through it: calls, closings and openings in between, and a last closing."""
        self._open()
        for _ in range(_CALLS):
            name = f"notes-{int(self.chance.integers(3))}"
            call = self.chance.choice(
                [
                    *("upsert", "upsert", "upsert", "update", "delete", "drop", "reopen"),
                    *("rename", "add", "ghost", "move"),
                ],
            )
            getattr(self, f"_{call}")(name)
        self.client.close()

    def _open(self) -> None:
        import chromadb  # noqa: PLC0415

        self.client = chromadb.PersistentClient(str(self.directory))
        if not self.databases:
            admin = chromadb.AdminClient(self.client.get_settings())
            admin.create_database("second")
            admin.create_tenant("other")
            admin.create_database("third", "other")
            self.databases = [
                (_TENANT, "default_database"),
                (_TENANT, "second"),
                ("other", "third"),
            ]
        self._move("")

    def _move(self, _: str) -> None:
        """Go to another database; one in two histories has only one."""
        most = len(self.databases) if self.number % 2 else 1
        self.database = int(self.chance.integers(most))
        tenant, database = self.databases[self.database]
        self.client.set_tenant(tenant, database)

    def _collection(self, name: str) -> Any:  # noqa: ANN401 - ChromaDB's
        hnsw = {"space": self.space, "sync_threshold": self.threshold, "batch_size": 3}
        self.used.setdefault((self.database, name), 0)
        return self.client.get_or_create_collection(
            name, embedding_function=None, configuration={"hnsw": hnsw}
        )

    def _add(self, name: str) -> None:
        """Add ids of which some are there: ChromaDB logs and ignores those."""
        collection = self._collection(name)
        count = int(self.chance.integers(1, 40))
        first = max(self._used(name) - count // 2, 0)
        self.used[self.database, name] = first + count
        collection.add(
            ids=[f"é{n}" for n in range(first, first + count)],
            embeddings=self._vectors(count),
            metadatas=[self._metadata(n) for n in range(count)],
        )

    def _ghost(self, name: str) -> None:
        """Update ids that are not there: ChromaDB logs and ignores that."""
        collection = self._collection(name)
        vectors = self._vectors(3)
        ids = [f"ghost-{n}" for n in range(3)]
        collection.update(ids=ids, embeddings=vectors, metadatas=[{"n": 1} for _ in ids])

    def _vectors(self, count: int) -> Any:  # noqa: ANN401 - of NumPy
        found = self.chance.standard_normal((count, self.dimension)).astype(np.float32)
        return found * np.float32(1e25) if self.number % 7 == 1 and self.space == "l2" else found

    def _upsert(self, name: str) -> None:
        collection = self._collection(name)
        count = int(self.chance.integers(1, 120))
        first = int(self.chance.integers(0, self._used(name) + 1))
        self.used[self.database, name] = max(self._used(name), first + count)
        vectors = self._vectors(count)
        documents = [str(self.chance.choice(_WORDS)) for _ in range(count)]
        metadatas = [self._metadata(n) for n in range(count)]
        kept = None if self.chance.random() < 1 / 4 else documents
        collection.upsert(
            ids=[f"é{n}" for n in range(first, first + count)],
            embeddings=vectors,
            documents=kept,
            metadatas=metadatas,
        )

    def _metadata(self, number: int) -> dict[str, Any]:
        values: dict[str, Any] = {
            "n": number,
            "x": float(self.chance.random()),
            "wide": float(self.chance.random() * 10.0 ** self.chance.integers(-300, 300)),
            "b": number % 2 == 0,
        }
        if self.chance.random() < 1 / 2:
            values["tags"] = [str(self.chance.choice(_WORDS[:-1])) for _ in range(3)]
        return values

    def _update(self, name: str) -> None:
        collection = self._collection(name)
        ids = collection.get(limit=20, include=[])["ids"]
        if ids:
            collection.update(ids=ids, metadatas=[{"n": None, "later": "yes"} for _ in ids])

    def _delete(self, name: str) -> None:
        collection = self._collection(name)
        ids = collection.get(limit=30, include=[])["ids"]
        if ids:
            collection.delete(ids=ids)

    def _drop(self, name: str) -> None:
        if (self.database, name) in self.used:
            self.client.delete_collection(name)
            del self.used[self.database, name]

    def _reopen(self, _: str) -> None:
        self.client.close()
        self._open()

    def _rename(self, name: str) -> None:
        if (self.database, name) in self.used:
            collection = self._collection(name)
            other = f"{name}-renamed-{int(self.chance.integers(1_000_000))}"
            collection.modify(name=other)
            self.used[self.database, other] = self.used.pop((self.database, name))

    def _used(self, name: str) -> int:
        return self.used[self.database, name]


def main() -> None:
    """Build the directories that the arguments name."""
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for number in range(first, first + count):
        _History(folder / str(number), number).run()


if __name__ == "__main__":
    main()
