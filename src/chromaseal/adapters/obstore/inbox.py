"""A prefix of a bucket as an inbox; objects appear whole, so each is complete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import obstore

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.clock import Clock
from chromaseal.digests import blake3_hex
from chromaseal.errors import Conflict, NotFound
from chromaseal.ids import Ids
from chromaseal.receipts.inbox import DONE, REFUSED, Arrival, Look, is_taken, put_away_names
from chromaseal.retried_store import RetriedStore

_NAME_BYTES = 200


class ObstoreInbox:
    """Objects right below a prefix.

    Args:
        bucket: the prefix.
        names: of those that are looked at; all by default.
    """

    def __init__(self, bucket: InboxBucket | RetriedInboxBucket, names: Sequence[str] = ()) -> None:
        self._bucket = bucket
        self._names = tuple(names)

    @property
    def url(self) -> str:
        """Say where this is."""
        return self._bucket.url

    def look(self) -> Look:
        """Tell what is there."""
        if self._names:
            named = {name: self._bucket.state(name) for name in self._names}
            found = {name: state for name, state in named.items() if state}
        else:
            found = self._bucket.states()
        return Look(tuple(Arrival(n, state) for n, state in found.items() if is_taken(n)))

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """Read an object into a file."""
        # Keys may be longer than names of files.
        is_long = len(arrival.name.encode()) > _NAME_BYTES
        path = folder / (f"image{Path(arrival.name).suffix}" if is_long else arrival.name)
        path.write_bytes(self._bucket.get(arrival.name).body)
        return path

    def put_away(self, arrival: Arrival, *, refused: str = "") -> bool:
        """Copy an object and delete it.

        Who uploads another image under its name at this very moment may lose it: give each
        upload a name of its own.
        """
        try:
            body = self._bucket.get(arrival.name).body
        except NotFound:
            return False
        if self._bucket.state(arrival.name) != arrival.state:
            return False
        folder = REFUSED if refused else DONE
        own, other = put_away_names(arrival.name, blake3_hex(body))
        name = own if self._has_put(f"{folder}/{own}", body) else other
        if refused:
            self._has_put(f"{folder}/{name}.txt", f"{refused}\n".encode())
        if name == other:
            self._has_put(f"{folder}/{name}", body)
        if self._bucket.state(arrival.name) != arrival.state:
            return False
        self._bucket.delete(arrival.name)
        return True

    def _has_put(self, key: str, body: bytes) -> bool:
        """Store an object where none is; tell whether it is there now with this content."""
        try:
            self._bucket.create(key, body)
        except Conflict:
            return self._bucket.get(key).body == body
        return True


class InboxBucket(ObstoreObjectStore):
    """A prefix whose objects others have named."""

    def states(self) -> dict[str, str]:
        """Give what every object right below the prefix looks like, by name, in their order."""
        with self._answered(""):
            found = obstore.list_with_delimiter(self._store)["objects"]
        return {meta["path"]: _state(meta) for meta in sorted(found, key=lambda m: m["path"])}

    def state(self, key: str) -> str:
        """Give what one object looks like; empty where there is none."""
        try:
            with self._answered(key):
                return _state(obstore.head(self._store, key))
        except NotFound:
            return ""

    def _checked(self, key: str) -> str:
        return key


class RetriedInboxBucket(RetriedStore):
    """A prefix that is asked again where it does not answer.

    Args:
        bucket: the prefix.
        clock: for the waiting.
        ids: for the chance that keeps those who failed together apart.
    """

    def __init__(self, bucket: InboxBucket, *, clock: Clock, ids: Ids) -> None:
        super().__init__(bucket, clock=clock, ids=ids)
        self._bucket = bucket

    def states(self) -> dict[str, str]:
        """Give what every object right below the prefix looks like, by name, in their order."""
        return self.until_answered("list objects", "", self._bucket.states)

    def state(self, key: str) -> str:
        """Give what one object looks like; empty where there is none."""
        return self.until_answered("head object", key, lambda: self._bucket.state(key))


def _state(meta: obstore.ObjectMeta) -> str:
    return f"{meta.get('e_tag')} {meta['size']} {meta['last_modified'].isoformat()}"
