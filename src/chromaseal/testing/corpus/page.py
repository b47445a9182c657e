"""What became of all cases -> the page docs/corpus.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chromaseal.seal.verdict import Level
from chromaseal.testing.corpus.case import Damage, Kind
from chromaseal.testing.corpus.mending import Mended
from chromaseal.testing.corpus.outcome import Outcome


def page(outcomes: Sequence[Outcome], mended: Sequence[Mended]) -> str:
    """Write the page.

    Args:
        outcomes: of all cases, looked at.
        mended: of all harmful cases, repaired or salvaged; of other bases, if need be.
    """
    harmful = [each for each in outcomes if each.case.damage.kind is Kind.HARMFUL]
    counts = ", ".join(
        f"{level} {sum(each.found_by(level) for each in harmful)}" for level in Level
    )
    damages = list(dict.fromkeys(each.case.damage for each in outcomes))
    return "\n".join(
        [
            "# The corruption corpus",
            "",
            "Written by `make corpus`. Healthy ChromaDB directories (small and never flushed;",
            "flushed; flushed with a pending log; the same beside two more collections; l2",
            "and cosine; all with updates and deletes in their history) and what can happen",
            "to them, as bare directories, with nothing to compare them to. As a version in",
            "a vault every case is found by digests. What each level looks at is in",
            "[RFC 0008](rfcs/0008-levels-of-verification.md).",
            "",
            f"{len(outcomes)} cases, {len(harmful)} of them harmful. Found by level: {counts}.",
            "",
            *_of_repairs(mended),
            "",
            "| damage | cases | presence | quick | deep | found by | repaired | salvaged |",
            "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
            *(_row(d, outcomes, mended) for d in damages if d.kind is Kind.HARMFUL),
            "",
            "## Values that nothing on disk contradicts",
            "",
            "No level can find these in a bare directory.",
            "",
            *_reasons(damages, Kind.SILENT),
            "",
            "Nor can any level find this: a record is upserted and then updated without a vector,",
            "neither is flushed, and the upsert's entry is lost. The last change is in the log, so",
            "only a missing number tells of the first; and `delete_collection` takes entries out",
            "of the middle of the log just so, and leaves nothing behind that says that there ever",
            "was a collection ([RFC 0008](rfcs/0008-levels-of-verification.md)).",
            "",
            "## Harmless",
            "",
            "These raise no alarm.",
            "",
            *_reasons(damages, Kind.HARMLESS),
            "",
        ]
    )


def _of_repairs(mended: Sequence[Mended]) -> list[str]:
    repaired = sum(each.repaired for each in mended)
    refused = [each for each in mended if not each.repaired]
    right, of = (sum(counts) for counts in zip(*(m.salvaged for m in refused), strict=True))
    different = sum(len(each.different) for each in mended)
    unlisted = sum(len(each.unlisted) for each in mended)
    nameless = sorted({each.case.damage.name for each in mended if each.unlisted})
    return [
        "`chromaseal repair DIR` gave the identical set of records in",
        f"{repaired} of {len(mended)} cases, and refused the other {len(refused)}. Of their",
        f"{of:,} records `chromaseal salvage` brought out {right:,}. Records that came out",
        f"other than they were: {different}. Lost records that the list of what is missing",
        f"does not name: {unlisted:,}, in databases whose pages named them and are gone:",
        f"{', '.join(nameless)}.",
        "",
        "The last columns say how many cases were repaired, and which share of the records",
        "of the refused ones salvage brings.",
    ]


def _row(damage: Damage, outcomes: Iterable[Outcome], mended: Iterable[Mended]) -> str:
    own = [each for each in outcomes if each.case.damage is damage]
    found = [str(sum(each.found_by(level) for each in own)) for level in Level]
    checks = sorted({check for each in own for check in each.checks[:2]})
    tried = [each for each in mended if each.case.damage is damage]
    cells = [damage.name, str(len(own)), *found, ", ".join(checks)]
    return f"| {' | '.join([*cells, _repaired(tried), _salvaged(tried)])} |"


def _repaired(tried: Sequence[Mended]) -> str:
    return f"{sum(each.repaired for each in tried)} of {len(tried)}"


def _salvaged(tried: Sequence[Mended]) -> str:
    right = sum(each.salvaged[0] for each in tried if not each.repaired)
    of = sum(each.salvaged[1] for each in tried if not each.repaired)
    return f"{100 * right // of} %" if of else ""


def _reasons(damages: Iterable[Damage], kind: Kind) -> list[str]:
    return [f"* {d.name}: {d.reason}." for d in damages if d.kind is kind]
