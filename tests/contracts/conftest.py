"""A table of DynamoDB as other programs have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from chromaseal.adapters.dynamodb.place import parse
from chromaseal.testing.servers import S3Server


@pytest.fixture
def table(ministack_server: S3Server, dynamodb_url: str) -> Iterator[Any]:
    """Give the table as another program has it."""
    place = parse(dynamodb_url)
    resource = boto3.resource(
        "dynamodb", region_name=place.region, endpoint_url=ministack_server.endpoint
    )
    yield resource.Table(place.table)
    resource.meta.client.close()
