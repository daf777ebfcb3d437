"""The one client of platforms' interfaces: bounded in time and size, blind to redirects, silent about tokens.

A call always ends in a `Reply`. Where no answer came, its `failure` tells whether the request may have arrived.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import httpx

from penstock.workers.platforms.bounded import BoundedTransport, within
from penstock.workers.platforms.endpoints import Patience
from penstock.workers.platforms.platform import Secret
from penstock.workers.telemetry.traces import call_span

#: Answers of platforms' interfaces are small; a larger one is an error page or a mistake, and is not read on.
LONGEST_BODY_BYTES = 1024 * 1024

#: How a call can fail without an answer. Only `UNREACHABLE` proves that nothing was received.
UNREACHABLE, TIMED_OUT, LOST, OVERSIZED = "unreachable", "timed_out", "lost", "oversized"

_replies: ContextVar[list["Reply"] | None] = ContextVar("replies", default=None)

# httpx logs whole addresses, and some calls have to carry a token there.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        url: the whole address, without query.
        path: the path with names in the place of ids, such as `/{ig}/media`; what is recorded.
        parameters: the query of a GET, the form of any other; nothing where `body` or `content` is there.
        secrets: parameters whose values are never recorded, added to `parameters`.
        body: a JSON body.
        token: sent as `Authorization: <scheme> <token>`.
        query: always sent as the query.
        file: one part of a multipart form: name, content type, bytes.
    """

    method: str
    url: str = field(repr=False)
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    token: Secret | None = None
    scheme: str = "Bearer"
    file: tuple[str, str, bytes] | None = field(default=None, repr=False)

    def summary(self) -> dict[str, object]:
        """What may be stored of the request: method, path template, names of parameters."""
        names = {*self.parameters, *self.secrets, *self.query, *(self.body or {})}
        return {"method": self.method, "path": self.path, "parameters": sorted(names)}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; `status` is 0 where nothing usable did, and `failure` then tells why."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float
    call: Call
    failure: str = ""

    @property
    def ok(self) -> bool:
        """Whether the platform answered with a status of success."""
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any] | None:
        """The body as a JSON object; None where it is none: empty, cut off, a page of HTML."""
        value = self._value()
        return value if isinstance(value, dict) else None

    def json_list(self) -> list[Any] | None:
        """The body as a JSON array; None where it is none."""
        value = self._value()
        return value if isinstance(value, list) else None

    def _value(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def text_of(self, name: str) -> str | None:
        """A member of the body as text; None where it is absent, empty, or no text or whole number."""
        value = (self.json() or {}).get(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        return str(value) or None


@contextmanager
def heard_replies() -> Iterator[list[Reply]]:
    """The replies that this thread is given within the block, in their order: for the record of what was asked."""
    replies: list[Reply] = []
    token = _replies.set(replies)
    try:
        yield replies
    finally:
        _replies.reset(token)


class PlatformHttp:
    """Sends calls. Safe to share between threads; close it at the end of the process.

    No call takes longer than `Patience.whole`, its connection and a name that does not resolve included.
    """

    def __init__(self, patience: Patience) -> None:
        self._whole = patience.whole
        read = min(patience.read, patience.whole).total_seconds()
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=5)
        self._client = httpx.Client(
            transport=BoundedTransport(limits),
            timeout=httpx.Timeout(read, connect=patience.connect.total_seconds()),
            follow_redirects=False,
            # A proxy of the environment would see tokens; whoever needs one says so in the platform's address.
            trust_env=False,
            headers={"User-Agent": "penstock", "Accept": "application/json"},
        )

    def send(self, call: Call) -> Reply:
        """Send one request, once, and read its answer. The platform is not told of our trace."""
        with call_span(call.method, call.path) as span:
            reply = self._send(call)
            if reply.status:
                span.note({"http.response.status_code": reply.status})
            if not reply.ok:
                span.fail(reply.failure or str(reply.status))
        return reply

    def _send(self, call: Call) -> Reply:
        began = time.monotonic()
        try:
            with within(self._whole):
                status, headers, body, failure = self._exchange(call)
        # A token with characters that no header takes is a UnicodeError, whose text would tell it.
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, UnicodeError):
            status, headers, body, failure = 0, {}, b"", UNREACHABLE
        except httpx.TimeoutException:
            status, headers, body, failure = 0, {}, b"", TIMED_OUT
        except (httpx.HTTPError, httpx.InvalidURL):
            status, headers, body, failure = 0, {}, b"", LOST
        reply = Reply(status, headers, body, time.monotonic() - began, call, failure)
        heard = _replies.get()
        if heard is not None:
            heard.append(reply)
        return reply

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _exchange(self, call: Call) -> tuple[int, Mapping[str, str], bytes, str]:
        with self._client.stream(call.method, call.url, **_arguments(call)) as response:
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if len(body) > LONGEST_BODY_BYTES:
                    return 0, response.headers, b"", OVERSIZED
            return response.status_code, response.headers, bytes(body), ""


def _arguments(call: Call) -> dict[str, Any]:
    headers = dict(call.headers)
    if call.token is not None:
        headers["Authorization"] = f"{call.scheme} {call.token.get_secret_value()}"
    parameters = {**call.parameters, **call.secrets}
    arguments: dict[str, Any] = {"headers": headers}
    if call.query or (call.method == "GET" and parameters):
        arguments["params"] = {**call.query, **(parameters if call.method == "GET" else {})}
    if call.body is not None:
        arguments["json"] = call.body
    elif call.content is not None:
        arguments["content"] = call.content
    elif parameters and call.method != "GET":
        arguments["data"] = parameters
    if call.file is not None:
        arguments["files"] = {"file": (call.file[0], call.file[2], call.file[1])}
    return arguments
