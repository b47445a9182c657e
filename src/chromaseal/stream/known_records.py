"""A vault -> the records that it has of a receipt, in versions and in runs that wait."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from chromaseal.compaction.deltas import read_stored
from chromaseal.errors import Damaged, NotFound, Unsupported
from chromaseal.reader import Reader
from chromaseal.record import Metadata, Scalar
from chromaseal.run.model import RunState
from chromaseal.vault import Vault

# More than any receipt has, and less than what ChromaDB refuses to answer at once.
_MOST_RECORDS: Final = 20_000


class KnownRecords:
    """Looks receipts up; a context manager. Each collection's newest version is opened once.

    Args:
        vault: where.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._held = ExitStack()
        self._readers: dict[str, Reader | None] = {}

    def of(self, collection: str, image_id: str, receipt_id: int) -> dict[str, Metadata]:
        """Give the metadata of a receipt's records, by id; one that is gone may be among them.

        Raises:
            Unavailable: store or ledger did not answer.
            Damaged: no version can be read.
        """
        # The ledger first: what a version has taken in since is still in the run's delta.
        waiting = self._in_runs(collection, image_id, receipt_id)
        return {**self._in_version(collection, image_id, receipt_id), **waiting}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._readers.clear()
        self._held.close()

    def _in_runs(self, collection: str, image_id: str, receipt_id: int) -> dict[str, Metadata]:
        parts, found = self._vault.parts, dict[str, Metadata]()
        # The newest first; what the later one says of a record counts.
        for run in reversed(parts.ledger.find("image_id", image_id)):
            part = run.parts.get(collection)
            is_of_it = run.attributes.get("receipt_id") == str(receipt_id)
            if part is None or not is_of_it or part.state is RunState.CANCELLED:
                continue
            try:
                delta, _ = read_stored(parts.store, parts.codec, part.delta_key)
            except (NotFound, Damaged, Unsupported):
                # Garbage collection takes those that versions have; a bad one is set aside.
                continue
            found |= dict(zip(delta.upserts.ids, delta.upserts.metadatas, strict=True))
        return found

    def _in_version(self, collection: str, image_id: str, receipt_id: int) -> dict[str, Metadata]:
        reader = self._reader(collection)
        if reader is None:
            return {}
        where: dict[str, Scalar] = {"image_id": image_id, "receipt_id": receipt_id}
        return {hit.id: hit.metadata for hit in reader.find(limit=_MOST_RECORDS, where=where)}

    def _reader(self, collection: str) -> Reader | None:
        if collection not in self._readers:
            has_any = self._vault.has_version(collection)
            reader = self._held.enter_context(self._vault.reader(collection)) if has_any else None
            self._readers[collection] = reader
        return self._readers[collection]
