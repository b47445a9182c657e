"""What two directories have otherwise, whatever databases they have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.sandbox import limits_for

MAKE = """
import sys
import chromadb
from chromadb.config import DEFAULT_TENANT

admin = chromadb.AdminClient(chromadb.Settings(is_persistent=True, persist_directory=sys.argv[1]))
admin.create_database("other", DEFAULT_TENANT)
for database, count in (("default_database", 1), ("other", int(sys.argv[2]))):
    client = chromadb.PersistentClient(sys.argv[1], database=database)
    notes = client.get_or_create_collection("notes")
    for number in range(count):
        notes.upsert(ids=[f"r{number}"], embeddings=[[1.0, number]])
"""


def test_collections_of_one_name_in_two_databases_are_two(
    tmp_path: Path, sandbox: ProcessSandbox
) -> None:
    """Neither hides what the other one has."""
    for name, records in (("before", "2"), ("after", "3")):
        subprocess.run([sys.executable, "-c", MAKE, str(tmp_path / name), records], check=True)
    request = {"before": str(tmp_path / "before"), "after": str(tmp_path / "after"), "limit": 9}
    found = sandbox.run("compare", request, limits=limits_for(0))["collections"]
    assert {name: each["added"]["ids"] for name, each in found.items()} == {
        "notes": [],
        "default_tenant/other/notes": ["r2"],
    }
