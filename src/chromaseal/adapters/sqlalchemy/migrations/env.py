"""What Alembic runs; the connection is the caller's, and so is the transaction."""

from __future__ import annotations

from alembic import context

from chromaseal.adapters.sqlalchemy.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
