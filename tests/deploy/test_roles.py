"""What each role, and the bucket, must allow and refuse; and what the verbs really ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from chromaseal import keys
from chromaseal.adapters.cloudformation import template_file
from chromaseal.adapters.dynamodb import table as dynamodb_table
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.composition.engine import open_vault
from chromaseal.deployment.template import Place, parameters_of, resources
from chromaseal.object_store import ObjectInfo, ObjectStore, StoredObject
from chromaseal.settings import Settings
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.policies import Document, Request, Verdict, judge
from chromaseal.testing.records import record, upserts

NAME = "lines"
BUCKET = "arn:aws:s3:::receipts"
LEGACY = "arn:aws:s3:::old-receipts"
SQS = "arn:aws:sqs:us-east-1:123456789012"
TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/chromaseal"
LOGS = "arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/chromaseal-"
FUNCTIONS = ("receipt-uploaded", "run-changed", "runs-waiting", "schedule", "version-published")
KNOWN = {
    **{f"{name}.Arn": f"{SQS}:{name}" for name in ("LinesQueue", "WordsQueue", "FailedEvents")},
    **{f"On{n.title().replace('-', '')}Logs.Arn": f"{LOGS}on-{n}:*" for n in FUNCTIONS},
    "Table.StreamArn": f"{TABLE}/stream/2026-11-28T00:00:00.000",
    "MountFiles.Arn": "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-1",
    "MountAccessPoint.Arn": "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/ap-1",
}
GIVEN = {
    "BucketName": "receipts",
    "CodeKey": "functions.zip",
    "MountVpcId": "vpc-1",
    "LegacyBucketName": "old-receipts",
}
_TEMPLATE = template_file.parse(template_file.text())
FOUND = resources(_TEMPLATE, parameters_of(_TEMPLATE, GIVEN), Place(known=KNOWN))
ROLES = {
    "ingest": "OnReceiptUploadedRole",
    "announce": "OnRunChangedRole",
    "compact": "OnRunsWaitingRole",
    "upkeep": "OnScheduleRole",
    "sync": "OnVersionPublishedRole",
}

CREATING = {"s3:if-none-match": "*", "s3:ObjectCreationOperation": "true"}
REPLACING = {"s3:if-match": '"tag"', "s3:ObjectCreationOperation": "true"}
PLAIN = {"s3:ObjectCreationOperation": "true"}
PART = {"s3:ObjectCreationOperation": "false"}
YES, NO, REFUSED = Verdict.ALLOWED, Verdict.NOT_ALLOWED, Verdict.REFUSED
LAYER = keys.layer_part(NAME, "000001-ab-step", 0)
MANIFEST = keys.manifest(NAME, "v1")
POINTER = keys.pointer(NAME)
DELTA = keys.delta(NAME, "r1", ".parquet")
WRITTEN_ONCE = [
    *(keys.VAULT, keys.collection(NAME), DELTA, LAYER, MANIFEST),
    *(keys.history_page(NAME, "000001-ab"), keys.tag(NAME, "t"), keys.cancellation(NAME, "r1")),
    *(keys.gc(NAME, "g"), keys.original("d"), keys.reading("i", "r"), keys.set_aside("1")),
]


def documents(role: str) -> Iterator[Document]:
    """Give the policies of a role, its own and those that it shares."""
    properties = FOUND[role]["Properties"]
    yield from (own["PolicyDocument"] for own in properties["Policies"])
    for shared in properties["ManagedPolicyArns"]:
        yield FOUND[shared.strip("<>")]["Properties"]["PolicyDocument"]


def bucket_policy() -> Document:
    """Give the bucket's policy."""
    document: Document = FOUND["BucketPolicy"]["Properties"]["PolicyDocument"]
    return document


