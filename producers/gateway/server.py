"""The life of a gateway: its socket, its event loop in a thread, and a clean stop."""

import asyncio
import logging
import socket
import threading
from contextlib import AsyncExitStack
from datetime import timedelta

import uvicorn
import uvloop
from starlette.types import ASGIApp

from penstock.producers.gateway.access import split_address
from penstock.producers.gateway.app import create_app
from penstock.producers.gateway.connections import bounded_protocol
from penstock.producers.gateway.keys import KeyCheck
from penstock.producers.gateway.refusals import PutAway
from penstock.producers.gateway.services import Services
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.gateway.surround import Observe
from penstock.producers.gateway.wiring import open_services
from penstock.producers.storage.database import Database
from penstock.schemas.errors import Code, InvalidInputError

_log = logging.getLogger(__name__)

#: Answers that are under way may end within this; streams are told to come again.
GRACE = timedelta(seconds=5)
_JOIN = timedelta(seconds=10)
_BACKLOG = 2_048


def listen(address: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the address can't be had.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            f"can't listen on {address}: {error.strerror or type(error).__name__}",
            remedy="Choose another address in PENSTOCK_GATEWAY_LISTEN, or end what listens there.",
        ) from None
    # Connections inherit it. Without, the body of an answer waits some 40 ms for the asker's word on its head.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class GatewayServer:
    """Serves in a thread of its own: the main thread is the one that hears signals.

    Args:
        settings: of this process.
        bound: a socket that listens.
        database: where forms and outcomes are.
        checks: of API keys; None where none are wanted.
        observe: told of each answer, in the event loop.
        refused: has refused uses of keys recorded; called in a thread of its own.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        bound: socket.socket,
        database: Database,
        *,
        checks: KeyCheck | None = None,
        observe: Observe = lambda *_: None,
        refused: PutAway = lambda _: None,
    ) -> None:
        self._settings = settings
        self._bound = bound
        self._database = database
        self._checks = checks
        self._observe = observe
        self._refused = refused
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._services: Services | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-http", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer; returns once it does."""
        self._thread.start()
        while not self._begun.wait(0.1) and self.is_alive:
            pass

    def stop(self) -> None:
        """Take no more requests, let those that are under way end, and have streams say what was accepted."""
        if self._loop is not None and self._server is not None and self._services is not None:
            self._loop.call_soon_threadsafe(self._services.stopping.set)
            self._server.should_exit = True
        self._thread.join(_JOIN.total_seconds())

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            if self._checks is not None:
                await stack.enter_async_context(self._checks)
            self._services = stack.enter_context(
                open_services(self._settings, self._database, self._checks, self._refused)
            )
            self._server = uvicorn.Server(_config(create_app(self._services, self._observe), self._settings))
            self._loop = asyncio.get_running_loop()
            self._begun.set()
            await self._server.serve([self._bound])


def _config(app: ASGIApp, settings: GatewaySettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=bounded_protocol(settings.connections),
        access_log=False,  # the metrics count requests
        log_config=None,
        lifespan="off",
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=settings.proxies or "127.0.0.1",
        server_header=False,
        timeout_graceful_shutdown=int(GRACE.total_seconds()),
        timeout_keep_alive=15,
        ws="none",
    )
