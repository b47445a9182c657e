"""Healthy directories to be damaged, built once."""

from __future__ import annotations

import pytest

from chromaseal.testing.corpus.healthy import Base, build_bases
from chromaseal.testing.whole import WHOLE

RECORDS = 2_000 if WHOLE else 600


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Base]:
    """Give directories without and with an index, of one and of several collections."""
    return build_bases(tmp_path_factory.mktemp("bases"), RECORDS, ("l2",))