def ask(who: str, request: Request) -> Verdict:
    """Judge what a role asks; ``admin`` may do everything that nobody refuses."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    admin = [{"Version": "2012-10-17", "Statement": [everything]}]
    identity = admin if who == "admin" else documents(ROLES[who])
    is_s3 = request.action.startswith("s3:")
    return judge(request, identity=identity, resource=[bucket_policy()] if is_s3 else ())


def s3(action: str, key: str, context: Mapping[str, str] | None = None) -> Request:
    """Make a request for an object of the vault, or beside it where the key begins with a slash."""
    place = key if key.startswith("/") else f"/vault/{key}"
    secure = {"aws:SecureTransport": "true", **(context or {})}
    return Request(f"s3:{action}", f"{BUCKET}{place}", secure)


def put(key: str, context: Mapping[str, str] = CREATING) -> Request:
    """Make a request that stores an object."""
    return s3("PutObject", key, context)


def item(action: str, partition: str, where: str = TABLE) -> Request:
    """Make a request for an item of the table, or of an index of it."""
    return Request(f"dynamodb:{action}", where, {"dynamodb:LeadingKeys": [partition]})


def plain(action: str, arn: str, context: Mapping[str, str] | None = None) -> Request:
    """Make a request for anything else."""
    return Request(action, arn, context or {})


@pytest.mark.parametrize("key", WRITTEN_ONCE)
def test_nobody_overwrites_what_is_written_once(key: str) -> None:
    """Not even an administrator, and not through an upload in parts either."""
    assert ask("admin", put(key)) is YES
    assert ask("admin", put(key, PART)) is YES
    assert ask("admin", put(key, PLAIN)) is REFUSED
    assert ask("admin", put(key, REPLACING)) is REFUSED
    assert ask("admin", put(key, {})) is REFUSED


@pytest.mark.parametrize("key", [POINTER, keys.probe("p")])
def test_nobody_moves_a_pointer_without_a_condition(key: str) -> None:
    """The incident's last step cannot be taken any more, by no program whatever."""
    assert ask("admin", put(key)) is YES
    assert ask("admin", put(key, REPLACING)) is YES
    assert ask("admin", put(key, PART)) is YES
    assert ask("admin", put(key, PLAIN)) is REFUSED
    assert ask("admin", put(key, {})) is REFUSED


def test_nobody_deletes_a_pointer_and_nothing_goes_without_tls() -> None:
    """What is outside of the vault is its owner's own affair."""
    assert ask("admin", s3("DeleteObject", POINTER)) is REFUSED
    assert ask("admin", s3("DeleteObjectVersion", POINTER)) is REFUSED
    assert ask("admin", s3("DeleteObject", LAYER)) is YES
    for action in ("GetObject", "PutObject", "ListBucket"):
        assert ask("admin", s3(action, LAYER, {"aws:SecureTransport": "false"})) is REFUSED
    assert ask("admin", put("/inbox/a.jpg", PLAIN)) is YES
    assert ask("admin", put("/words/snapshot/latest-pointer.txt", PLAIN)) is YES


@pytest.mark.parametrize("number", range(4))
def test_every_statement_of_the_bucket_is_needed(number: int) -> None:
    """Without any one of them something is allowed that must not be."""
    document = bucket_policy()
    rest = [each for place, each in enumerate(document["Statement"]) if place != number]
    refused = [
        put(LAYER, PLAIN),
        put(POINTER, PLAIN),
        s3("DeleteObject", POINTER),
        s3("GetObject", LAYER, {"aws:SecureTransport": "false"}),
    ]
    assert len(document["Statement"]) == len(refused)
    left = [judge(each, resource=[{**document, "Statement": rest}]) for each in refused]
    assert sorted(left) == sorted([NO, REFUSED, REFUSED, REFUSED])


