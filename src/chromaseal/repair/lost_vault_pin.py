"""A vault whose own pin is lost or unreadable -> the same vault again, by the id in its ledger.

The pin holds the vault's id and nothing else, and the ledger is tied to that id. Whether it is
this vault's ledger, the runs in it prove: of some of them the vault must have what they name. One
without runs proves nothing, unless it lies in the vault itself, or this machine keeps a version
under that id which the vault has.
Where there is no ledger either, the vault can have a new id, if its owner says so.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from chromaseal import keys
from chromaseal.errors import Conflict, Damaged, NotFound
from chromaseal.ids import Ids
from chromaseal.object_store import ObjectStore
from chromaseal.pin import put_vault_pin, read_vault_pin
from chromaseal.probe import refuse_unconditional
from chromaseal.run.ledger import Ledger
from chromaseal.run.model import Run
from chromaseal.snapshot.version_id import parse

_RUNS_LOOKED_AT = 100


def put_back_vault_pin(
    store: ObjectStore, ledger: Ledger, ids: Ids, *, new_id: bool, is_its: Callable[[str], bool]
) -> str:
    """Make ``vault.json`` what it was; may be repeated, and changes none that can be read.

    Args:
        store: of the vault.
        ledger: asked for the id, unless it is to be new.
        ids: for a new id.
        new_id: whether the vault is to have an id that it never had.
        is_its: asked where the ledger has no runs: whether something else says that an id is the
            vault's.

    Returns:
        The vault's id.

    Raises:
        NotFound: ``no-vault``, there is nothing but the ledger; ``no-vault-id``, the ledger is
            tied to no vault, or proves nothing.
        Conflict: ``other-vault``, nothing that the ledger's runs name is in this vault; or
            ``lost-race``.
        Unsupported: ``newer-vault`` or ``no-conditional-writes``.
        Unavailable: store or ledger did not answer.
    """
    try:
        found = read_vault_pin(store)
    except Damaged:
        found = None
    if found is not None:
        return found
    if next(iter(store.list(keys.COLLECTIONS)), None) is None:
        raise NotFound(
            f"there is no vault at {store.url}: no collection is pinned in it",
            kind="no-vault",
            hint="name another with --vault",
        )
    vault_id = ids.run_id() if new_id else _id_in(ledger, store, is_its)
    refuse_unconditional(store, ids)
    put_vault_pin(store, vault_id)
    return vault_id


def _id_in(ledger: Ledger, store: ObjectStore, is_its: Callable[[str], bool]) -> str:
    vault_id = ledger.bound_to()
    if not vault_id:
        raise NotFound(
            f"the ledger {ledger.url} is tied to no vault, so it does not know this one's id",
            kind="no-vault-id",
            hint="name the vault's own with --ledger; if that is lost too, --new-id gives the "
            "vault another id: mounts and ledgers of the old one are refused from then on",
        )
    runs = ledger.newest(limit=_RUNS_LOOKED_AT)
    if not runs and not is_its(vault_id):
        raise NotFound(
            f"the ledger {ledger.url} is tied to vault {vault_id} and has no run that would prove "
            f"that {store.url} is that vault",
            kind="no-vault-id",
            hint="name the vault's own with --ledger; if this is it, it has nothing to lose: "
            "--new-id gives the vault another id, and --ledger another ledger",
        )
    if runs and not any(store.head(key) for run in runs for key in _named(run)):
        raise Conflict(
            f"the ledger {ledger.url} keeps the runs of vault {vault_id}; nothing that its newest "
            f"{len(runs)} runs name is in {store.url}",
            kind="other-vault",
            hint="name the vault's own ledger with --ledger",
        )
    return vault_id


def is_kept_here(store: ObjectStore, cache: Path, vault_id: str) -> bool:
    """Tell whether a cache keeps a version under a vault's id that a store has."""
    for folder in itertools.islice((cache / vault_id).glob("*/*"), _RUNS_LOOKED_AT):
        with contextlib.suppress(Damaged):
            parse(folder.name)
            if store.head(keys.manifest(folder.parent.name, folder.name)) is not None:
                return True
    return False


def _named(run: Run) -> Iterator[str]:
    """Give the keys of what a vault has of a run, as long as garbage collection leaves it."""
    for collection, part in run.parts.items():
        yield part.delta_key
        if part.version_id:
            yield keys.manifest(collection, part.version_id)
