"""The template in the emulator: every resource that it can read back is what was asked for."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromaseal.adapters.cloudformation import template_file
from chromaseal.adapters.cloudformation.deployed import Deployed
from chromaseal.composition.engine import open_store
from chromaseal.deployment.template import Place, parameters_of, resources
from chromaseal.ids import SystemIds
from chromaseal.probe import refuse_unconditional
from chromaseal.testing.command_line import chromaseal
from chromaseal.testing.servers import S3Server
from chromaseal.testing.stack import Stack, deployed

pytestmark = pytest.mark.slow

NAME = f"stack-{SystemIds().unique()[:12]}"
GIVEN = {"BucketName": NAME, "TableName": NAME, "CodeKey": "x", "MountVpcId": "vpc"}
ACCOUNT = "000000000000"
HANDLERS = {
    "OnReceiptUploaded": "on-receipt-uploaded",
    "OnRunChanged": "on-run-changed",
    "OnRunsWaiting": "on-runs-waiting",
    "OnSchedule": "on-schedule",
    "OnVersionPublished": "on-version-published",
}


@pytest.fixture(scope="module")
def stack(ministack_server: S3Server) -> Iterator[Stack]:
    """Give the deployed template; its functions have no code that does anything."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("empty.py", "")
    with deployed(ministack_server, NAME, packed.getvalue()) as found:
        yield found


def asked(stack: Stack) -> dict[str, Any]:
    """Give what was asked for, with the names that things have now."""
    parsed = template_file.parse(template_file.text())
    arns = {
        f"{name}.Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{url.rpartition('/')[2]}"
        for name, url in stack.resources.items()
        if "/" in url
    }
    place = Place(NAME, account=ACCOUNT, known={**stack.resources, **arns})
    return resources(parsed, parameters_of(parsed, GIVEN), place)


def test_everything_is_there(stack: Stack) -> None:
    """Each resource of the template was made, and nothing else."""
    assert stack.resources.keys() == asked(stack).keys() | {"MountWayToS3"}
    assert stack.outputs["Vault"] == f"s3://{NAME}/vault"
    assert stack.outputs["Ledger"] == f"dynamodb://{NAME}?region=us-east-1"


def test_the_bucket(stack: Stack, ministack_server: S3Server) -> None:
    """Versioned, encrypted, closed, with its policy, and it keeps the conditions of writes."""
    client = stack.client("s3")
    wanted = asked(stack)["BucketPolicy"]["Properties"]["PolicyDocument"]
    assert json.loads(client.get_bucket_policy(Bucket=NAME)["Policy"]) == wanted
    assert client.get_bucket_versioning(Bucket=NAME)["Status"] == "Enabled"
    rules = client.get_bucket_encryption(Bucket=NAME)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    closed = client.get_public_access_block(Bucket=NAME)["PublicAccessBlockConfiguration"]
    assert all(closed.values())
    calls = client.get_bucket_notification_configuration(Bucket=NAME)
    called = [
        each["LambdaFunctionArn"].rpartition(":")[2]
        for each in calls["LambdaFunctionConfigurations"]
    ]
    assert called == [f"{NAME}-on-receipt-uploaded", f"{NAME}-on-version-published"]
    refuse_unconditional(_store(ministack_server), SystemIds())


def _store(server: S3Server) -> Any:  # noqa: ANN401
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        return open_store(f"s3://{NAME}/vault", SystemIds())


def test_the_table(stack: Stack) -> None:
    """Keys, indexes and stream are those of the deployed one."""
    table = stack.client("dynamodb").describe_table(TableName=NAME)["Table"]
    wanted = asked(stack)["Table"]["Properties"]
    assert table["KeySchema"] == wanted["KeySchema"]
    indexes = {i["IndexName"]: (i["KeySchema"], i["Projection"]) for i in _indexes(table)}
    assert indexes == {i["IndexName"]: (i["KeySchema"], i["Projection"]) for i in _indexes(wanted)}
    view = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["StreamSpecification"] == view


def _indexes(table: Any) -> list[Any]:  # noqa: ANN401
    found: list[Any] = table["GlobalSecondaryIndexes"]
    return found


def test_the_queues(stack: Stack) -> None:
    """Each collection's leads to its own dead letters."""
    client = stack.client("sqs")
    for name, dead in (("LinesQueue", "lines-dead"), ("WordsQueue", "words-dead")):
        url = stack.resources[name]
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert found["VisibilityTimeout"] == "1260"
        redrive = json.loads(found["RedrivePolicy"])
        assert redrive["deadLetterTargetArn"].endswith(f":{NAME}-{dead}")
        assert int(redrive["maxReceiveCount"]) == 100


