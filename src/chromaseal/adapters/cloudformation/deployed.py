"""What is deployed, asked of AWS: each service once, with a time limit, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chromaseal.adapters.aws.answers import code_of
from chromaseal.deployment.needs import Bucket, Queue, Table
from chromaseal.errors import NotFound, Unavailable

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 20
_TRIES = 3
# What a bucket does not have is an error to S3, of a name of its own each time.
_NOTHING = ("NoSuchBucketPolicy", "ServerSideEncryptionConfigurationNot")
# What a bucket does not have is an error to S3, of a name of its own each time.
_NOTHING = ("NoSuchBucketPolicy", "ServerSideEncryptionConfigurationNot")


class Deployed:
    """One stack and what belongs to it.

    Args:
        stack: its name.
        region: where; empty for what the environment says.
        endpoint: of an emulator; empty for AWS.
    """

    def __init__(self, stack: str, *, region: str = "", endpoint: str = "") -> None:
        self._stack = stack
        self._session = boto3.session.Session(region_name=region or None)
        self._endpoint = endpoint or None
        self._limits = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"total_max_attempts": _TRIES},
        )
        # A client takes longer to make than most questions take to be answered.
        self._clients: dict[str, Any] = {}
        self.region = str(self._session.region_name or "")

    def account(self) -> str:
        """Give the account of the credentials.

        Raises:
            Unavailable: ``aws-unavailable``, by this and everything else here.
        """
        return str(self._asked("sts", "get_caller_identity")["Account"])

    def credentials(self) -> dict[str, str]:
        """Give the credentials that are used, as clients that read no profiles take them."""
        found = self._session.get_credentials()
        if found is None:
            return {}
        keys = found.get_frozen_credentials()
        named = {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_SESSION_TOKEN": keys.token,
        }
        return {name: value for name, value in named.items() if value}

    def stack(self) -> tuple[str, dict[str, str], dict[str, str]]:
        """Give the stack's status, its parameters and its outputs.

        Raises:
            NotFound: ``no-stack``.
        """
        try:
            answer = self._asked("cloudformation", "describe_stacks", StackName=self._stack)
        except Unavailable as error:
            if "does not exist" not in error.message:
                raise
            raise NotFound(
                f"there is no stack {self._stack} in {self.region}",
                kind="no-stack",
                hint="deploy it as docs/aws.md says, or name another stack or --region",
            ) from error
        (found,) = answer["Stacks"]
        parameters = {e["ParameterKey"]: e["ParameterValue"] for e in found.get("Parameters", [])}
        outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
        return str(found["StackStatus"]), parameters, outputs

    def resources(self) -> tuple[dict[str, str], list[str]]:
        """Give what each resource is called, and which are not complete."""
        answer = self._asked("cloudformation", "describe_stack_resources", StackName=self._stack)
        listed = answer["StackResources"]
        names = {e["LogicalResourceId"]: str(e.get("PhysicalResourceId", "")) for e in listed}
        unfinished = [
            each["LogicalResourceId"]
            for each in listed
            if not each["ResourceStatus"].endswith("_COMPLETE")
        ]
        return names, unfinished

    def bucket(self, name: str) -> Bucket:
        """Tell what a bucket is like."""
        versioning = self._asked("s3", "get_bucket_versioning", Bucket=name)
        encrypted = self._or_nothing("s3", "get_bucket_encryption", Bucket=name)
        policy = self._or_nothing("s3", "get_bucket_policy", Bucket=name)
        statements = json.loads(policy["Policy"])["Statement"] if policy else []
        calls = self._asked("s3", "get_bucket_notification_configuration", Bucket=name)
        return Bucket(
            str(versioning.get("Status", "")),
            bool(encrypted),
            {each.get("Sid", ""): each for each in statements},
            frozenset(map(_call, calls.get("LambdaFunctionConfigurations", []))),
        )

    def table(self, name: str) -> Table:
        """Tell what a table is like."""
        found = self._asked("dynamodb", "describe_table", TableName=name)["Table"]
        keys = tuple((each["AttributeName"], each["KeyType"]) for each in found["KeySchema"])
        return Table(keys, str(found.get("StreamSpecification", {}).get("StreamViewType", "")))

    def queue(self, url: str) -> Queue:
        """Tell what a queue is like."""
        wanted = ["VisibilityTimeout", "RedrivePolicy", "ApproximateNumberOfMessages"]
        answer = self._asked("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=wanted)
        found = answer.get("Attributes", {})
        return Queue(
            int(found["VisibilityTimeout"]),
            "RedrivePolicy" in found,
            int(found["ApproximateNumberOfMessages"]),
        )

    def function(self, name: str) -> tuple[str, dict[str, str]]:
        """Give a function's state, and those of the mappings that call it, by their sources."""
        state = self._asked("lambda", "get_function_configuration", FunctionName=name)["State"]
        found = self._asked("lambda", "list_event_source_mappings", FunctionName=name)
        mappings = found["EventSourceMappings"]
        return str(state), {e["EventSourceArn"].split(":")[-1]: e["State"] for e in mappings}

    def refuses_plain_put(self, bucket: str, key: str) -> bool:
        """Tell whether a put without any condition is refused; what it stored is removed.

        Args:
            bucket: which.
            key: of an object that nobody has.
        """
        client = self._client("s3")
        try:
            client.put_object(Bucket=bucket, Key=key, Body=b"")
        except (BotoCoreError, ClientError) as error:
            if code_of(error) == "AccessDenied":
                return True
            raise _unavailable("s3", error) from error
        client.delete_object(Bucket=bucket, Key=key)
        return False

    def _client(self, service: str) -> Any:  # noqa: ANN401 - boto3 has no types
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service, endpoint_url=self._endpoint, config=self._limits
            )
        return self._clients[service]

    def _asked(self, service: str, verb: str, **asked: Any) -> Mapping[str, Any]:  # noqa: ANN401
        try:
            answer: Mapping[str, Any] = getattr(self._client(service), verb)(**asked)
        except (BotoCoreError, ClientError) as error:
            raise _unavailable(service, error) from error
        return answer

    def _or_nothing(self, service: str, verb: str, **asked: Any) -> Mapping[str, Any]:  # noqa: ANN401
        try:
            return self._asked(service, verb, **asked)
        except Unavailable as error:
            if code_of(error.__cause__).startswith(_NOTHING):
                return {}
            raise


def _call(found: Mapping[str, Any]) -> tuple[str, str, str]:
    rules = found.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    named = {each["Name"].lower(): each["Value"] for each in rules}
    function = found["LambdaFunctionArn"].split(":")[6]
    return function, named.get("prefix", ""), named.get("suffix", "")


def _unavailable(service: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"AWS ({service}) cannot be asked: {error}",
        kind="aws-unavailable",
        hint="check the credentials (aws sts get-caller-identity), what they may do, and --region",
    )
