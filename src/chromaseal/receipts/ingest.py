"""Image files -> runs: read, embed, find the merchant, write the deltas.

Every step leaves something durable that the next attempt builds on: the original, the reading,
the deltas, the run. Ids follow from content, so doing it again changes nothing.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from chromaseal import keys
from chromaseal.clock import to_iso
from chromaseal.delta.model import Changes
from chromaseal.embedding import ModelPin
from chromaseal.errors import ChromasealError, Conflict, Damaged, NotFound, RefusedInput
from chromaseal.object_store import ObjectStore
from chromaseal.receipts.anchors import find_anchors
from chromaseal.receipts.files import find_images, read_content
from chromaseal.receipts.image import (
    ImageDecoder,
    ImageFile,
    earlier_id,
    image_id_of,
    inspect_image,
    stable_id,
)
from chromaseal.receipts.merchant import Merchant, resolve_merchant
from chromaseal.receipts.merchant_memory import MerchantMemory
from chromaseal.receipts.model import Reading
from chromaseal.receipts.page_work import PageResult
from chromaseal.receipts.records import (
    LINES_COLLECTION,
    WORDS_COLLECTION,
    ReceiptKey,
    row_records,
    word_records,
)
from chromaseal.receipts.text_similarity import TextSimilarity
from chromaseal.receipts.tilt import rows_of, words_of
from chromaseal.receipts.vault_objects import (
    StoredReading,
    load_reading,
    store_original,
    store_reading,
)
from chromaseal.run.model import Run
from chromaseal.vault import Vault
from chromaseal.writing import refuse_cancelled

Work = Callable[[ImageFile, int, Reading | None], PageResult]

RECORDS_FORM = "records-1"
RECEIPT_ID = 1
_NAMESPACE = uuid.UUID("b5a4f0de-2f49-5b5c-8a63-5b3fd0f0a1c9")
_WAITING_PER_WORKER = 2


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one page, or of one file that was refused whole.

    Attributes:
        source: the file's path.
        status: ``ingested``, ``already-ingested`` or ``refused``.
        page_number: from 1; 0 for a file that was refused whole.
        image_id: empty for a file that was refused whole.
        run_id: of its run; empty if refused.
        merchant: what was found; None unless ingested.
        rows: records in ``lines``.
        words: records in ``words``.
        durations_s: seconds by step.
        error: why it was refused; None otherwise.
    """

    source: str
    status: str
    page_number: int = 0
    image_id: str = ""
    run_id: str = ""
    merchant: Merchant | None = None
    rows: int = 0
    words: int = 0
    durations_s: Mapping[str, float] = field(default_factory=dict)
    error: ChromasealError | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """What ingesting works with.

    Attributes:
        decoder: counts pages.
        work: reads and embeds one page, somewhere; called from several threads.
        workers: how many pages are worked on at once.
        engine: name of the OCR engine, for example ``rapidocr 3.10.0``.
        model: the model that ``work`` embeds with.
        similarity: compares texts.
        memory: merchants of earlier receipts; None in an empty vault.
    """

    decoder: ImageDecoder
    work: Work
    workers: int
    engine: str
    model: ModelPin
    similarity: TextSimilarity
    memory: MerchantMemory | None


@dataclass(frozen=True, slots=True)
class _Page:
    image: ImageFile
    number: int
    image_id: str
    run_id: str


