"""SQLAlchemy: the ledger, in an SQLite file or in PostgreSQL."""
