"""What surrounds every request, known address or not: its id, its slot, its headers, its measure, and its errors."""

import logging
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.producers.gateway.guarded import taken
from penstock.producers.gateway.problems import malformed, problem_response
from penstock.producers.gateway.services import Services
from penstock.schemas.errors import InvalidInputError
from penstock.schemas.trace import require_request

_log = logging.getLogger(__name__)

#: Told method, template of the route, status and seconds of each answer.
Observe = Callable[[str, str, int, float], None]

NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TRANSPORT = "max-age=31536000"
#: Answered however many requests there are.
_PROBES = "/health/"


class Surround:
    """The outermost layer of the application.

    Args:
        app: what is surrounded.
        services: whose slots requests take.
        observe: told of each answer.
    """

    def __init__(self, app: ASGIApp, services: Services, observe: Observe) -> None:
        self._app = app
        self._services = services
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        started = time.perf_counter()
        # A copy: the server keeps back HEAD's body by what it finds in its own.
        scope = {**scope, "services": self._services, "method": "GET" if method == "HEAD" else scope["method"]}
        try:
            await self._run(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            self._observe(method, route, answer.status, time.perf_counter() - started)

    async def _run(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            if scope["path"].startswith(_PROBES):
                await self._app(scope, receive, answer.send)
                return
            with taken(self._services.requests, "requests"):
                _require_text(scope)
                await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            # Nobody is there to be told; what was accepted stays so, and the same key completes it.
            answer.status = 499
        except Exception as error:
            if answer.begun:
                _log.exception("an answer that had begun broke off")
                raise
            made = problem_response(error, scope["path"], scope["state"]["request_id"])
            await made(scope, receive, answer.send)


class _Answer:
    """The answer as it goes out, with the headers that all have. Of HEAD the body stays here."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._is_head = scope["method"] == "HEAD"
        self.begun = False
        self.status = 500
        state = scope.setdefault("state", {})
        state["request_id"] = _request_id(scope)
        state["headers"] = []

    async def send(self, message: Message) -> None:
        """As ASGI wants it."""
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = message["status"]
            self._add_headers(MutableHeaders(scope=message))
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)

    def _add_headers(self, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        for name, value in self._scope["state"]["headers"]:
            headers.append(name, value)
        headers["X-Request-Id"] = self._scope["state"]["request_id"]
        if self._scope.get("scheme") == "https":
            headers.setdefault("Strict-Transport-Security", _TRANSPORT)


def _request_id(scope: Scope) -> str:
    """The one that the request brings, where it is sane; a new one otherwise."""
    told = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    try:
        return require_request(told.decode("latin-1"))
    except InvalidInputError:
        return secrets.token_hex(16)


def _require_text(scope: Scope) -> None:
    """Refuse U+0000: PostgreSQL can't be asked for it, and no name of ours has it."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise malformed("the address has U+0000")
