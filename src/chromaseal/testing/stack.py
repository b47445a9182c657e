"""The template deployed into ministack, unmodified: parameters are all that is given.

The emulator delivers every event to its function. Not covered by it:
policies are kept and not enforced; lifecycle, time to live, point-in-time recovery and the mounts
of functions are taken and forgotten; batching windows and limits of a stream's tries are kept and
not gone by. One value of the template has to be given to it once more, see ``_count_in_numbers``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from chromaseal.adapters.cloudformation import template_file
from chromaseal.clock import Clock, SystemClock
from chromaseal.testing.dynamodb import REGION
from chromaseal.testing.servers import S3Server

_TIMEOUT_S = 60
_LOOK_S = 0.1
_LIMITS = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1})


@dataclass(frozen=True, slots=True)
class Stack:
    """What was deployed.

    Attributes:
        name: of the stack.
        resources: what each is called, by its logical name.
        outputs: by name.
        client: gives boto3's client for a service.
    """

    name: str
    resources: Mapping[str, str]
    outputs: Mapping[str, str]
    client: Callable[[str], Any]


def client_of(server: S3Server, service: str) -> Any:  # noqa: ANN401 - boto3 has no types
    """Give boto3's client for a service of the emulator."""
    return boto3.client(
        service,
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=_LIMITS,
    )


@contextlib.contextmanager
def deployed(
    server: S3Server,
    name: str,
    code: bytes,
    **parameters: str,
) -> Iterator[Stack]:
    """Deploy the template with a shared mount, and remove the stack in the end.

    Args:
        server: ministack.
        name: of the stack, of its bucket, and of its table.
        code: the zip that the functions run.
        parameters: over those that are given here.

    Raises:
        RuntimeError: it could not be deployed; the message says what failed.
    """
    clock = SystemClock()
    key = f"{name}.zip"
    client_of(server, "s3").put_object(Bucket=server.bucket, Key=key, Body=code)
    given = {
        **_network(server),
        "BucketName": name,
        "TableName": name,
        "CodeBucket": server.bucket,
        "CodeKey": key,
        **parameters,
    }
    formation = client_of(server, "cloudformation")
    formation.create_stack(
        StackName=name,
        TemplateBody=template_file.text(),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    try:
        found = _finished(formation, name, clock)
        if found["StackStatus"] != "CREATE_COMPLETE":
            raise RuntimeError(f"{found['StackStatus']}: {_failures(formation, name)}")
        listed = formation.describe_stack_resources(StackName=name)["StackResources"]
        stack = Stack(
            name,
            {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed},
            {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]},
            lambda service: client_of(server, service),
        )
        _count_in_numbers(stack)
        yield stack
    finally:
        formation.delete_stack(StackName=name)
        _finished(formation, name, clock)


def waiting_messages(stack: Stack) -> dict[str, int]:
    """Give how many messages are in each of the stack's queues, those under way included."""
    client = stack.client("sqs")
    kinds = ("", "NotVisible", "Delayed")
    names = [f"ApproximateNumberOfMessages{kind}" for kind in kinds]
    found = {
        logical: client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        for logical, url in stack.resources.items()
        if url.startswith("http")
    }
    return {logical: sum(int(each[name]) for name in names) for logical, each in found.items()}


def _network(server: S3Server) -> dict[str, str]:
    network = client_of(server, "ec2")
    vpc = network.describe_vpcs()["Vpcs"][0]["VpcId"]
    ours = [{"Name": "vpc-id", "Values": [vpc]}]
    first, second, *_ = network.describe_subnets(Filters=ours)["Subnets"]
    tables = network.describe_route_tables(Filters=ours)["RouteTables"]
    return {
        "MountVpcId": vpc,
        "MountSubnetA": first["SubnetId"],
        "MountSubnetB": second["SubnetId"],
        "MountRouteTableIds": ",".join(each["RouteTableId"] for each in tables),
    }


def _finished(formation: Any, name: str, clock: Clock) -> dict[str, Any]:  # noqa: ANN401
    begun_s = clock.monotonic_s()
    while clock.monotonic_s() - begun_s < _TIMEOUT_S:
        try:
            found: dict[str, Any] = formation.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError:
            # Of what was deleted nothing can be asked by its name.
            return {"StackStatus": "DELETE_COMPLETE"}
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            return found
        clock.sleep(_LOOK_S)
    raise RuntimeError(f"the stack {name} is not finished after {_TIMEOUT_S} s")


def _count_in_numbers(stack: Stack) -> None:
    """Say again how many compactors there may be: ministack has text, and then polls no queue.

    CloudFormation's parameters are text. AWS takes the number that they mean, ministack compares
    the text with a number (``_sqs_esm_concurrency``), and its poller of queues fails at that.
    """
    client = stack.client("lambda")
    for name in ("OnLinesWaitingSource", "OnWordsWaitingSource"):
        mapping = stack.resources[name]
        kept = client.get_event_source_mapping(UUID=mapping)["ScalingConfig"]
        wanted = {"MaximumConcurrency": int(kept["MaximumConcurrency"])}
        client.update_event_source_mapping(UUID=mapping, ScalingConfig=wanted)


def _failures(formation: Any, name: str) -> str:  # noqa: ANN401
    events = formation.describe_stack_events(StackName=name)["StackEvents"]
    failed = [each for each in events if each["ResourceStatus"].endswith("_FAILED")]
    return "; ".join(f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason')}" for e in failed)
