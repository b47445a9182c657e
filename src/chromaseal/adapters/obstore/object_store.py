"""S3, Google Cloud Storage, Azure or memory as an object store, through obstore."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import html
import http
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import MemoryStore, from_url

from chromaseal.errors import Conflict, NotFound, Unavailable, UsageError
from chromaseal.object_store import ObjectInfo, StoredObject, check_foreign_key, check_key
from chromaseal.settings import without_secrets

if TYPE_CHECKING:
    # obstore has these for type checkers only.
    from obstore import ObjectMeta, UpdateVersion
    from obstore.store import ClientConfig, RetryConfig, S3Config

_TIMEOUT_S = 300
# Who says nothing for so long says nothing any more. A body on its way out counts as silence, so
# that large ones have the whole time: slow networks need it.
_SILENCE_S = 60
_SMALL_BYTES = 1 << 20
# Who is told that is told the same again.
_REFUSALS = (
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PermissionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
_SILENT, _REFUSED = "the object store did not answer for", "the object store refuses"
_FULL_FOR = "the object store has no room for"
_STATUS = re.compile(r"status code: (\d{3})\b")
# What the service may answer otherwise the next time: it was busy, or the request came to harm.
_PASSING = {408, 409, 425, 429}
_HARMED = ("RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch")
# What MinIO, Ceph and Huawei say where there is no room; others answer with 507, or with 500 as if
# they had failed.
_FULL = re.compile(r"StorageFull|QuotaExceeded|InsufficientStorage")
# An answer's own words; before them, on the same line, is what the client says of it.
_ANSWER = re.compile(r"<Code>([^<]*)</Code>\s*(?:<Message>([^<]*)</Message>)?")
# S3 says that of a conditional write which met another at that moment, and did nothing; its client
# calls all that is answered with 409 "already exists".
_RACED = ("ConditionalRequestConflict", "OperationAborted")
# The bucket is in another region.
_REDIRECTED = "redirect without LOCATION"
# obstore takes this one apart from the other options and panics where it finds it among them;
# given any of its kind, it does not look for it in the environment either.
_ALLOW_HTTP = "allow_http"
_ALLOW_HTTP_HERE = "AWS_ALLOW_HTTP"
# Whoever finds no credentials asks the machine for some, and fails there.
_ASKED_FOR_CREDENTIALS = (
    "/latest/api/token",
    "/latest/meta-data/iam",
    "/computeMetadata/v1/instance",
    "/metadata/identity/oauth2",
)
# An endpoint may have user and password in it, and errors name it.
_USER = re.compile(r"(?<=://)[^/?#\s]*@")
# obstore panics where one of these is no URL of a server.
_ENDPOINTS = {
    "s3": ("endpoint", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("endpoint", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN if there is one; "
    "profiles in ~/.aws are not read",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT, the path of a key file",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY",
}


class ObstoreObjectStore:
    """A prefix of a bucket.

    Every request goes out once, so that whoever asks again (``RetriedStore``) can tell of it, and
    so that of a conditional write nobody but its writer meets its own object.

    Args:
        url: ``s3://bucket/prefix``, ``gs://``, ``az://`` or ``memory://``; credentials and
            endpoint come from the usual environment variables of each service.
        options: what the environment does not say, by obstore's names, for example
            ``endpoint``, ``access_key_id``, or ``allow_http`` (``true``) for an endpoint that
            does not speak TLS.

    Raises:
        UsageError: ``bad-url``.
        Unavailable: ``store-refuses``, the environment does not say what the service needs.
    """

    def __init__(self, url: str, *, options: Mapping[str, str] | None = None) -> None:
        self._url = without_secrets(url)
        if url.startswith("memory://"):
            memory: obstore.store.ObjectStore = MemoryStore()
            self._store = memory
            self._open_patient: Callable[[], obstore.store.ObjectStore] = lambda: memory
            return
        named = dict(options or {})
        client: ClientConfig = {"timeout": f"{_TIMEOUT_S}s"}
        if _is_yes(named.pop(_ALLOW_HTTP, os.environ.get(_ALLOW_HTTP_HERE, ""))):
            client["allow_http"] = True
        if url.startswith("s3://"):
            # S3 compares every body with the digest in its request, and keeps the digest.
            named.setdefault("checksum_algorithm", "SHA256")
        config = cast("S3Config", named)
        once: RetryConfig = {
            "max_retries": 0,
            "retry_timeout": dt.timedelta(seconds=_TIMEOUT_S),
        }
        if not urlsplit(url).netloc:
            raise _bad_url(self._url, "it names no bucket")
        # Of variables the client reads those in capitals alone.
        variables = {name: value for name, value in os.environ.items() if name.isupper()}
        _refuse_endpoints(urlsplit(url).scheme, {**variables, **named})
        opened = functools.partial(from_url, url, config=config, retry_config=once)
        self._open_patient = functools.partial(opened, client_options=client)
        try:
            self._store = opened(client_options={**client, "read_timeout": f"{_SILENCE_S}s"})
        except ValueError as error:
            raise _bad_url(self._url, _USER.sub("", str(error))) from error
        except BaseError as error:
            raise self._unavailable(error, f"{self._url} cannot be opened") from error

    @property
    def url(self) -> str:
        """Say where this is."""
        return self._url

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is."""
        with self._answered(key):
            obstore.put(self._taking(body), self._checked(key), bytes(body), mode="create")

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``."""
        try:
            with self._answered(key):
                tag = _update_version(etag)
                obstore.put(self._taking(body), self._checked(key), body, mode=tag)
        except NotFound:
            # S3 answers 404, others 412, when what was seen is gone.
            raise Conflict(f"{key} is gone", kind="lost-race") from None

    def get(self, key: str) -> StoredObject:
        """Read an object whole."""
        with self._answered(key):
            found = obstore.get(self._store, self._checked(key))
            return StoredObject(bytes(found.bytes()), _tag(found.meta))

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object."""
        try:
            with self._answered(key):
                found = obstore.get_range(
                    self._store, self._checked(key), start=start, length=length
                )
                return bytes(found)
        except (Unavailable, ValueError) as error:
            # An empty range, or one past the end, is an error in each service's own words.
            if "range" in str(error).lower() and self._is_empty(key, start, length):
                return b""
            raise

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content."""
        try:
            with self._answered(key):
                found = obstore.head(self._store, self._checked(key))
        except NotFound:
            return None
        return ObjectInfo(key, found["size"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``, in order."""
        folder = prefix.rpartition("/")[0]
        with self._answered(prefix):
            batches = obstore.list(self._store, prefix=folder or None)
            found = [ObjectInfo(each["path"], each["size"]) for batch in batches for each in batch]
        return iter(sorted((i for i in found if i.key.startswith(prefix)), key=lambda i: i.key))

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._answered(key), contextlib.suppress(NotFound, FileNotFoundError, NotFoundError):
            obstore.delete(self._store, self._checked(key))

    def _checked(self, key: str) -> str:
        """Give the key back if it may be asked for."""
        return check_key(key)

    def _taking(self, body: bytes | memoryview) -> obstore.store.ObjectStore:
        return self._store if len(body) <= _SMALL_BYTES else self._patient

    @functools.cached_property
    def _patient(self) -> obstore.store.ObjectStore:
        # Few processes store what is large, and a client takes a while to make.
        return self._open_patient()

    @contextlib.contextmanager
    def _answered(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotFoundError):
            raise NotFound(f"there is no object {key}", kind="no-object") from None
        except AlreadyExistsError as error:
            if any(code in str(error) for code in _RACED):
                raise self._unavailable(error, f"{_SILENT} {key}") from error
            raise Conflict(f"{key} is there already", kind="already-exists") from None
        except PreconditionError:
            raise Conflict(f"{key} has changed", kind="lost-race") from None
        except (BaseError, OSError) as error:
            raise self._unavailable(error, f"{_SILENT} {key or self._url}") from error

    def _unavailable(self, error: Exception, what: str) -> Unavailable:
        # After the first line comes the error as its library sees it, over many more.
        text = _USER.sub("", str(error))
        why, hint = _why(text), "check the address, the credentials and the network"
        if _is_full(text):
            return Unavailable(
                f"{what.replace(_SILENT, _FULL_FOR)}: {why}",
                kind="store-full",
                hint="make room in it, or raise its quota; then run it again",
            )
        variables = _CREDENTIALS.get(urlsplit(self._url).scheme, "")
        refused = isinstance(error, _REFUSALS) or _is_refusal(text)
        if _status(text) >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            hint = "the service itself failed: look at its log, and whether it has room left"
        if "BadScheme" in text:
            refused = True
            why = f"the endpoint speaks http without TLS, which {_ALLOW_HTTP_HERE} does not allow"
            hint = f"set {_ALLOW_HTTP_HERE}=true if that is meant"
        elif any(mark in why for mark in _ASKED_FOR_CREDENTIALS):
            refused = True
            why = "no credentials found, neither in the environment nor from the machine"
            hint = f"set {variables}"
        elif "MissingAccount" in text:
            refused = True
            hint = f"set {variables}"
        if refused:
            what = what.replace(_SILENT, _REFUSED)
        return Unavailable(
            f"{what}: {why}",
            kind="store-refuses" if refused else "store-unavailable",
            hint=f"{hint}, then run it again",
        )

    def _is_empty(self, key: str, start: int, length: int) -> bool:
        found = self.head(key)
        if found is None:
            raise NotFound(f"there is no object {key}", kind="no-object")
        return length == 0 or start >= found.size_bytes


