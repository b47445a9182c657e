"""What a vault and a command tell of their work: steps, events, lines, spans, metrics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped] # it has no stubs of its own
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as of_metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as of_traces
from tests.conftest import OpenVault

from chromaseal.telemetry.emit import observed
from chromaseal.telemetry.names import EVENTS, OPERATIONS, STEPS
from chromaseal.testing.command_line import Answer, environment
from chromaseal.testing.directory_states import made_states
from chromaseal.testing.recording_observer import Heard, RecordingObserver
from chromaseal.testing.records import record, upserts
from chromaseal.testing.warm_start import run_command
from chromaseal.vault import Vault

SECRET = "the text of a document"  # noqa: S105 - what must not be told
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
TIMEOUT_S = 60


def compacted(vault: Vault) -> RecordingObserver:
    """Give what a vault told while it wrote a run and made a version of it."""
    heard = RecordingObserver()
    changes = upserts(*(record(f"r{n}", n, document=SECRET) for n in range(5)))
    with observed(heard):
        vault.write({"notes": changes}, run_id="run-1")
        vault.compact()
    return heard


def around(heard: Heard) -> list[str]:
    """Give the names of the steps around one, from the inside out."""
    names = []
    while heard.under is not None:
        heard = heard.under
        names.append(heard.name)
    return names


def test_a_compaction_tells_every_step(vault_at: OpenVault) -> None:
    """Merge, seal, verify and publish are parts of the compaction, the child's steps of theirs."""
    heard = compacted(vault_at())
    for name in ("read deltas", "merge", "seal", "verify", "publish"):
        assert around(heard.step(name)) == ["compact"]
        assert heard.step(name).outcome == "ok"
    assert around(heard.step("merge deltas")) == ["run job", "merge", "compact"]
    assert heard.step("merge deltas").facts["records"] == 5
    assert around(heard.step("open client")) == ["run job", "merge", "compact"]
    assert around(heard.step("close client")) == around(heard.step("open client"))
    assert isinstance(heard.said("client closed")[0].facts["descriptors_left"], int)


def test_a_compaction_tells_what_it_published(vault_at: OpenVault) -> None:
    """Checks with evidence and seconds, the commit, and the version are events."""
    vault = vault_at()
    heard = compacted(vault)
    version = vault.version("notes")
    checks = {each.facts["check"]: each for each in heard.said("check")}
    assert {check.name for check in version.manifest.checks} - {"records"} == checks.keys()
    assert all(each.facts["passed"] is True for each in checks.values())
    assert [each.facts["outcome"] for each in heard.said("commit attempt")] == ["won"]
    (published,) = heard.said("version published")
    assert published.facts["version_id"] == version.version_id
    assert published.facts["records"] == 5
    assert around(heard.said("directory closed")[0]) == ["seal", "compact"]


def test_every_request_to_the_store_is_told(vault_at: OpenVault) -> None:
    """Keys, sizes and seconds of each; uploads in threads belong to their layer."""
    heard = compacted(vault_at())
    asked = [each for each in heard.steps if each.name in OPERATIONS]
    assert all(each.outcome for each in asked)
    assert all(each.facts["key"] for each in asked)
    layer = [each for each in asked if each.under is heard.step("store layer")]
    assert [each.name for each in layer] == ["create object"]
    assert layer[0].facts["size_bytes"] == heard.step("store layer").facts["size_bytes"]


def test_only_what_has_a_name_is_told_and_no_content(vault_at: OpenVault) -> None:
    """Names are those of the tables; no document is in any fact."""
    heard = compacted(vault_at())
    assert {each.name for each in heard.steps} <= STEPS.keys() | OPERATIONS.keys()
    assert {each.name for each in heard.events} <= EVENTS.keys()
    everything = [str(each.facts) for each in (*heard.steps, *heard.events)]
    assert everything
    assert not [facts for facts in everything if SECRET in facts]


def test_nobody_is_told_by_default(vault_at: OpenVault) -> None:
    """An observer hears nothing of what happens after its block."""
    vault = vault_at()
    heard = compacted(vault)
    before = len(heard.steps)
    vault.write({"notes": upserts(record("later", 1))})
    assert len(heard.steps) == before


