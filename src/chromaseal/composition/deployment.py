"""The template, the code's package and the deployed stack, put together for the commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chromaseal import keys
from chromaseal.adapters.cloudformation import template_file
from chromaseal.adapters.cloudformation.linter import lint
from chromaseal.adapters.packaging.installed import files_of, needed
from chromaseal.composition.engine import open_store
from chromaseal.deployment import needs
from chromaseal.deployment.code_package import check_size, in_order, pack
from chromaseal.deployment.template import Place, parameters_of, resources
from chromaseal.errors import ChromasealError, NotFound, UsageError
from chromaseal.ids import Ids, SystemIds
from chromaseal.probe import refuse_unconditional
from chromaseal.verification.remark import Remark, well, wrong

if TYPE_CHECKING:
    from chromaseal.adapters.cloudformation.deployed import Deployed

_LARGEST = 5
_FUNCTIONS = {
    "OnReceiptUploaded": "on-receipt-uploaded",
    "OnRunChanged": "on-run-changed",
    "OnRunsWaiting": "on-runs-waiting",
    "OnSchedule": "on-schedule",
    "OnVersionPublished": "on-version-published",
}
_QUEUES = {"lines": ("LinesQueue", "LinesDeadLetters"), "words": ("WordsQueue", "WordsDeadLetters")}
_COMPACTOR = "OnRunsWaiting"


@dataclass(frozen=True, slots=True)
class Package:
    """What was packed.

    Attributes:
        path: the zip.
        zip_bytes: its size.
        unzipped_bytes: of all files in it.
        files: how many.
        releases: of every package in it, by name.
    """

    path: Path
    zip_bytes: int
    unzipped_bytes: int
    files: int
    releases: dict[str, str]


def render(values: Mapping[str, str]) -> str:
    """Give the template with values for parameters as their defaults, without its remarks.

    Raises:
        UsageError: ``unknown-parameter`` or ``bad-parameter``.
    """
    text = template_file.text()
    parameters_of(template_file.parse(text), values)
    return template_file.compact(template_file.with_defaults(text, values))


def bucket_policy(values: Mapping[str, str]) -> dict[str, Any]:
    """Give the bucket's policy alone, for a bucket that the template does not make.

    Raises:
        UsageError: as ``render``; ``missing-parameter`` without a bucket's name.
    """
    if "BucketName" not in values:
        raise UsageError(
            "a bucket's policy names the bucket",
            kind="missing-parameter",
            hint="--set BucketName=NAME",
        )
    asked = _asked({**values, "MakeBucket": "yes"}, Place())
    policy: dict[str, Any] = asked["BucketPolicy"]["Properties"]["PolicyDocument"]
    return policy


def package(target: Path, extras: Collection[str], *, any_size: bool) -> Package:
    """Pack chromaseal and what it needs, as installed here, for the functions.

    Args:
        target: the zip.
        extras: of chromaseal, besides ``aws``.
        any_size: whether to make what Lambda would refuse.

    Raises:
        Unsupported: ``missing-package`` or ``package-too-large``.
    """
    packages = needed({"aws", *extras})
    sizes = {n: sum(f.size_bytes for f in files_of(each)) for n, each in packages.items()}
    files = in_order(each for found in packages.values() for each in files_of(found))
    unzipped_bytes = sum(each.size_bytes for each in files)
    if not any_size:
        check_size(unzipped_bytes, sorted(sizes, key=lambda n: -sizes[n])[:_LARGEST])
    pack(files, target)
    releases = {name: each.version for name, each in packages.items()}
    return Package(target, target.stat().st_size, unzipped_bytes, len(files), releases)


def check(
    stack: str,
    *,
    region: str = "",
    endpoint: str = "",
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Iterator[Remark]:
    """Look at the template, and at what is deployed of it; one object is tried on and removed.

    Args:
        stack: its name.
        region: where; empty for what the environment says.
        endpoint: of an emulator; empty for AWS.
        progress: called with each step, and how far it is.

    Raises:
        UsageError: ``missing-extra``.
    """
    yield _linted()
    try:
        from chromaseal.adapters.cloudformation.deployed import Deployed  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed, and AWS cannot be asked without it",
            kind="missing-extra",
            hint="pip install 'chromaseal[aws]'",
        ) from error
    deployed = Deployed(stack, region=region, endpoint=endpoint)
    steps = _Look(deployed, stack, endpoint, SystemIds()).steps()
    for number, (name, look) in enumerate(steps.items()):
        progress(name, number, len(steps))
        try:
            yield from look()
        except ChromasealError as error:
            yield wrong(name, "readable", error.message, error.hint)
            if name in {"credentials", "stack"}:
                return


def _linted() -> Remark:
    said = lint(template_file.text())
    if said is None:
        return well("template", "lint", "cfn-lint is not installed, so nobody looked")
    told = "; ".join(said) or "cfn-lint has nothing to say"
    return Remark("template", "lint", not said, told, "" if not said else "report it")


def _asked(values: Mapping[str, str], place: Place) -> dict[str, Any]:
    parsed = template_file.parse(template_file.text())
    return resources(parsed, parameters_of(parsed, values), place)


class _Look:
    """One look at a stack, step by step; the later ones know what the earlier ones found."""

    def __init__(self, deployed: Deployed, stack: str, endpoint: str, ids: Ids) -> None:
        self._deployed = deployed
        self._stack = stack
        self._endpoint = endpoint
        self._ids = ids
        self._account = ""
        self._names: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._vault = ""
        self._wanted: dict[str, Any] = {}

    def steps(self) -> dict[str, Callable[[], Iterator[Remark]]]:
        """Give what is looked at, by name and in order."""
        return {
            "credentials": self._credentials,
            "stack": self._whole,
            "bucket": self._bucket,
            "writes": self._writes,
            "table": self._table,
            "queues": self._queues,
            "functions": self._functions,
        }

    def _credentials(self) -> Iterator[Remark]:
        self._account = self._deployed.account()
        yield well("credentials", "usable", f"account {self._account}, {self._deployed.region}")

    def _whole(self) -> Iterator[Remark]:
        status, self._values, outputs = self._deployed.stack()
        self._names, unfinished = self._deployed.resources()
        self._vault = outputs.get("Vault", "")
        yield needs.stack_remark(self._stack, status, unfinished)
        if not self._vault:
            raise NotFound(
                f"the stack {self._stack} is none of chromaseal's: it has no output Vault",
                kind="no-stack",
                hint="name another stack",
            )
        place = Place(self._stack, self._deployed.region, self._account)
        self._wanted = _asked({**self._values, "MakeBucket": "yes"}, place)

    def _bucket(self) -> Iterator[Remark]:
        found = self._deployed.bucket(self._values["BucketName"])
        calls = {logical: self._names.get(logical, logical) for logical in _FUNCTIONS}
        yield from needs.bucket_remarks(found, self._wanted, calls)

    def _writes(self) -> Iterator[Remark]:
        if self._endpoint:
            os.environ.setdefault("AWS_ENDPOINT", self._endpoint)
        if self._deployed.region:
            os.environ.setdefault("AWS_REGION", self._deployed.region)
        if "AWS_ACCESS_KEY_ID" not in os.environ:
            os.environ.update(self._deployed.credentials())
        refuse_unconditional(open_store(self._vault, self._ids), self._ids)
        yield well("bucket", "conditions", "conditional writes are kept")
        place = f"{self._values['VaultPrefix']}/{keys.probe(self._ids.unique())}"
        refused = self._deployed.refuses_plain_put(self._values["BucketName"], place)
        if refused:
            yield well("bucket", "unconditional writes", "are refused")
        else:
            yield wrong(
                "bucket",
                "unconditional writes",
                "one was taken: the bucket's policy is not in force, as in an emulator",
                "add what chromaseal aws render --bucket-policy shows to the bucket's policy",
            )

    def _table(self) -> Iterator[Remark]:
        yield from needs.table_remarks(self._deployed.table(self._values["TableName"]))

    def _queues(self) -> Iterator[Remark]:
        gathered_s = int(self._values["QueueWindowS"])
        longest_s = int(self._wanted[_COMPACTOR]["Properties"]["Timeout"]) + gathered_s
        for name, (logical, dead_logical) in _QUEUES.items():
            found = self._deployed.queue(self._names[logical])
            dead = self._deployed.queue(self._names[dead_logical])
            yield from needs.queue_remarks(name, found, longest_s, dead.waiting)
        failed = self._deployed.queue(self._names["FailedEvents"])
        yield needs.tried_in_vain("functions", "failed events", failed.waiting)

    def _functions(self) -> Iterator[Remark]:
        for logical, dashed in _FUNCTIONS.items():
            if logical in self._names:
                state, sources = self._deployed.function(self._names[logical])
                yield needs.function_remark(dashed, state, sources)
