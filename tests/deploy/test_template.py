"""The template, as CloudFormation's linter and this project's own rules see it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chromaseal import keys
from chromaseal.adapters.cloudformation import template_file
from chromaseal.adapters.dynamodb import items
from chromaseal.composition.receipts import _PAGE_LIMITS
from chromaseal.deployment.template import Place, parameters_of, resources
from chromaseal.errors import UsageError
from chromaseal.run.model import Run, RunPart, RunState
from chromaseal.testing.policies import as_list, statements

ROOT = Path(__file__).parents[2]
TEMPLATE = template_file.parse(template_file.text())
NAMED = {"BucketName": "receipts", "CodeBucket": "code", "CodeKey": "functions.zip"}
IMAGE = "0f5e8d5c-0c4f-4f0e-9d7d-0a7d3f0f6c11"
WITH_MOUNT = {"MountVpcId": "vpc-1", "MountSubnetA": "subnet-a", "MountSubnetB": "subnet-b"}
FUNCTIONS = {
    *("OnReceiptUploaded", "OnRunChanged", "OnRunsWaiting"),
    *("OnSchedule", "OnVersionPublished"),
}


def made(**given: str) -> dict[str, Any]:
    """Give the resources that some values make."""
    return resources(TEMPLATE, parameters_of(TEMPLATE, {**NAMED, **given}), Place())


def of_type(kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Give the properties of the resources of one type."""
    return {n: each["Properties"] for n, each in found.items() if each["Type"] == kind}


def policies(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str], Mapping[str, Any]]]:
    """Give every statement of every policy, with its resource's name and reasons."""
    for name, each in found.items():
        properties = each["Properties"]
        documents = [properties[key] for key in ("PolicyDocument",) if key in properties]
        documents += [own["PolicyDocument"] for own in properties.get("Policies", [])]
        for document in documents:
            for statement in statements(document):
                yield name, each.get("Metadata", {}).get("Wildcards", {}), statement


@pytest.mark.slow
def test_the_linter_has_nothing_to_say() -> None:
    """cfn-lint knows the properties, values and conditions of every resource."""
    from cfnlint.api import lint  # noqa: PLC0415 - it takes a second to import

    assert [str(each) for each in lint(template_file.text())] == []


def test_it_is_where_those_who_deploy_look() -> None:
    """The commands work with the file that people read."""
    assert template_file.text() == (ROOT / "deploy/template.yaml").read_text()


def test_no_wildcard_without_a_reason() -> None:
    """A statement with a wildcard says why, and no reason is left of one that had."""
    reasons: dict[str, set[str]] = {}
    used: dict[str, set[str]] = {}
    for name, why, statement in policies(made(**WITH_MOUNT, LegacyBucketName="old-receipts")):
        reasons[name] = {sid for sid, text in why.items() if len(text) > 20}
        plain = [*as_list(statement["Action"]), *as_list(statement["Resource"])]
        if "Principal" in statement:
            plain += as_list(statement["Principal"])
        if "Condition" in statement:
            plain += [v for each in statement["Condition"].values() for v in each.values()]
        if "*" in str(plain):
            used.setdefault(name, set()).add(statement["Sid"])
    assert used == {name: sids for name, sids in reasons.items() if sids}


def test_no_role_may_do_everything_anywhere() -> None:
    """What a role may do is named, action by action; only what knows no resources has none."""
    everywhere = set()
    for name, _, statement in policies(made(**WITH_MOUNT)):
        if statement["Effect"] == "Deny":
            continue
        actions = as_list(statement["Action"])
        assert not [each for each in actions if "*" in each], name
        if "*" in as_list(statement["Resource"]):
            everywhere |= {each.partition(":")[0] for each in actions}
    assert everywhere == {"ec2", "xray"}


