"""What is deployed, beside what the template asks for -> remarks, each with what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chromaseal.verification.remark import Remark

_AGAIN = "deploy the template again"
_COMPLETE = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}
_KEYS = (("PK", "HASH"), ("SK", "RANGE"))
_VIEW = "NEW_AND_OLD_IMAGES"
_PROPERTIES = "Properties"


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a bucket is like.

    Attributes:
        versioning: ``Enabled`` or anything else.
        encrypted: whether objects are, by default.
        statements: of its policy, by Sid.
        calls: the functions that it calls, each with a prefix and a suffix.
    """

    versioning: str
    encrypted: bool
    statements: Mapping[str, Any]
    calls: frozenset[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """What a table is like.

    Attributes:
        keys: names and kinds of its key attributes.
        view: what its stream tells; empty without one.
    """

    keys: tuple[tuple[str, str], ...]
    view: str


@dataclass(frozen=True, slots=True)
class Queue:
    """What a queue is like.

    Attributes:
        visibility_s: how long a message that was taken is hidden.
        dead_letters: whether what is tried in vain goes to another queue.
        waiting: messages in it.
    """

    visibility_s: int
    dead_letters: bool
    waiting: int


def stack_remark(name: str, status: str, unfinished: Sequence[str]) -> Remark:
    """Say whether a stack is whole.

    Args:
        name: of the stack.
        status: as CloudFormation calls it.
        unfinished: its resources that are not complete.
    """
    done = status in _COMPLETE and not unfinished
    told = f"{name} is {status}" + (f": {', '.join(unfinished)}" if unfinished else "")
    return Remark("stack", "complete", done, told, "" if done else _AGAIN)


def bucket_remarks(
    found: Bucket, asked: Mapping[str, Any], calls: Mapping[str, str]
) -> list[Remark]:
    """Say what a bucket lacks.

    Args:
        found: what it is like.
        asked: the bucket and its policy as the template has them, even where it did not make them.
        calls: the names of functions, by their logical names.
    """
    remarks = [
        _said("bucket", "versioned", found.versioning == "Enabled", found.versioning or "no"),
        _said("bucket", "encrypted", found.encrypted, "yes" if found.encrypted else "no"),
    ]
    wanted = asked["BucketPolicy"][_PROPERTIES]["PolicyDocument"]["Statement"]
    missing = [
        each["Sid"] for each in wanted if _meant(found.statements.get(each["Sid"])) != _meant(each)
    ]
    remarks.append(
        _said(
            "bucket",
            "policy",
            not missing,
            f"missing or changed: {', '.join(missing)}" if missing else "every refusal is there",
            "add what chromaseal aws render --bucket-policy shows to the bucket's policy",
        )
    )
    uncalled = [name for name in _wanted_calls(asked, calls) if name not in found.calls]
    told = "; ".join(f"{name} for {prefix}*{suffix}" for name, prefix, suffix in uncalled)
    remarks.append(
        _said(
            "bucket",
            "notifications",
            not uncalled,
            f"it does not call {told}" if uncalled else "it calls the functions",
            "add them to the bucket's notifications: s3:ObjectCreated:*",
        )
    )
    return remarks


def table_remarks(found: Table) -> list[Remark]:
    """Say what a table lacks."""
    keys = ", ".join(f"{name} {kind}" for name, kind in found.keys)
    view = found.view or "no stream"
    return [
        _said("table", "keys", found.keys == _KEYS, keys, "name a table with PK (HASH) and SK"),
        _said(
            "table", "stream", found.view == _VIEW, view, f"give the table a stream with {_VIEW}"
        ),
    ]


def queue_remarks(name: str, found: Queue, longest_s: int, dead: int) -> list[Remark]:
    """Say what a queue lacks, and whether messages were tried in vain.

    Args:
        name: of the collection.
        found: what its queue is like.
        longest_s: how long a compactor may take.
        dead: messages among its dead letters.
    """
    visible = found.visibility_s > longest_s and found.dead_letters
    told = f"hides messages for {found.visibility_s} s, {found.waiting} wait"
    letters = "" if found.dead_letters else "; has no dead-letter queue"
    return [
        _said(f"queue {name}", "settings", visible, told + letters),
        tried_in_vain(f"queue {name}", "dead letters", dead),
    ]


def tried_in_vain(subject: str, check: str, number: int) -> Remark:
    """Say whether something was given up after all its tries."""
    told = f"{number} were tried in vain" if number else "none"
    return _said(subject, check, number == 0, told, "see docs/aws.md, When an alarm rings")


def function_remark(name: str, state: str, sources: Mapping[str, str]) -> Remark:
    """Say whether a function can be called, and is.

    Args:
        name: of the function.
        state: as Lambda calls it.
        sources: the states of what calls it, by the source's name.
    """
    off = [source for source, each in sources.items() if each != "Enabled"]
    passed = state == "Active" and not off
    told = f"is {state}" + (f"; not called by {', '.join(off)}" if off else "")
    return _said(name, "active", passed, told)


def _said(subject: str, check: str, passed: bool, told: str, mend: str = _AGAIN) -> Remark:  # noqa: FBT001
    return Remark(subject, check, passed, told, "" if passed else mend)


def _meant(policy: Any) -> Any:  # noqa: ANN401 - as JSON has it
    """Give what a policy means: AWS may give lists back in another order, one entry as a text."""
    if isinstance(policy, Mapping):
        return {name: _meant(each) for name, each in policy.items()}
    return sorted(map(str, policy if isinstance(policy, list) else [policy]))


def _wanted_calls(
    asked: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    bucket = asked["Bucket"][_PROPERTIES]
    for each in bucket["NotificationConfiguration"]["LambdaConfigurations"]:
        rules = {rule["Name"]: rule["Value"] for rule in each["Filter"]["S3Key"]["Rules"]}
        logical = each["Function"].strip("<>").partition(".")[0]
        yield names.get(logical, logical), rules["prefix"], rules.get("suffix", "")