class ForeignBucket(ObstoreObjectStore):
    """A prefix whose objects others have named."""

    def _checked(self, key: str) -> str:
        return check_foreign_key(key)


def _why(text: str) -> str:
    """Give in one line what the client says of an answer, and what the service itself says."""
    first = text.splitlines()[0]
    said = _ANSWER.search(text)
    if said is None:
        return first
    code, message = (html.unescape(" ".join((each or "").split())) for each in said.groups())
    told = f"{code}: {message}" if message else code
    return f"{first.partition('<')[0].rstrip(': ')}: {told}"


def _status(text: str) -> int:
    """Give the status of an answer, in its client's words; 0 where there is none."""
    found = _STATUS.search(text)
    return int(found[1]) if found else 0


def _is_full(text: str) -> bool:
    """Tell whether the service says that it has no room."""
    said = _ANSWER.search(text)
    by_code = said is not None and _FULL.search(said[1]) is not None
    return by_code or _status(text) == http.HTTPStatus.INSUFFICIENT_STORAGE


def _is_refusal(text: str) -> bool:
    """Tell whether an answer of the service, in its client's words, will be the same again."""
    status = _status(text)
    if not status:
        return _REDIRECTED in text
    if any(code in text for code in _HARMED):
        return False
    is_ours = status < http.HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PASSING
    return is_ours or status == http.HTTPStatus.NOT_IMPLEMENTED