class Place:
    """A directory to push, and the commands that a user gives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(made_states()[0], folder / "app")

    def push(self, *options: str, **variables: str) -> Answer:
        """Push it to a vault, with environment variables."""
        done = run_command(
            (*options, "push", "app", "notes", "--vault", "vault", "--json"),
            environment={**environment(self.folder / "cache"), **variables},
            folder=self.folder,
            timeout_s=TIMEOUT_S,
        )
        return Answer(*done)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give a place."""
    return Place(tmp_path)


def test_a_log_of_json_leaves_the_answer_alone(place: Place) -> None:
    """Standard output has the answer, standard error one object per line."""
    answer = place.push(CHROMASEAL_LOG="json", CHROMASEAL_LOG_LEVEL="debug")
    assert answer.exit_code == 0, answer.errors
    assert len(answer.only("pushed")) == 1
    first, *lines = answer.errors.splitlines()
    assert first.startswith("{")
    told = [json.loads(line) for line in (first, *lines) if not line.startswith("made a vault")]
    assert {"push", "seal", "check", "version published"} <= {line["event"] for line in told}
    assert told[-1]["event"] == "chromaseal"
    assert (told[-1]["command"], told[-1]["outcome"]) == ("push", "ok")


def test_an_error_is_the_outcome_of_the_command(place: Place) -> None:
    """With ``-v`` people read the steps, and how the command ended."""
    (place.folder / "app/chroma.sqlite3-journal").write_bytes(b"\xd9\xd5\x05\xf9")
    answer = place.push("-v")
    assert answer.exit_code != 0
    assert "journal found" in answer.errors
    assert answer.errors.count("outcome=hot-journal") == 3


def test_a_word_that_is_no_setting_is_refused(place: Place) -> None:
    """The error says which words there are."""
    answer = place.push(CHROMASEAL_LOG="loud")
    assert answer.exit_code == 2
    assert "console, json" in answer.out


class Collector:
    """An OpenTelemetry collector that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}
        self.metrics: set[str] = set()
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._serve("trace.v1.TraceService", of_traces, "ExportTraceService", self._keep_spans)
        self._serve(
            "metrics.v1.MetricsService", of_metrics, "ExportMetricsService", self._keep_metrics
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        """End it."""
        self._server.stop(None).wait()

    def _serve(self, service: str, messages: Any, name: str, keep: Any) -> None:  # noqa: ANN401 - generated code
        answer = getattr(messages, f"{name}Response")

        def export(request: Any, context: Any) -> Any:  # noqa: ANN401 - generated code
            del context
            keep(request)
            return answer()

        handler = grpc.unary_unary_rpc_method_handler(
            export,
            request_deserializer=getattr(messages, f"{name}Request").FromString,
            response_serializer=answer.SerializeToString,
        )
        whole = f"opentelemetry.proto.collector.{service}"
        handlers = grpc.method_handlers_generic_handler(whole, {"Export": handler})
        self._server.add_generic_rpc_handlers((handlers,))

    def _keep_spans(self, request: Any) -> None:  # noqa: ANN401 - generated code
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.update({span.name: span for span in scope.spans})

    def _keep_metrics(self, request: Any) -> None:  # noqa: ANN401 - generated code
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics.update(metric.name for metric in scope.metrics)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Give one that listens."""
    listening = Collector()
    yield listening
    listening.close()


def test_a_collector_gets_spans_and_metrics(place: Place, collector: Collector) -> None:
    """Over OTLP, as parts of the caller's trace."""
    answer = place.push(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
        TRACEPARENT=f"00-{TRACE_ID}-{PARENT_ID}-01",
    )
    assert answer.exit_code == 0, answer.errors
    whole, push = collector.spans["chromaseal"], collector.spans["push"]
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    assert push.parent_span_id == whole.span_id
    assert {"seal", "verify", "publish", "store layer", "create object"} <= collector.spans.keys()
    assert {
        "chromaseal.step.duration",
        "chromaseal.store.io",
        "chromaseal.check.duration",
        "chromaseal.commit.attempts",
        "chromaseal.child.exits",
    } <= collector.metrics


def test_a_collector_that_is_gone_changes_nothing(place: Place) -> None:
    """Nobody listens: the answer and the exit code are the same."""
    answer = place.push(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert answer.exit_code == 0
    assert len(answer.only("pushed")) == 1