class Ingest:
    """Brings image files into a vault."""

    def __init__(self, vault: Vault, tools: Tools) -> None:
        self._vault = vault
        self._tools = tools
        self._reader_id = reader_id(tools.engine)

    def run(self, sources: Sequence[str | Path]) -> Iterator[Ingested]:
        """Ingest files and folders; give each page's outcome as it is known.

        One bad file never stops the others. When an outcome has been given, it is durable.
        """
        found = find_images(sources)
        for refusal in found.refusals:
            yield Ingested(str(refusal.source), "refused", error=refusal.error)
        with ThreadPoolExecutor(self._tools.workers) as pool:
            waiting: dict[Future[PageResult], _Page] = {}
            try:
                for page in self._pages(found.files):
                    if isinstance(page, Ingested):
                        yield page
                        continue
                    waiting[pool.submit(self._work, page)] = page
                    if len(waiting) >= self._tools.workers * _WAITING_PER_WORKER:
                        yield from self._finish_some(waiting)
                while waiting:
                    yield from self._finish_some(waiting)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def count(self, sources: Sequence[str | Path]) -> int:
        """Count the files that ``run`` would look at, for a progress bar."""
        return len(find_images(sources).files)

    def _pages(self, files: Sequence[Path]) -> Iterator[_Page | Ingested]:
        seen: set[str] = set()
        for path in files:
            try:
                image = inspect_image(path, self._tools.decoder)
            except ChromasealError as error:
                yield Ingested(str(path), "refused", error=error)
                continue
            for number in range(1, image.pages + 1):
                page = self._page(image, number)
                run = self._vault.parts.ledger.get(page.run_id)
                if run is not None or page.image_id in seen:
                    yield _known_outcome(page, run)
                else:
                    yield page
                seen.add(page.image_id)

    def _page(self, image: ImageFile, number: int) -> _Page:
        """Name a page, as release 0.1 did where that has begun to ingest it."""
        image_id = image_id_of(image.digest, number)
        earlier = earlier_id(image_id)
        readings = self._vault.parts.store.list(keys.readings(earlier))
        if next(iter(readings), None) is not None:
            return _Page(image, number, earlier, str(uuid.uuid5(_NAMESPACE, _run_name(earlier))))
        return _Page(image, number, image_id, stable_id(_NAMESPACE, _run_name(image_id)))

    def _work(self, page: _Page) -> PageResult:
        store = self._vault.parts.store
        known = load_reading(store, page.image_id, self._reader_id)
        return self._tools.work(page.image, page.number, known.reading if known else None)

    def _finish_some(self, waiting: dict[Future[PageResult], _Page]) -> Iterator[Ingested]:
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            page = waiting.pop(future)
            try:
                outcome = self._write(page, future.result())
            except ChromasealError as error:
                if not _concerns_one_page(error):
                    raise
                outcome = _outcome(page, "refused", error=error)
            yield outcome

    def _write(self, page: _Page, result: PageResult) -> Ingested:
        clock, store = self._vault.parts.clock, self._vault.parts.store
        if not result.reading.lines:
            return _outcome(page, "refused", error=_no_text(page))
        start = clock.monotonic_s()
        stored = StoredReading(
            image_id=page.image_id,
            source_name=page.image.source_name,
            digest=page.image.digest,
            page_number=page.number,
            read_at=to_iso(clock.now()),
            durations_s=dict(result.durations_s),
            reading=result.reading,
        )
        with ThreadPoolExecutor(1) as pool:
            original = pool.submit(_keep_original, store, page.image)
            kept = store_reading(store, self._reader_id, stored)
            if kept.reading != result.reading:
                raise _read_by_another(page)
            merchant_start = clock.monotonic_s()
            changes, merchant = self._changes(page, result)
            written_start = clock.monotonic_s()
            original.result()
        self._vault.write(
            changes,
            model=self._tools.model,
            run_id=page.run_id,
            attributes=_attributes(page, self._tools.engine, merchant),
            # An attempt that died here may have stored one of the two deltas, and since then
            # the memory may have learned the merchant's name.
            stored_wins=True,
        )
        end = clock.monotonic_s()
        durations_s = {
            **result.durations_s,
            "merchant": written_start - merchant_start,
            "store": (end - written_start) + (merchant_start - start),
        }
        return _outcome(
            page,
            "ingested",
            merchant=merchant,
            rows=len(changes[LINES_COLLECTION].upserts),
            words=len(changes[WORDS_COLLECTION].upserts),
            durations_s=durations_s,
        )

    def _changes(self, page: _Page, result: PageResult) -> tuple[dict[str, Changes], Merchant]:
        rows = rows_of(result.reading)
        anchors = find_anchors(rows)
        merchant = resolve_merchant(
            result.reading,
            rows,
            anchors,
            result.row_vectors,
            image_id=page.image_id,
            receipt_id=RECEIPT_ID,
            memory=self._tools.memory,
            similarity=self._tools.similarity,
        )
        key = ReceiptKey(page.image_id, RECEIPT_ID, page.run_id)
        words = words_of(result.reading)
        lines = row_records(key, rows, result.row_vectors, anchors=anchors, merchant=merchant)
        found = word_records(key, words, result.word_vectors, anchors=anchors, merchant=merchant)
        changes = {LINES_COLLECTION: Changes(upserts=lines)}
        changes[WORDS_COLLECTION] = Changes(upserts=found)
        return changes, merchant


def _run_name(image_id: str) -> str:
    # Not of the engine: two readings of one image would leave a mixture of records.
    return f"{image_id}/{RECEIPT_ID}/{RECORDS_FORM}"


def _concerns_one_page(error: ChromasealError) -> bool:
    """Whether the others can go on: the page is bad, unwanted, or took its process down."""
    concerns_one = error.kind == "run-cancelled" or error.kind.startswith("child-")
    return concerns_one or isinstance(error, RefusedInput | NotFound | Damaged)


def _known_outcome(page: _Page, run: Run | None) -> Ingested:
    try:
        if run is not None:
            refuse_cancelled(run)
    except Conflict as error:
        return _outcome(page, "refused", error=error)
    return _outcome(page, "already-ingested")


def _keep_original(store: ObjectStore, image: ImageFile) -> None:
    store_original(store, image.digest, read_content(image.path))


def _read_by_another(page: _Page) -> RefusedInput:
    return RefusedInput(
        f"another process has just read page {page.number} of {page.image.path} otherwise",
        kind="read-by-another",
        hint="run the same command again; it takes up what was stored",
    )


def _no_text(page: _Page) -> RefusedInput:
    return RefusedInput(
        f"no text was found on page {page.number} of {page.image.path}",
        kind="no-text",
        hint="look at it: is it a receipt, and sharp enough to read?",
    )


def reader_id(engine: str) -> str:
    """Give an OCR engine's name as part of a key: ``rapidocr 3.10.0`` -> ``rapidocr-3-10-0``."""
    return re.sub(r"[^A-Za-z0-9]+", "-", engine).strip("-")


def _outcome(
    page: _Page,
    status: str,
    *,
    merchant: Merchant | None = None,
    rows: int = 0,
    words: int = 0,
    durations_s: Mapping[str, float] | None = None,
    error: ChromasealError | None = None,
) -> Ingested:
    return Ingested(
        source=str(page.image.path),
        status=status,
        page_number=page.number,
        image_id=page.image_id,
        run_id=page.run_id if error is None else "",
        merchant=merchant,
        rows=rows,
        words=words,
        durations_s=durations_s or {},
        error=error,
    )


def _attributes(page: _Page, engine: str, merchant: Merchant) -> dict[str, str]:
    return {
        "image_id": page.image_id,
        "receipt_id": str(RECEIPT_ID),
        "source_name": page.image.source_name,
        "original": page.image.digest,
        "page_number": str(page.number),
        "engine": engine,
        "merchant_name": merchant.name,
        "merchant_source": merchant.source,
    }