STREAM = KNOWN["Table.StreamArn"]
INDEX = f"{TABLE}/index/GSI1"
MOUNT = KNOWN["MountFiles.Arn"]
OWN_POINT = {"elasticfilesystem:AccessPointArn": KNOWN["MountAccessPoint.Arn"]}
# Who may: everybody else may not.
MAY: list[tuple[Request, set[str]]] = [
    (s3("GetObject", LAYER), set(ROLES) - {"announce"}),
    (s3("GetObject", "/other/secret"), set()),
    (plain("s3:GetObject", f"{LEGACY}/lines/delta/a/chroma.sqlite3"), {"compact", "upkeep"}),
    (plain("s3:ListBucket", LEGACY), {"compact", "upkeep"}),
    (plain("s3:PutObject", f"{LEGACY}/lines/delta/a/chroma.sqlite3"), set()),
    (plain("s3:DeleteObject", f"{LEGACY}/lines/delta/a/chroma.sqlite3"), set()),
    (s3("GetObject", "/inbox/a.jpg"), {"ingest"}),
    (s3("DeleteObject", "/inbox/a.jpg"), {"ingest"}),
    (put("/inbox/done/a.jpg"), {"ingest"}),
    (put("/inbox/2026/11/done/a.jpg"), {"ingest"}),
    (put("/inbox/2026/11/refused/a.jpg.txt"), {"ingest"}),
    (put("/inbox/2026/11/a.jpg"), set()),
    (put("/inbox/a.jpg"), set()),
    (put("/other/a.jpg"), set()),
    (put(keys.VAULT), {"ingest", "compact"}),
    (put(keys.probe("p")), {"ingest", "compact"}),
    (s3("DeleteObject", keys.probe("p")), {"ingest", "compact"}),
    (put(keys.original("d")), {"ingest"}),
    (put(keys.set_aside("1")), {"announce"}),
    (s3("GetObject", keys.set_aside("1")), set(ROLES)),
    (s3("DeleteObject", keys.set_aside("1")), set()),
    (put(keys.reading("i", "r")), {"ingest"}),
    (s3("DeleteObject", keys.original("d")), set()),
    (put(keys.collection(NAME)), {"ingest", "compact", "upkeep"}),
    (put(DELTA), {"ingest", "compact", "upkeep"}),
    (put(LAYER), {"compact"}),
    (put(MANIFEST), {"compact"}),
    (put(keys.history_page(NAME, "000001-ab")), {"compact"}),
    (put(POINTER), {"compact"}),
    (put(POINTER, REPLACING), {"compact"}),
    (put(keys.gc(NAME, "g")), {"upkeep"}),
    (s3("DeleteObject", keys.gc(NAME, "g")), {"upkeep"}),
    (s3("DeleteObject", LAYER), {"upkeep"}),
    (s3("DeleteObject", MANIFEST), {"upkeep"}),
    (s3("DeleteObject", DELTA), {"upkeep"}),
    (s3("DeleteObject", keys.tag(NAME, "t")), set()),
    (s3("DeleteObject", keys.VAULT), set()),
    (s3("DeleteObjectVersion", LAYER), set()),
    (plain("s3:PutBucketPolicy", BUCKET), set()),
    (plain("s3:DeleteBucket", BUCKET), set()),
    (item("PutItem", "CHROMASEAL#RUN#r1"), {"ingest", "compact", "upkeep"}),
    (item("UpdateItem", "IMAGE#i"), {"ingest", "compact", "upkeep"}),
    (item("Query", "CHROMASEAL#COUNT"), {"ingest", "compact", "upkeep"}),
    (item("GetItem", "CHROMASEAL"), {"ingest", "compact", "upkeep"}),
    (item("PutItem", "LOCK#lines#x"), set()),
    (item("GetItem", "CHROMASEALED"), set()),
    (item("Scan", "CHROMASEAL"), set()),
    (plain("dynamodb:DeleteTable", TABLE), set()),
    (item("Query", "RUNS", INDEX), {"compact", "upkeep"}),
    (item("Query", "LOCK#lines", INDEX), set()),
    (item("Query", "RUNS", f"{TABLE}/index/GSI2"), set()),
    (plain("dynamodb:GetRecords", STREAM), {"announce"}),
    (plain("dynamodb:ListStreams", STREAM), {"announce"}),
    (plain("sqs:SendMessage", KNOWN["LinesQueue.Arn"]), {"announce", "upkeep"}),
    (plain("sqs:SendMessage", KNOWN["WordsQueue.Arn"]), {"announce", "upkeep"}),
    (
        plain("sqs:SendMessage", KNOWN["FailedEvents.Arn"]),
        {"ingest", "announce", "upkeep", "sync"},
    ),
    (plain("sqs:ReceiveMessage", KNOWN["LinesQueue.Arn"]), {"compact"}),
    (plain("sqs:DeleteMessage", KNOWN["WordsQueue.Arn"]), {"compact"}),
    (plain("sqs:ChangeMessageVisibility", KNOWN["WordsQueue.Arn"]), {"compact"}),
    (plain("sqs:PurgeQueue", KNOWN["LinesQueue.Arn"]), set()),
    (plain("elasticfilesystem:ClientMount", MOUNT, OWN_POINT), {"sync"}),
    (plain("elasticfilesystem:ClientWrite", MOUNT, OWN_POINT), {"sync"}),
    (plain("elasticfilesystem:ClientWrite", MOUNT), set()),
    (plain("elasticfilesystem:ClientRootAccess", MOUNT, OWN_POINT), set()),
    (plain("ec2:CreateNetworkInterface", "*"), {"sync"}),
    (plain("ec2:RunInstances", "*"), set()),
    (plain("xray:PutTraceSegments", "*"), set(ROLES)),
    (plain("logs:PutLogEvents", f"{LOGS}on-schedule:log-stream:x"), {"upkeep"}),
    (plain("logs:PutLogEvents", f"{LOGS}on-runs-waiting:log-stream:x"), {"compact"}),
    (plain("logs:CreateLogGroup", f"{LOGS}on-schedule"), set()),
    (plain("iam:PassRole", "arn:aws:iam::123456789012:role/x"), set()),
    (plain("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:123456789012:function:x"), set()),
]


