"""The ledger's tables, changed from one release's to the next one's, by Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection, found: int, wanted: int) -> None:
    """Bring the tables to a schema, inside the caller's transaction.

    Args:
        connection: to the database; nobody else may change its tables meanwhile.
        found: the schema that is there, 0 for none. SQLite files of schema 1 were made before
            Alembic was used, and know nothing of it.
        wanted: the schema to reach.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if found == 1 and connection.dialect.name == "sqlite":
        command.stamp(config, "1")
    command.upgrade(config, str(wanted))
