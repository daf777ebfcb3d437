"""Requests to the gateway, sent again where that is safe. The only file here that knows httpx."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import httpx

from penstock.producers.http_results import Answer, error_of
from penstock.producers.patience import FULL_CODES, Patience, patiently
from penstock.producers.tracing import current_cause
from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, InvalidInputError, UnavailableError

#: What passes by itself: a request that is safe to send again is.
PASSING_CODES = frozenset(
    {
        *(Code.REQUEST_UNANSWERED, Code.REQUEST_IN_FLIGHT, Code.REQUEST_TOO_SLOW),
        *(Code.QUEUE_UNAVAILABLE, Code.QUEUE_NOT_CONFIRMED),
        *(Code.STORAGE_UNAVAILABLE, Code.STORAGE_TIMEOUT, Code.STORAGE_CONFLICT),
    }
)
#: Where a gateway and what is before it never got as far as to do anything.
_NOT_BEGUN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request.

    Attributes:
        body: what is sent as JSON; None for nothing.
        stream: makes the pieces of a body of lines, anew for each try.
        is_safe: sending it twice does no more than sending it once.
        is_spent: tells whether it can't be sent again, since its stream is gone.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    stream: Callable[[], Iterable[bytes]] | None = field(default=None, repr=False)
    is_safe: bool = True
    is_spent: Callable[[], bool] = lambda: False


class Transport:
    """A connection pool to one gateway. Safe to share between threads.

    Args:
        url: of the gateway, such as `https://penstock.example.org`.
        api_key: as `penstock keys create` printed it; None where the gateway asks for none.
        timeout: the longest silence of the gateway; connecting has 5 s.
        retry_for: how long what passes by itself is tried again; zero for never.
    """

    def __init__(self, url: str, api_key: str | None, timeout: timedelta, retry_for: timedelta) -> None:
        seconds = timeout.total_seconds()
        headers = {"User-Agent": f"penstock/{version('penstock')}", "Accept": "application/json"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        try:
            base = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise InvalidInputError(Code.CONFIG_INVALID, f"the gateway's URL is none: {error}") from None
        if base.scheme not in {"http", "https"} or not base.host:
            raise InvalidInputError(Code.CONFIG_INVALID, "the gateway's URL must begin with http:// or https://")
        self._client = httpx.Client(base_url=base, headers=headers, timeout=httpx.Timeout(seconds, connect=5.0))
        self._retry_for = retry_for

    def send(self, ask: Ask, patience: Patience | None = None) -> Answer:
        """Send a request until it has an answer that is no passing trouble.

        Args:
            ask: what.
            patience: how long to wait where there is no room (`QUEUE_FULL`, `RATE_LIMIT_EXCEEDED`…); None: not.

        Raises:
            PenstockError: the gateway's problem, or `REQUEST_UNANSWERED`.
        """
        retrying = Patience(self._retry_for, stop=patience.stop) if patience else Patience(self._retry_for)
        try:
            return patiently(lambda: patiently(lambda: self._try(ask), retrying, PASSING_CODES), patience)
        except _FinalError as final:
            error = final.error
        raise error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _try(self, ask: Ask) -> Answer:
        try:
            return self._once(ask)
        except UnavailableError as error:
            was_refused = error.code in FULL_CODES or isinstance(error.__cause__, _NOT_BEGUN)
            if ask.is_spent() or not (ask.is_safe or was_refused):
                raise _FinalError(error) from error
            raise

    def _once(self, ask: Ask) -> Answer:
        try:
            response = self._client.send(self._request(ask))
        except httpx.TransportError as error:
            told = f"the gateway does not answer: {type(error).__name__}"
            raise UnavailableError(Code.REQUEST_UNANSWERED, told) from error
        if response.is_success:
            return Answer(response.status_code, response.json() if response.content else None, response.headers)
        raise error_of(response.status_code, response.content, response.headers)

    def _request(self, ask: Ask) -> httpx.Request:
        cause = current_cause()
        headers = {"traceparent": cause.trace, "X-Request-Id": cause.request_id}
        told = {name: value for name, value in headers.items() if value is not None} | dict(ask.headers)
        content: bytes | Iterable[bytes] | None = None
        if ask.body is not None:
            content = compact_json(ask.body)
            told["Content-Type"] = "application/json"
        elif ask.stream is not None:
            content = ask.stream()
            told["Content-Type"] = "application/x-ndjson"
        return self._client.build_request(ask.method, ask.path, params=dict(ask.query), headers=told, content=content)


class _FinalError(Exception):
    """Carries an error past the tries: nobody knows whether the request was done, or it can't be sent again."""

    def __init__(self, error: UnavailableError) -> None:
        super().__init__()
        self.error = error
