"""URLs of a vault that cannot be opened, its pin being lost -> the same vault with its pin."""

from __future__ import annotations

from chromaseal.composition.engine import open_ledger, open_store
from chromaseal.ids import SystemIds
from chromaseal.repair.lost_vault_pin import is_kept_here, put_back_vault_pin
from chromaseal.settings import Settings, file_path


def rebuild_pin(settings: Settings, *, new_id: bool) -> str:
    """Put a vault's pin back; see ``repair.lost_vault_pin``.

    Args:
        settings: where vault and ledger are.
        new_id: whether the vault is to have an id that it never had.

    Returns:
        The vault's id.
    """
    ids = SystemIds()
    store = open_store(settings.vault, ids)
    ledger = open_ledger(settings.ledger, only_read=True, ids=ids)

    def is_its(vault_id: str) -> bool:
        return _lies_within(settings) or is_kept_here(store, settings.cache, vault_id)

    try:
        return put_back_vault_pin(store, ledger, ids, new_id=new_id, is_its=is_its)
    finally:
        ledger.close()


def _lies_within(settings: Settings) -> bool:
    """Tell whether the ledger is where a local vault has one by default, or beside that."""
    if not (settings.vault.startswith("file://") and settings.ledger.startswith("sqlite:///")):
        return False
    ledger, vault = file_path(settings.ledger).resolve(), file_path(settings.vault).resolve()
    return ledger.is_relative_to(vault)