def _is_yes(text: str) -> bool:
    return text.lower() in {"1", "true", "on", "yes", "y"}


def _tag(meta: ObjectMeta) -> str:
    # Google's store compares by version, the others by entity tag.
    return json.dumps([meta.get("e_tag"), meta.get("version")])


def _update_version(tag: str) -> UpdateVersion:
    try:
        e_tag, version = json.loads(tag)
    except ValueError:
        # No tag of ours, so no object can carry it.
        e_tag, version = tag, None
    named: UpdateVersion = {"e_tag": e_tag}
    if version is not None:
        named["version"] = version
    return named


def _refuse_endpoints(scheme: str, named: Mapping[str, str]) -> None:
    for name in _ENDPOINTS.get(scheme, ()):
        if name in named and not _is_server(named[name]):
            raise UsageError(
                f"{name} is {_USER.sub('', named[name])!r}, which is no URL of a server",
                kind="bad-url",
                hint=f"{name}=http://host:port or https://host; unset it for the service itself",
            )


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Asked for a port that is no number, or too large, it raises.
        _ = parts.port
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and " " not in url
    return is_plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def _bad_url(url: str, why: str) -> UsageError:
    return UsageError(
        f"{url} cannot be a vault: {why}",
        kind="bad-url",
        hint="for example s3://bucket/vault, gs://bucket/vault or az://container/vault",
    )
