"""What shards cost, and what the simulation of splitting finds: ``python -m bench.sharding``."""

from __future__ import annotations

import argparse

from bench.sharding.costs import at_size
from bench.sharding.splitting import LostError, Mistake, Play
from bench.stats import markdown_table

_SIZES = (200_000, 1_000_000, 10_000_000, 100_000_000)
_STEPS = 1_500


def _costs() -> str:
    header = ["records", "shards", "largest", "GB each", "index GB", "query CPU ms", "query ms"]
    rows = [
        [
            f"{cost.records:,}",
            f"{cost.shards:,}",
            f"{cost.largest_records:,.0f}",
            f"{cost.shard_bytes / 1e9:.1f}",
            f"{cost.index_bytes / 1e9:.1f}",
            f"{cost.query_cpu_s * 1e3:,.1f}",
            f"{cost.query_s * 1e3:.1f}",
        ]
        for cost in map(at_size, _SIZES)
    ]
    return markdown_table(header, rows)


def _played(mistake: Mistake, seeds: int) -> list[str]:
    found, first, steps, splits, deaths = 0, "", 0, 0, 0
    for seed in range(seeds):
        play = Play(seed, mistake)
        try:
            steps += play.play(_STEPS)
        except LostError as error:
            found += 1
            first = first or f"seed {seed}: {error}"
        splits, deaths = splits + play.splits, deaths + play.deaths
    return [mistake.value, f"{found} of {seeds}", first, f"{steps:,}", str(splits), str(deaths)]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    seeds = parser.parse_args().seeds
    print(_costs())
    header = ["mistake", "seeds that lose", "first", "steps of the others", "splits", "deaths"]
    print(markdown_table(header, [_played(mistake, seeds) for mistake in Mistake]))


if __name__ == "__main__":
    main()
