"""Images that land in the bucket's inbox -> runs; each image is put away as done or refused."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Final
from urllib.parse import quote, unquote_plus

from aws_lambda_powertools.utilities.data_classes import S3Event

from chromaseal.composition.functions import equipment, settings_of
from chromaseal.entrypoints.functions.telling import (
    Context,
    Event,
    count,
    logger,
    reserved_s,
    stops_at,
    told,
)
from chromaseal.errors import Interrupted
from chromaseal.receipts.inbox import DONE, REFUSED

# A page is read in seconds, and stored in less than one.
_RESERVE_S: Final = 30.0
_PAGES_AT_ONCE: Final = 1


@told
def handler(event: Event, context: Context) -> None:
    """Ingest the images that an event names, and that are still there.

    Raises:
        ChromasealError: what concerns more than one image, or no time was left; the event comes
            again, and what is done already is known by its content.
    """
    names = _images(event)
    count("UploadLambdaRecordsReceived", sum(map(len, names.values())))
    if not names:
        return
    from chromaseal.clock import SystemClock  # noqa: PLC0415
    from chromaseal.composition.fleet import feeder, open_inbox  # noqa: PLC0415

    here = equipment(settings_of(os.environ))
    is_over = stops_at(context, reserved_s(_RESERVE_S))
    for place, images in names.items():
        inbox = open_inbox(place, clock=SystemClock(), names=images)
        terms = here.terms(context.aws_request_id)
        feeding = feeder(
            here.vault, inbox, terms, _tell, jobs=_PAGES_AT_ONCE, settle_s=0.0, alone=False
        )
        while feeding.feed(is_over) is not None:
            if is_over():
                raise Interrupted(
                    f"too little time was left for the images in {place}",
                    hint="the event comes again; give the function more time if it goes on",
                )


def _images(event: Event) -> dict[str, list[str]]:
    """Give the images' names by where they lie, without those that were put away."""
    found: dict[str, list[str]] = defaultdict(list)
    for record in S3Event(event).records:
        folder, _, name = unquote_plus(record.s3.get_object.key).rpartition("/")
        if folder.rpartition("/")[2] not in {DONE, REFUSED} and name:
            found[f"s3://{record.s3.bucket.name}/{quote(folder)}"].append(name)
    return dict(found)


def _tell(status: str, name: str, refused: str) -> None:
    count("UploadLambdaSuccess" if status == DONE else "UploadLambdaError")
    logger.info("put away", extra={"image": name, "status": status, "refused": refused})