def test_each_function_has_a_role_a_log_and_an_alarm_of_its_own() -> None:
    """One cannot do what another may, and each one's failing is told."""
    found = made(**WITH_MOUNT)
    functions = of_type("AWS::Lambda::Function", found)
    assert functions.keys() == FUNCTIONS
    assert len({str(each["Role"]) for each in functions.values()}) == len(FUNCTIONS)
    logs = {each["LogGroupName"]: each for each in of_type("AWS::Logs::LogGroup", found).values()}
    for each in functions.values():
        assert logs[f"/aws/lambda/{each['FunctionName']}"]["RetentionInDays"] == "30"
    alarms = of_type("AWS::CloudWatch::Alarm", found).values()
    watched = {a["Dimensions"][0]["Value"] for a in alarms if a["MetricName"] == "Errors"}
    assert watched == {f"<{name}>" for name in FUNCTIONS}


def test_what_is_tried_in_vain_is_kept_and_told() -> None:
    """Whatever a function gives up is in a queue for two weeks, and somebody is told."""
    found = made(**WITH_MOUNT)
    queues = of_type("AWS::SQS::Queue", found)
    assert {name for name, each in queues.items() if "RedrivePolicy" in each} == {
        *("LinesQueue", "WordsQueue")
    }
    alarms = of_type("AWS::CloudWatch::Alarm", found).values()
    watched = {str(each["Dimensions"][0]["Value"]) for each in alarms}
    for name in ("LinesDeadLetters", "WordsDeadLetters", "FailedEvents"):
        assert queues[name]["MessageRetentionPeriod"] == 14 * 86_400
        assert f"<{name}.QueueName>" in watched
    given_up = of_type("AWS::Lambda::EventInvokeConfig", found).values()
    destinations = [each["DestinationConfig"]["OnFailure"]["Destination"] for each in given_up]
    stream = found["OnRunChangedSource"]["Properties"]
    destinations.append(stream["DestinationConfig"]["OnFailure"]["Destination"])
    assert destinations == ["<FailedEvents.Arn>"] * 4


