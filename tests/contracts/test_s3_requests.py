"""What S3 writes look like on the wire, and what is said where none can be sent."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import Message

import pytest

from chromaseal.adapters.obstore import object_store
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.clock import SystemClock
from chromaseal.errors import Conflict, Unavailable
from chromaseal.ids import SystemIds
from chromaseal.retried_store import ATTEMPTS, RetriedStore
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.servers import S3Server

BODY = b"what the store is to check"
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()


class Recorder(http.server.ThreadingHTTPServer):
    """A server that keeps every put's headers and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.puts: list[Message] = []
        self.status = 200
        self.said = b""

    def store(self) -> ObstoreObjectStore:
        """Open a prefix of it."""
        endpoint = f"http://127.0.0.1:{self.server_port}"
        options = S3Server(endpoint, "key", "secret", "bucket").options()
        return ObstoreObjectStore("s3://bucket/prefix", options=options)


class Handler(http.server.BaseHTTPRequestHandler):
    """Takes puts."""

    server: Recorder

    def do_PUT(self) -> None:
        """Keep the headers, and answer."""
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.puts.append(self.headers)
        self.send_response(self.server.status)
        self.send_header("ETag", '"tag"')
        self.send_header("Content-Length", str(len(self.server.said)))
        self.end_headers()
        self.wfile.write(self.server.said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Give a running one."""
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_every_put_carries_its_checksum(recorder: Recorder) -> None:
    """S3 gets the SHA-256 of each body to compare, and the condition of each write."""
    store = recorder.store()
    store.create("a", BODY)
    store.replace("a", BODY, etag='["\\"seen\\"", null]')
    create, replace = recorder.puts
    assert create["x-amz-checksum-sha256"] == replace["x-amz-checksum-sha256"] == SHA256
    assert (create["If-None-Match"], create["If-Match"]) == ("*", None)
    assert (replace["If-None-Match"], replace["If-Match"]) == (None, '"seen"')


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.get("a"),
        lambda store: store.get_range("a", start=0, length=1),
        lambda store: store.head("a"),
        lambda store: list(store.list("")),
        lambda store: store.create("a", BODY),
        lambda store: store.replace("a", BODY, etag='"tag"'),
        lambda store: store.delete("a"),
    ],
    ids=["get", "get_range", "head", "list", "create", "replace", "delete"],
)
def test_a_server_that_never_answers_is_given_up_on(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[ObstoreObjectStore], object]
) -> None:
    """Whatever is asked: a request ends, and says that nobody answered."""
    assert object_store._SILENCE_S < 120, "the shortest time that a function has"
    monkeypatch.setattr(object_store, "_SILENCE_S", 1)
    # The kernel takes the connection, and nobody ever reads from it.
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = S3Server(endpoint, "key", "secret", "bucket").options()
        store = ObstoreObjectStore("s3://bucket/prefix", options=options)
        clock = SystemClock()
        begun_s = clock.monotonic_s()
        with pytest.raises(Unavailable):
            ask(store)
        assert clock.monotonic_s() - begun_s < 20


class Slow(Handler):
    """Takes its time: longer than who expects an answer at once has, or until that has left."""

    left = threading.Event()

    def do_PUT(self) -> None:
        """Begin to read, and go on later."""
        size_bytes = int(self.headers["Content-Length"])
        self.rfile.read(1)
        self.left.wait(1.5 if size_bytes > object_store._SMALL_BYTES else 60)
        self.rfile.read(size_bytes - 1)
        self.send_response(200)
        self.send_header("ETag", '"tag"')
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_a_large_body_has_longer(monkeypatch: pytest.MonkeyPatch, recorder: Recorder) -> None:
    """A slow network is no silent server: what is on its way out has the whole time."""
    monkeypatch.setattr(object_store, "_SILENCE_S", 1)
    recorder.RequestHandlerClass = Slow
    large = bytes(object_store._SMALL_BYTES + 1)
    recorder.store().create("a", large)
    with pytest.raises(Unavailable):
        recorder.store().create("a", large[:-1])
    Slow.left.set()


@pytest.mark.parametrize("status", [500, 503])
def test_no_write_is_sent_twice(recorder: Recorder, status: int) -> None:
    """A request without a clear answer is told as such: whoever repeats it, says so."""
    recorder.status = status
    store = recorder.store()
    with pytest.raises(Unavailable):
        store.create("a", BODY)
    with pytest.raises(Unavailable) as caught:
        store.replace("a", BODY, etag='["\\"seen\\"", null]')
    assert caught.value.kind == "store-unavailable"
    assert len(recorder.puts) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 405, 501])
def test_a_refusal_is_no_silence(recorder: Recorder, status: int) -> None:
    """No right, an expired token, another region: it would be the same at the next request."""
    recorder.status = status
    with pytest.raises(Unavailable) as caught:
        RetriedStore(recorder.store(), clock=ManualClock(), ids=SystemIds()).create("a", BODY)
    assert caught.value.kind == "store-refuses"
    assert caught.value.message.startswith("the object store refuses a: ")
    assert len(recorder.puts) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (408, ""),
        (429, ""),
        (503, ""),
        (400, "<Code>RequestTimeout</Code>"),
        (409, "<Code>ConditionalRequestConflict</Code>"),
        (409, "<Code>OperationAborted</Code>"),
    ],
)
def test_what_passes_is_asked_again(recorder: Recorder, status: int, said: str) -> None:
    """A busy service, one that did not get all of a request, or two writes at once: no refusal."""
    recorder.status, recorder.said = status, said.encode()
    store = RetriedStore(recorder.store(), clock=ManualClock(), ids=SystemIds())
    with pytest.raises(Unavailable) as caught:
        store.create("a", BODY)
    assert caught.value.kind == "store-unavailable"
    assert len(recorder.puts) == ATTEMPTS
    with pytest.raises(Unavailable) as caught:
        store.replace("a", BODY, etag='["\\"seen\\"", null]')
    assert caught.value.kind == "store-unavailable"
    assert len(recorder.puts) == 2 * ATTEMPTS


@pytest.mark.parametrize(
    ("status", "code"),
    [(507, "XMinioStorageFull"), (507, ""), (403, "QuotaExceeded"), (400, "StorageFullOrSo")],
)
def test_a_bucket_without_room_is_called_full(recorder: Recorder, status: int, code: str) -> None:
    """Where the service says so; it is asked once, and in its words."""
    recorder.status = status
    recorder.said = f"<Error><Code>{code}</Code><Message>No &lt;room&gt;</Message></Error>".encode()
    store = RetriedStore(recorder.store(), clock=ManualClock(), ids=SystemIds())
    with pytest.raises(Unavailable) as caught:
        store.create("a", BODY)
    assert caught.value.kind == "store-full"
    assert caught.value.message.startswith("the object store has no room for a: ")
    assert caught.value.message.endswith(f"{code}: No <room>")
    assert "make room" in caught.value.hint
    assert len(recorder.puts) == 1


def test_a_failing_service_is_quoted(recorder: Recorder) -> None:
    """With its own words in one line, and where to look; a key that sounds full means nothing."""
    recorder.status = 500
    said = (
        "<Code>InternalError</Code>\n<Message>Please\n try again</Message><Key>QuotaExceeded</Key>"
    )
    recorder.said = f'<?xml version="1.0"?>\n<Error>{said}</Error>'.encode()
    with pytest.raises(Unavailable) as caught:
        recorder.store().create("StorageFull", BODY)
    assert caught.value.kind == "store-unavailable"
    assert caught.value.message.endswith(
        "status code: 500 Internal Server Error: InternalError: Please try again"
    )
    assert "has room left" in caught.value.hint


@pytest.mark.parametrize("status", [404, 412])
def test_a_condition_that_fails_is_a_lost_race(recorder: Recorder, status: int) -> None:
    """S3 answers 412 where an object has changed, and 404 where it is gone; nobody asks again."""
    recorder.status = status
    store = RetriedStore(recorder.store(), clock=ManualClock(), ids=SystemIds())
    with pytest.raises(Conflict) as caught:
        store.replace("a", BODY, etag='["\\"seen\\"", null]')
    assert caught.value.kind == "lost-race"
    assert len(recorder.puts) == 1


@pytest.mark.parametrize(
    "server", ["ministack_server", pytest.param("seaweedfs_server", marks=pytest.mark.slow)]
)
def test_servers_compare_the_checksum(server: str, request: pytest.FixtureRequest) -> None:
    """A put whose checksum is not its body's is refused, so a sent checksum is a checked one."""
    boto3 = pytest.importorskip("boto3")
    running: S3Server = request.getfixturevalue(server)
    client = boto3.client(
        "s3",
        endpoint_url=running.endpoint,
        aws_access_key_id=running.access_key,
        aws_secret_access_key=running.secret_key,
        region_name="us-east-1",
    )
    prefix = SystemIds().unique()
    put = {"Bucket": running.bucket, "ChecksumSHA256": SHA256}
    client.put_object(Key=f"{prefix}/good", Body=BODY, **put)
    with pytest.raises(client.exceptions.ClientError, match=r"Digest|[Cc]hecksum"):
        client.put_object(Key=f"{prefix}/bad", Body=BODY + b"!", **put)
    assert [found.key for found in running.store(prefix).list("")] == ["good"]
    client.close()


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take every variable away that S3 stores go by."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_http_without_tls_has_to_be_allowed(no_settings: pytest.MonkeyPatch) -> None:
    """An endpoint without TLS is refused with the name of the variable that allows it."""
    no_settings.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    no_settings.setenv("AWS_ACCESS_KEY_ID", "key")
    no_settings.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(Unavailable) as caught:
        ObstoreObjectStore("s3://bucket/prefix").get("key")
    assert caught.value.kind == "store-refuses"
    assert "without TLS" in caught.value.message
    assert "AWS_ALLOW_HTTP=true" in caught.value.hint


def test_missing_credentials_are_called_that(
    recorder: Recorder, no_settings: pytest.MonkeyPatch
) -> None:
    """Who has set no credentials hears which variables are read, and of no other request."""
    recorder.status = 403
    no_settings.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{recorder.server_port}")
    with pytest.raises(Unavailable) as caught:
        ObstoreObjectStore("s3://bucket/prefix").get("key")
    assert caught.value.kind == "store-refuses"
    assert "no credentials found" in caught.value.message
    assert "http://" not in caught.value.message
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in caught.value.hint


def test_a_missing_account_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure needs to know whose container it is before anything is asked."""
    for name in list(os.environ):
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)
    with pytest.raises(Unavailable) as caught:
        ObstoreObjectStore("az://container/prefix")
    assert caught.value.kind == "store-refuses"
    assert "AZURE_STORAGE_ACCOUNT_NAME" in caught.value.hint
