"""Where counts and page are kept, and the page as it follows from the counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.costs.deployed import deployment
from bench.costs.page import headline, page

_ROOT = Path(__file__).resolve().parents[2]
COUNTS = _ROOT / "bench/results/costs.json"
PAGE = _ROOT / "docs/costs.md"


def counts() -> dict[str, Any]:
    """Read the counts that were made last, by the number of words."""
    return dict(json.loads(COUNTS.read_text(encoding="utf-8"))) if COUNTS.exists() else {}


def keep(records: int, counted: dict[str, Any]) -> None:
    """Keep the counts of a size beside those of others."""
    every = counts() | {str(records): counted}
    COUNTS.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def written() -> str:
    """Give the page."""
    return page(counts(), deployment())


def said() -> str:
    """Give the line for the README."""
    return headline(counts(), deployment())