def test_a_change_is_told_until_the_stream_forgets_it() -> None:
    """Given up earlier, it would leave its number alone; and somebody hears of it in time."""
    found = made()
    stream = found["OnRunChangedSource"]["Properties"]
    assert (stream["MaximumRetryAttempts"], stream["MaximumRecordAgeInSeconds"]) == (-1, -1)
    assert stream["BisectBatchOnFunctionError"]
    assert stream["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    alarms = of_type("AWS::CloudWatch::Alarm", found)
    late = alarms["StreamLateAlarm"]
    assert late["MetricName"] == "IteratorAge"
    assert late["Threshold"] / 1000 + late["Period"] * late["EvaluationPeriods"] < 6 * 3600
    assert alarms["SetAsideAlarm"]["Dimensions"] == counted_by(found, "OnRunChanged")


def counted_by(found: dict[str, Any], function: str) -> list[dict[str, str]]:
    """Give the dimensions of what a function counts."""
    variables = found[function]["Properties"]["Environment"]["Variables"]
    return [{"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}]


def test_a_damaged_version_rings_by_that_name() -> None:
    """And one that could not be verified does not: that is its function's failure."""
    found = made()
    alarm = of_type("AWS::CloudWatch::Alarm", found)["DamagedAlarm"]
    assert (alarm["MetricName"], alarm["Threshold"]) == ("VersionsDamaged", 1)
    assert alarm["Dimensions"] == counted_by(found, "OnSchedule")


def test_the_stream_calls_for_what_concerns_a_vault_and_for_nothing_else() -> None:
    """Runs, of receipts or not, and items of receipts; what only finds runs calls for nothing."""
    filters = made()["OnRunChangedSource"]["Properties"]["FilterCriteria"]["Filters"]
    patterns = [json.loads(each["Pattern"]) for each in filters]
    starts = [p["dynamodb"]["Keys"]["PK"]["S"][0]["prefix"] for p in patterns]
    receipt = {"image_id": IMAGE, "receipt_id": "1"}
    part = RunPart(RunState.PENDING, "lines/delta/a/delta.parquet", 1, 1)
    parts = {"lines": part, "words": part}
    runs = [Run(IMAGE, "2026-01-01T00:00:00Z", parts, each) for each in ({}, receipt)]
    told = {str(items.run_item(run, "w")["PK"]) for run in runs}
    assert told == {f"IMAGE#{IMAGE}", f"CHROMASEAL#RUN#{IMAGE}"}
    assert {start for start in starts for key in told if key.startswith(start)} == set(starts)
    assert all(key.startswith(tuple(starts)) for key in told)
    keys_beside = [items.LEDGER, items.name_key(IMAGE), items.lease_key("lines")]
    beside = [each["PK"] for each in (*keys_beside, items.count_key("lines", 1))]
    beside += [items.list_key("lines", items.WAITING), items.attribute_key("image_id", IMAGE)]
    assert not [key for key in beside if key.startswith(tuple(starts))]


def test_what_is_kept_is_encrypted_and_nobody_elses() -> None:
    """Objects, items, messages, mount; what is replaced stays for a while, and what is current."""
    found = made(**WITH_MOUNT)
    bucket, table = found["Bucket"]["Properties"], found["Table"]["Properties"]
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert not [key for each in rules for key in each if key.startswith(("Expiration", "Transi"))]
    assert table["SSESpecification"]["SSEEnabled"]
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
    assert all(each["SqsManagedSseEnabled"] for each in of_type("AWS::SQS::Queue", found).values())
    assert found["MountFiles"]["Properties"]["Encrypted"]
    # What a first deployment that failed leaves behind would make the second one fail.
    kept = {
        name: each["DeletionPolicy"] for name, each in found.items() if "DeletionPolicy" in each
    }
    assert kept == dict.fromkeys(["Bucket", "BucketPolicy", "Table"], "RetainExceptOnCreate")
    assert {found[name]["UpdateReplacePolicy"] for name in kept} == {"Retain"}


def test_a_mount_is_open_to_its_clients_only() -> None:
    """By the network, by an access point, and as a user who is not root."""
    found = made(**WITH_MOUNT)
    (door,) = found["MountServers"]["Properties"]["SecurityGroupIngress"]
    assert door["SourceSecurityGroupId"] == "<MountClients.GroupId>"
    assert not {"CidrIp", "CidrIpv6"} & door.keys()
    user = found["MountAccessPoint"]["Properties"]["PosixUser"]
    assert user == {"Uid": "1000", "Gid": "1000"}
    (use,) = [each for _, _, each in policies(found) if each.get("Sid") == "UseMount"]
    point = use["Condition"]["StringEquals"]["elasticfilesystem:AccessPointArn"]
    assert point == "<MountAccessPoint.Arn>"


def test_functions_are_called_by_what_is_ours() -> None:
    """Buckets have names that others may take once they are free; an account's id stays."""
    permissions = of_type("AWS::Lambda::Permission", made(**WITH_MOUNT))
    assert len(permissions) == 3
    for each in permissions.values():
        assert each["SourceArn"]
        assert each["Principal"] == "events.amazonaws.com" or each["SourceAccount"]


def test_every_alarm_tells_somebody_and_every_function_is_traced() -> None:
    """Where a topic is named; what is not counted is no alarm."""
    found = made(**WITH_MOUNT, AlarmTopicArn="arn:aws:sns:us-east-1:123456789012:on-call")
    for name, each in of_type("AWS::CloudWatch::Alarm", found).items():
        assert each["AlarmActions"] == ["arn:aws:sns:us-east-1:123456789012:on-call"], name
        assert each["TreatMissingData"] == "notBreaching", name
    for each in of_type("AWS::Lambda::Function", found).values():
        assert each["TracingConfig"] == {"Mode": "Active"}


def test_nothing_that_happens_is_passed_by() -> None:
    """The table's stream from its beginning, with what was there before; answers by message."""
    found = made()
    assert found["Table"]["Properties"]["StreamSpecification"] == {
        "StreamViewType": "NEW_AND_OLD_IMAGES"
    }
    sources = of_type("AWS::Lambda::EventSourceMapping", found)
    assert sources["OnRunChangedSource"]["StartingPosition"] == "TRIM_HORIZON"
    assert len(sources) == 3
    for each in sources.values():
        assert each["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_a_message_is_not_given_to_a_second_compactor_while_the_first_runs() -> None:
    """Visible again only after the longest time for which they gather and a function may take."""
    longest_s = TEMPLATE["Parameters"]["QueueWindowS"]["MaxValue"]
    found = made(QueueWindowS=str(longest_s))
    longest_s += found["OnRunsWaiting"]["Properties"]["Timeout"]
    for name in ("Lines", "Words"):
        source = found[f"On{name}WaitingSource"]["Properties"]
        assert source["MaximumBatchingWindowInSeconds"] == "300"
        assert found[f"{name}Queue"]["Properties"]["VisibilityTimeout"] > longest_s


def test_a_message_is_tried_for_as_long_as_it_is_kept() -> None:
    """Or it would be forgotten before it is a dead letter that somebody is told of."""
    most = TEMPLATE["Parameters"]["MostReceives"]["MaxValue"]
    for name in ("LinesQueue", "WordsQueue"):
        queue = made()[name]["Properties"]
        assert most * queue["VisibilityTimeout"] < queue["MessageRetentionPeriod"]


def test_whoever_opens_a_version_has_the_disk_for_it() -> None:
    """Merchants are looked up in a private copy of the newest version, so uploads need it too."""
    found = made(**WITH_MOUNT, DiskMb="5000")
    sizes = {name: found[name]["Properties"]["EphemeralStorage"]["Size"] for name in FUNCTIONS}
    assert {name for name, size in sizes.items() if size == "5000"} == FUNCTIONS - {"OnRunChanged"}


def test_versions_are_kept_for_as_long_as_was_said() -> None:
    """For ever by default."""
    for given in ({}, {"KeepDays": "90"}):
        function = made(**given)["OnSchedule"]["Properties"]
        days = function["Environment"]["Variables"]["CHROMASEAL_KEEP_DAYS"]
        assert days == given.get("KeepDays", "")
    with pytest.raises(UsageError):
        made(KeepDays="a month")


def test_a_page_that_hangs_is_refused_before_the_function_is_stopped() -> None:
    """Or it would be tried in vain, and never be put away."""
    assert made()["OnReceiptUploaded"]["Properties"]["Timeout"] > _PAGE_LIMITS.timeout_s


def test_what_fails_for_ever_is_late_before_the_queue_counts_its_age_anew() -> None:
    """SQS leaves a message out of the age of the oldest once it was received three times."""
    found = made()
    for name in ("Lines", "Words"):
        alarm = found[f"{name}LateAlarm"]["Properties"]
        rings_s = alarm["Threshold"] + alarm["Period"] * alarm["EvaluationPeriods"]
        assert rings_s < 2 * found[f"{name}Queue"]["Properties"]["VisibilityTimeout"]


def test_the_dashboard_shows_what_is_counted() -> None:
    """A name that no handler counts under would be an empty graph for ever."""
    body = made()["Dashboard"]["Properties"]["DashboardBody"]
    shown = set(re.findall(r'MetricName=\\"(\w+)', body))
    handlers = (ROOT / "src/chromaseal/entrypoints/functions").glob("*.py")
    counted = "".join(each.read_text() for each in handlers)
    assert shown
    assert {name for name in shown if f'"{name}"' not in counted} == set()


def test_notifications_and_the_vault_do_not_meet() -> None:
    """Uploads call one function, pointers another, and nothing else of the bucket any."""
    configurations = made(**WITH_MOUNT)["Bucket"]["Properties"]["NotificationConfiguration"]
    uploads, pointers = configurations["LambdaConfigurations"]
    (prefix,) = uploads["Filter"]["S3Key"]["Rules"]
    assert prefix == {"Name": "prefix", "Value": "inbox/"}
    vault, pointer = (each["Value"] for each in pointers["Filter"]["S3Key"]["Rules"])
    assert f"vault/{keys.pointer('lines')}".startswith(vault)
    assert keys.pointer("lines").endswith(pointer)
    for name in ("inbox", "inbox/vault"):
        with pytest.raises(UsageError):
            made(VaultPrefix=name)


def test_without_a_mount_nothing_of_it_is_made() -> None:
    """No VPC, no file system and no function that needs one."""
    without, whole = made(), made(**WITH_MOUNT)
    missing = {whole[name]["Type"] for name in whole.keys() - without.keys()}
    assert {"AWS::EFS::FileSystem", "AWS::EFS::MountTarget", "AWS::EC2::SecurityGroup"} <= missing
    assert "OnVersionPublished" not in without
    assert "VPCEndpoint" not in str(sorted(missing))
    assert "MountWayToS3" in made(**WITH_MOUNT, MountRouteTableIds="rtb-1")


def test_a_bucket_and_a_table_that_are_there_stay_as_they_are() -> None:
    """Nothing of them is made or changed; the functions are told of them all the same."""
    stream = "arn:aws:dynamodb:us-east-1:123456789012:table/old/stream/2026"
    found = made(MakeBucket="no", MakeTable="no", TableName="old", TableStreamArn=stream)
    assert not {"Bucket", "BucketPolicy", "Table"} & found.keys()
    assert found["OnRunChangedSource"]["Properties"]["EventSourceArn"] == stream
    variables = found["OnRunsWaiting"]["Properties"]["Environment"]["Variables"]
    assert variables["CHROMASEAL_VAULT"] == "s3://receipts/vault"
    assert variables["CHROMASEAL_LEDGER"] == "dynamodb://old?region=us-east-1"


def test_an_image_has_a_command_where_a_zip_has_a_handler() -> None:
    """Lambda refuses the one with the other."""
    zipped = made()["OnSchedule"]["Properties"]
    image = made(ImageUri="123.dkr.ecr/x:1")["OnSchedule"]["Properties"]
    handler = "chromaseal.entrypoints.functions.on_schedule.handler"
    assert (zipped["PackageType"], zipped["Handler"]) == ("Zip", handler)
    assert zipped["Runtime"] == "python3.11"
    assert (image["PackageType"], image["ImageConfig"]) == ("Image", {"Command": [handler]})
    assert not {"Handler", "Runtime"} & image.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BucketName", "Has_Capitals"),
        ("DiskMb", "512"),
        ("DiskMb", "much"),
        ("MakeTable", "maybe"),
        ("BucketNam", "receipts"),
        ("VaultPrefix", "a//b"),
        ("VaultPrefix", "a/../b"),
        ("LegacyBucketName", "s3://old-receipts"),
        ("UpkeepSchedule", "every hour"),
        ("AlarmTopicArn", "on-call"),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, value: str) -> None:
    """Before anything is deployed, with the parameter's name."""
    with pytest.raises(UsageError, match=name):
        made(**{name: value})


def test_filled_in_defaults_are_what_was_given() -> None:
    """Every parameter can be filled in, and all else stays."""
    values = {name: f'v "{name}"' for name in TEMPLATE["Parameters"]}
    filled = template_file.parse(template_file.with_defaults(template_file.text(), values))
    assert {name: each["Default"] for name, each in filled["Parameters"].items()} == values
    assert {k: v for k, v in filled.items() if k != "Parameters"} == {
        k: v for k, v in TEMPLATE.items() if k != "Parameters"
    }


def test_it_can_be_sent_whole() -> None:
    """CloudFormation takes no more in a request; else everybody needs one bucket more."""
    assert len(template_file.text().encode()) <= 51_200