@pytest.mark.parametrize(
    ("request_", "who"),
    [pytest.param(*row, id=f"{n}-{row[0].action}") for n, row in enumerate(MAY)],
)
def test_each_role_may_what_it_needs_and_nothing_else(request_: Request, who: set[str]) -> None:
    """Every row names all roles that may; the others may not."""
    assert {role for role in ROLES if ask(role, request_) is YES} == who


def test_missing_objects_can_be_told_from_forbidden_ones() -> None:
    """A request for one object has no prefix, and only a listing's prefix can be checked."""
    for role in set(ROLES) - {"announce"}:
        assert ask(role, plain("s3:ListBucket", BUCKET, {"aws:SecureTransport": "true"})) is YES
        for prefix, verdict in {"vault/lines/delta/": YES, "inbox/": YES, "other/": NO}.items():
            context = {"aws:SecureTransport": "true", "s3:prefix": prefix}
            assert ask(role, plain("s3:ListBucket", BUCKET, context)) is verdict


@dataclass
class AskedStore:
    """A store that notes each request as S3 would see it."""

    inner: ObjectStore
    asked: list[Request]

    @property
    def url(self) -> str:
        """Say where the objects are."""
        return self.inner.url

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Note a put if nothing is there."""
        self.asked.append(put(key))
        self.inner.create(key, body)

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Note a put if the tag is the same."""
        self.asked.append(put(key, REPLACING))
        self.inner.replace(key, body, etag=etag)

    def get(self, key: str) -> StoredObject:
        """Note a read."""
        self.asked.append(s3("GetObject", key))
        return self.inner.get(key)

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Note a read."""
        self.asked.append(s3("GetObject", key))
        return self.inner.get_range(key, start=start, length=length)

    def head(self, key: str) -> ObjectInfo | None:
        """Note a head, for which S3 asks the same."""
        self.asked.append(s3("GetObject", key))
        return self.inner.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Note a listing."""
        context = {"aws:SecureTransport": "true", "s3:prefix": f"vault/{prefix}"}
        self.asked.append(Request("s3:ListBucket", BUCKET, context))
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        """Note a removal."""
        self.asked.append(s3("DeleteObject", key))
        self.inner.delete(key)


