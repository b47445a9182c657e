"""SQLite: the ledger of one machine."""
