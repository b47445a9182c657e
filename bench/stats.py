"""Many measured steps -> medians, tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from bench.peers import Step

_MB = 1e6


def median_step(steps: Sequence[Step]) -> Step:
    """Give the median of each measure by itself."""
    return Step(
        duration_s=median(step.duration_s for step in steps),
        bytes_up=round(median(step.bytes_up for step in steps)),
        bytes_down=round(median(step.bytes_down for step in steps)),
        requests=round(median(step.requests for step in steps)),
    )


def in_ms(duration_s: float) -> str:
    """Write a duration."""
    return f"{duration_s * 1000:,.0f} ms"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table without its last line feed; the first column is text, the rest figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def steps_table(measured: Mapping[str, Sequence[Step]], own_bytes: float, baseline: str) -> str:
    """Write what publishing a delta took, a row for each peer.

    Args:
        measured: steps by the peer's name.
        own_bytes: of a delta's records.
        baseline: the peer that the others are compared with.
    """
    base = median_step(measured[baseline])
    base_bytes = base.bytes_up + base.bytes_down
    rows = []
    for name, steps in measured.items():
        step = median_step(steps)
        both_ways = step.bytes_up + step.bytes_down
        rows.append(
            [
                name,
                f"{step.duration_s * 1000:,.0f}",
                f"{base.duration_s / step.duration_s:,.1f}",
                megabytes(step.bytes_up),
                megabytes(step.bytes_down),
                f"{base_bytes / both_ways:,.1f}",
                f"{step.bytes_up / own_bytes:,.1f}",
                f"{step.requests}",
            ]
        )
    header = [
        *("way", "ms", "times faster", "MB up", "MB down", "times fewer bytes"),
        *("up / own bytes", "requests"),
    ]
    return markdown_table(header, rows)


def megabytes(size_bytes: float) -> str:
    """Write bytes as MB."""
    return three_digits(size_bytes / _MB)


def three_digits(value: float) -> str:
    """Write a figure with three significant digits, or whole when it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