def test_the_functions(stack: Stack) -> None:
    """Each has its handler, its role, its limits and its variables."""
    client = stack.client("lambda")
    wanted = asked(stack)
    for logical, dashed in HANDLERS.items():
        found = client.get_function_configuration(FunctionName=f"{NAME}-{dashed}")
        properties = wanted[logical]["Properties"]
        for name in ("Handler", "Timeout", "Runtime", "TracingConfig"):
            assert found[name] == properties[name], (logical, name)
        assert str(found["MemorySize"]) == str(properties["MemorySize"])
        assert str(found["EphemeralStorage"]["Size"]) == str(properties["EphemeralStorage"]["Size"])
        assert found["Environment"]["Variables"] == properties["Environment"]["Variables"]
        assert found["Role"].endswith(f"/{stack.resources[f'{logical}Role']}")


def test_the_roles(stack: Stack) -> None:
    """Each has the policies that were judged."""
    client = stack.client("iam")
    wanted = asked(stack)
    for logical in HANDLERS:
        role = stack.resources[f"{logical}Role"]
        shared = client.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        properties = wanted[f"{logical}Role"]["Properties"]
        assert sorted(e["PolicyArn"] for e in shared) == sorted(properties["ManagedPolicyArns"])
        own = client.get_role_policy(RoleName=role, PolicyName="own")["PolicyDocument"]
        sids = [each["Sid"] for each in own["Statement"]]
        (policy,) = properties["Policies"]
        assert sids == [each["Sid"] for each in policy["PolicyDocument"]["Statement"]]


def test_what_calls_the_functions(stack: Stack) -> None:
    """Stream, queues and schedule; what is given up goes to one queue."""
    client = stack.client("lambda")
    mappings = client.list_event_source_mappings()["EventSourceMappings"]
    ours = {
        each["EventSourceArn"].split(":")[5].removeprefix(f"{NAME}-").partition("/")[0]: each
        for each in mappings
        if NAME in each["EventSourceArn"]
    }
    assert ours.keys() == {"table", "lines", "words"}
    failed = f":{NAME}-failed-events"
    stream = ours["table"]
    assert stream["DestinationConfig"]["OnFailure"]["Destination"].endswith(failed)
    assert (stream["MaximumRetryAttempts"], stream["BisectBatchOnFunctionError"]) == (-1, True)
    for each in ours.values():
        assert each["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert each["State"] == "Enabled"
    for dashed in ("on-receipt-uploaded", "on-schedule", "on-version-published"):
        given = client.get_function_event_invoke_config(
            FunctionName=f"{NAME}-{dashed}", Qualifier="$LATEST"
        )
        assert given["DestinationConfig"]["OnFailure"]["Destination"].endswith(failed)
    targets = stack.client("events").list_targets_by_rule(Rule=f"{NAME}-upkeep")["Targets"]
    assert {each["Arn"].rpartition(":")[2] for each in targets} == {f"{NAME}-on-schedule"}
    asked = {each["Id"]: json.loads(each["Input"]) for each in targets}
    assert asked == {name: {"work": [name]} for name in ("remind", "sweep", "verify", "gc")}


def test_logs_alarms_and_dashboard(stack: Stack) -> None:
    """Logs end, alarms watch what is there, and the dashboard can be read."""
    groups = stack.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{NAME}-")
    kept = {each["logGroupName"]: each["retentionInDays"] for each in groups["logGroups"]}
    assert kept == {f"/aws/lambda/{NAME}-{dashed}": 30 for dashed in HANDLERS.values()}
    watch = stack.client("cloudwatch")
    names = [each for logical, each in stack.resources.items() if logical.endswith("Alarm")]
    alarms = watch.describe_alarms(AlarmNames=names)["MetricAlarms"]
    assert len(alarms) == len(names) == 13
    assert {each["TreatMissingData"] for each in alarms} == {"notBreaching"}
    drawn = json.loads(watch.get_dashboard(DashboardName=NAME)["DashboardBody"])
    assert len(drawn["widgets"]) == 8
    assert f"{NAME}-words-dead" in str(drawn)


def test_the_mount(stack: Stack) -> None:
    """Encrypted, with one way in, in two zones, for those who have its clients' group."""
    client = stack.client("efs")
    files = stack.resources["MountFiles"]
    (system,) = client.describe_file_systems(FileSystemId=files)["FileSystems"]
    assert (system["Encrypted"], system["ThroughputMode"]) == (True, "elastic")
    (point,) = client.describe_access_points(FileSystemId=files)["AccessPoints"]
    assert point["PosixUser"] == {"Uid": 1000, "Gid": 1000}
    assert point["RootDirectory"]["Path"] == "/chroma"
    targets = client.describe_mount_targets(FileSystemId=files)["MountTargets"]
    assert len({each["SubnetId"] for each in targets}) == 2
    groups = stack.client("ec2").describe_security_groups(
        GroupIds=[stack.resources["MountServers"]]
    )["SecurityGroups"]
    (rule,) = groups[0]["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"]) == (2049, 2049)
    clients = [each["GroupId"] for each in rule["UserIdGroupPairs"]]
    assert clients == [stack.resources["MountClients"]]