class Asking(Protocol):
    """Any method of boto3's client."""

    def __call__(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
        """Ask."""
        ...


class AskedClient:
    """A client that notes each request as IAM would see it; transactions by what they do."""

    def __init__(self, inner: Any, asked: list[Request]) -> None:  # noqa: ANN401
        self._inner = inner
        self._asked = asked

    def __getattr__(self, name: str) -> Asking:
        """Give a method of the inner client that notes what it is asked."""
        ask_inner: Asking = getattr(self._inner, name)

        def noting(**asked: Any) -> dict[str, Any]:  # noqa: ANN401
            self._asked += [item(verb, partition) for verb, partition in _verbs(name, asked)]
            return ask_inner(**asked)

        return noting if name != "close" else ask_inner


_VERBS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}


def _verbs(name: str, asked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    match name:
        case "get_item" | "update_item":
            yield ("GetItem" if name == "get_item" else "UpdateItem"), asked["Key"]["PK"]
        case "query":
            yield "Query", asked["ExpressionAttributeValues"][":pk"]
        case "batch_get_item":
            for wanted in asked["RequestItems"].values():
                yield from (("BatchGetItem", key["PK"]) for key in wanted["Keys"])
        case "transact_write_items":
            for write in asked["TransactItems"]:
                ((verb, what),) = write.items()
                yield (
                    _VERBS.get(verb, "ConditionCheckItem"),
                    (what.get("Item") or what["Key"])["PK"],
                )


@pytest.mark.slow
def test_roles_may_what_their_verbs_ask(
    tmp_path: Path,
    dynamodb_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every request of a whole story, to the bucket and to the table, is allowed to whose it is."""
    asked: list[Request] = []
    connect = dynamodb_table.connect
    monkeypatch.setattr(dynamodb_table, "connect", lambda p: AskedClient(connect(p), asked))
    store = AskedStore(ObstoreObjectStore("memory://"), asked)
    settings = Settings("memory://", dynamodb_url, tmp_path / "cache")
    attributes = {"image_id": "2f6b1c5e-8f0f-4d6a-9a51-0b6a4f2f5b1e", "receipt_id": "1"}

    def story(who: str, deed: Callable[[], object]) -> None:
        deed()
        told = {(each.action, each.resource) for each in asked if ask(who, each) is not YES}
        assert (who, told) == (who, set())
        assert asked, who
        asked.clear()

    with open_vault(settings, store=store) as vault:
        # Opening made the vault, and tried the store: these requests count as well.
        assert put(keys.VAULT) in asked
        story("ingest", lambda: [*_write(vault, attributes, first=0)])
        story("compact", vault.compact)
        story("compact", lambda: [*_write(vault, attributes, first=2)])
        story("compact", vault.compact)
        story("upkeep", vault.rebuild_ledger)
        story("upkeep", lambda: vault.verify(NAME, level="deep"))
        story("upkeep", lambda: vault.gc(NAME, Policy(keep_last=1)))
        story("sync", lambda: vault.pull(NAME, tmp_path / "copy"))


def _write(vault: Any, attributes: Mapping[str, str], *, first: int) -> Iterator[object]:  # noqa: ANN401
    names: Sequence[str] = (NAME, "words")
    for number in (first, first + 1):
        changes = {name: upserts(record(f"r{number}", number)) for name in names}
        run = f"5d0f9c52-1f3b-4c7e-8a44-1c7f3a9be50{number}"
        yield vault.write(changes, run_id=run, attributes=attributes)
