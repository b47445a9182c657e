"""What the tools made of damages -> the page in docs/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.stats import markdown_table
from chromaseal.testing.corpus.case import Case

_TOOLS = ("chromaseal", "chromadb-ops", "chroma vacuum")


@dataclass(frozen=True, slots=True)
class Result:
    """What the tools made of one case; records are numbers of right ones.

    Attributes:
        case: which one.
        quick: whether ``verify --quick`` found it.
        deep: whether ``verify --deep`` did.
        ops: whether a command of chromadb-ops that only looks ended in an error.
        shown: whether it showed something other than of the healthy directory.
        repaired: whether ``repair`` made every record and setting right again.
        salvaged: records that ``repair`` or ``salvage`` brought back.
        ops_mended: whether it was sound and right after chromadb-ops.
        ops_left: records that ``salvage`` brought back after chromadb-ops.
        vacuum: whether ``chroma vacuum`` ended in an error.
        vacuum_mended: whether it was sound and right after it.
        vacuum_left: records that ``salvage`` brought back after it.
    """

    case: Case
    quick: bool
    deep: bool
    ops: bool
    shown: bool
    repaired: bool
    salvaged: int
    ops_mended: bool
    ops_left: int
    vacuum: bool
    vacuum_mended: bool
    vacuum_left: int


def page(
    packages: Sequence[str], results: Sequence[Result], healthy: list[list[str]], truth: int
) -> str:
    """Write the page.

    Args:
        packages: the peers, pinned.
        results: of every case.
        healthy: a row for each healthy directory: its name, its records, how many each peer lost.
        truth: records of the directory that was damaged.
    """
    summary = _summary(results, truth)
    each_row = [_row(result) for result in results]
    columns: tuple[str, ...] = (
        "damage",
        "verify",
        "ops looks",
        "vacuum",
        "repair",
        "ops mends",
        "vacuum mends",
    )
    columns += ("salvage", "after ops", "after vacuum")
    return _TEXT.format(
        packages=", ".join(packages),
        records=truth,
        summary=summary,
        healthy=markdown_table(("directory", "records", "lost: ops", "lost: vacuum"), healthy),
        rows=markdown_table(columns, each_row),
    )


def _summary(results: Sequence[Result], truth: int) -> str:
    total = len(results)
    sums = {
        name: sum(getattr(result, name) for result in results)
        for name in ("quick", "deep", "ops", "shown", "vacuum")
    }
    ours = sum(result.salvaged for result in results)
    repaired = sum(each.repaired for each in results)
    rows = (
        (
            "detects",
            f"{sums['quick']} quick, {sums['deep']} deep",
            f"{sums['ops']} by an error, {sums['shown']} by an error or another text",
            f"{sums['vacuum']} by an error",
        ),
        (
            "mends: every record right",
            f"{repaired}",
            f"{sum(each.ops_mended for each in results)}",
            f"{sum(each.vacuum_mended for each in results)}",
        ),
        (
            f"right records afterwards, of {truth * total:,}",
            f"{ours:,} repaired or salvaged",
            f"{sum(each.ops_left for each in results):,}, salvaged after it",
            f"{sum(each.vacuum_left for each in results):,}, salvaged after it",
        ),
        (
            "destroys: damages after which records are gone that were there",
            "0: the damaged directory is kept",
            f"{sum(each.ops_left < each.salvaged for each in results)}",
            f"{sum(each.vacuum_left < each.salvaged for each in results)}",
        ),
    )
    return markdown_table((f"of {total} damages", *_TOOLS), rows)


def _row(result: Result) -> list[str]:
    found = "quick" if result.quick else "deep" if result.deep else "-"
    ops = "error" if result.ops else "text" if result.shown else "-"
    return [
        result.case.damage.name,
        *(found, ops, "error" if result.vacuum else "-"),
        *("yes" if each else "-" for each in (result.repaired, result.ops_mended)),
        "yes" if result.vacuum_mended else "-",
        *(str(each) for each in (result.salvaged, result.ops_left, result.vacuum_left)),
    ]


_TEXT = """\
# Beside chromadb-ops and chroma vacuum

Written by `make bench-damage`: {packages}. Both peers are tools of maintenance: they rebuild,
purge and make smaller what is whole. Neither promises to find or to mend damage, and until now
nothing else did; so people reach for them, and this is what comes of it.

{summary}

## How it is judged

Each harmful damage of [the corpus](corpus.md) happens once to a directory of {records} records,
flushed and with a pending log. Every tool gets a copy of its own, and everything is judged by
program.

* **Detects**: `chromaseal verify --quick` and `--deep` by their verdict. For chromadb-ops, `chops
  db info` and `chops wal info`: an *error* is another exit code than on the healthy directory,
  *text* another output, figures aside. `chops hnsw info` and `hnsw rebuild` fail on healthy
  directories of this ChromaDB (`KeyError: 'vector_index'`), and `wal commit` says that it is
  deprecated; they are left out. For `chroma vacuum` an exit code other than 0.
* **Mends**: `chromaseal repair`; `chops fts rebuild`, `chops db clean` and `chops wal clean`, in
  this order; `chroma vacuum --force`. Afterwards the directory is sound at deep and has every
  record as it was.
* **Records afterwards**: right records that can be read of it, with `chromaseal salvage` where it
  is not sound.
* **Destroys**: fewer of them after the tool than of an untouched copy of the case. `chromaseal
  repair` keeps the damaged directory and refuses what it cannot make exactly right; `verify` and
  `doctor` write nothing.

`chromaseal doctor` looks at vaults, ledgers and machines, and has no counterpart. In a vault
every damage is found by its digest, and mended from what was stored before.

Of an index whose `index_metadata.pickle` has code in it (`pickle: code`), `chops wal clean` runs
that code. chromaseal and `chroma vacuum` do not.

## Healthy directories

What the commands that mend cost where nothing is wrong, in records:

{healthy}

## Damage by damage

{rows}
"""
