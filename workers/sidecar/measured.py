"""Counts each answer, and how long it took, by the template of its route."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.workers.telemetry.metrics import HTTP_DURATION, HTTP_REQUESTS

APP = "sidecar"
#: What no route takes; a path of the asker's making is no label.
_NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Measured:
    """Observes `penstock_http_*`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            HTTP_REQUESTS.labels(APP, method, route, str(status)).inc()
            HTTP_DURATION.labels(APP, method, route).observe(time.perf_counter() - started)
