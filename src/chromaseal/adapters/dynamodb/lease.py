"""Leases as items of the table: each change names what it was decided on, or does nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from chromaseal.adapters.dynamodb.items import Item, lease_key
from chromaseal.adapters.dynamodb.table import Table
from chromaseal.clock import from_iso, to_iso
from chromaseal.run.lease import Lease

_NOBODY = ""
_LONG_AGO = to_iso(dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
_TRIES = 10


class DynamoLeases:
    """Leases in a table, by this machine's clock as long as it agrees with the server's.

    Args:
        table: where.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> Lease | None:
        """Take a collection that nobody has; extend the lease of whoever has it already."""
        for tries in range(_TRIES):
            found = self._table.get(lease_key(collection))
            now = self._table.now()
            epoch = next_epoch(found, owner, now)
            if epoch is None:
                return None
            if self._take(collection, found, owner, epoch, now + _seconds(duration_s)):
                return Lease(collection, owner, epoch, duration_s)
            # Somebody was quicker, or this very write has landed: the next look tells which.
            self._table.pause(tries)
        return None

    def renew(self, lease: Lease, *, duration_s: float) -> bool:
        """Extend a lease from now on, if it is still the last one that was given."""
        expires_at = to_iso(self._table.now() + _seconds(duration_s))
        fields = {"owner": lease.owner, "epoch": lease.epoch, "expires_at": expires_at}
        if self._change(lease, fields):
            return True
        # Refused, if need be, by this very write, whose reply was lost.
        found = self._table.get(lease_key(lease.collection))
        return found is not None and all(found[name] == fields[name] for name in fields)

    def release(self, lease: Lease) -> None:
        """Give a lease back, if it is still the last one that was given."""
        # The item stays: the next holder's epoch goes on from it.
        fields = {"owner": _NOBODY, "epoch": lease.epoch, "expires_at": _LONG_AGO}
        self._change(lease, fields)

    def holder(self, collection: str) -> Lease | None:
        """Give the lease that has not expired."""
        found = self._table.get(lease_key(collection))
        if found is None or found["owner"] == _NOBODY:
            return None
        left = from_iso(found["expires_at"]) - self._table.now()
        if left <= dt.timedelta():
            return None
        return Lease(collection, found["owner"], int(found["epoch"]), left.total_seconds())

    def _take(
        self, collection: str, found: Item | None, owner: str, epoch: int, expires: dt.datetime
    ) -> bool:
        fields = {"owner": owner, "epoch": epoch, "expires_at": to_iso(expires)}
        if found is None:
            condition, values = "attribute_not_exists(PK)", {}
        else:
            condition = "#owner = :owner AND #epoch = :epoch AND #expires_at = :expires_at"
            values = {name: found[name] for name in fields}
        return self._table.change(lease_key(collection), fields, condition=condition, values=values)

    def _change(self, lease: Lease, fields: Mapping[str, Any]) -> bool:
        return self._table.change(
            lease_key(lease.collection),
            fields,
            condition="#owner = :owner AND #epoch = :epoch",
            values={"owner": lease.owner, "epoch": lease.epoch},
        )


def next_epoch(found: Mapping[str, Any] | None, owner: str, now: dt.datetime) -> int | None:
    """Decide which epoch an owner would have; None where another's lease has not expired.

    Args:
        found: the lease's item; None where there never was one.
        owner: who asks.
        now: by the clock that leases go by.
    """
    if found is None:
        return 1
    epoch = int(found["epoch"])
    if found["owner"] == owner:
        return epoch
    return epoch + 1 if from_iso(found["expires_at"]) <= now else None


def _seconds(duration_s: float) -> dt.timedelta:
    return dt.timedelta(seconds=duration_s)