def look(stack: Stack, server: S3Server, tmp_path: Path) -> tuple[int, dict[str, Any]]:
    """Give what ``chromaseal aws check`` says is wrong with a profile's keys, and its code."""
    profile = tmp_path / "credentials"
    keys = f"aws_access_key_id={server.access_key}\naws_secret_access_key={server.secret_key}\n"
    profile.write_text(f"[default]\n{keys}")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
        place = ("--endpoint", server.endpoint, "--region", "us-east-1", "--json")
        answer = chromaseal("aws", "check", stack.name, *place, cache=tmp_path)
    remarks = {f"{r['subject']}: {r['check']}": r for r in answer.only("remark")}
    assert len(remarks) >= 18, answer
    return answer.exit_code, {name: r for name, r in remarks.items() if not r["passed"]}


def test_check_finds_what_is_wrong(
    stack: Stack, ministack_server: S3Server, tmp_path: Path
) -> None:
    """Nothing, but that the emulator enforces no policy; then each thing that was broken."""
    policy = json.loads(stack.client("s3").get_bucket_policy(Bucket=NAME)["Policy"])
    for each in policy["Statement"]:
        # As AWS may give it back.
        for name in ("Action", "Resource"):
            each[name] = each[name][::-1] if isinstance(each[name], list) else [each[name]]
    stack.client("s3").put_bucket_policy(Bucket=NAME, Policy=json.dumps(policy))
    exit_code, wrong = look(stack, ministack_server, tmp_path)
    assert (exit_code, [*wrong]) == (6, ["bucket: unconditional writes"])
    stack.client("s3").delete_bucket_policy(Bucket=NAME)
    stack.client("s3").put_bucket_notification_configuration(
        Bucket=NAME, NotificationConfiguration={}
    )
    dead = stack.resources["WordsDeadLetters"]
    for queue in (dead, stack.resources["FailedEvents"]):
        stack.client("sqs").send_message(QueueUrl=queue, MessageBody="x")
    mapping = stack.resources["OnLinesWaitingSource"]
    stack.client("lambda").update_event_source_mapping(UUID=mapping, Enabled=False)
    _, wrong = look(stack, ministack_server, tmp_path)
    assert wrong.keys() == {
        "bucket: unconditional writes",
        "bucket: policy",
        "bucket: notifications",
        "queue words: dead letters",
        "functions: failed events",
        "on-runs-waiting: active",
    }
    assert all(each["mend"] for each in wrong.values())
    found = stack.client("s3").list_objects_v2(Bucket=NAME, Prefix="vault/_chromaseal/probe")
    assert found["KeyCount"] == 0


def test_check_says_that_there_is_no_stack(ministack_server: S3Server, tmp_path: Path) -> None:
    """And stops there."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ministack_server.environment().items():
            patch.setenv(name, value)
        place = ("--endpoint", ministack_server.endpoint, "--region", "us-east-1", "--json")
        answer = chromaseal("aws", "check", "nothing", *place, cache=tmp_path)
    (wrong,) = [each for each in answer.only("remark") if not each["passed"]]
    assert (answer.exit_code, wrong["subject"]) == (6, "stack")
    assert "no stack nothing" in wrong["evidence"]


def test_a_service_is_connected_to_once() -> None:
    """A client takes longer to make than a question takes."""
    asking = Deployed("a-stack", region="us-east-1")
    assert asking._client("sqs") is asking._client("sqs") is not asking._client("lambda")
