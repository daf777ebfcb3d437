"""The life of a sidecar process: its servers of HTTP, and a clean stop."""

import asyncio
import logging
import socket
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.access.access import Access, new_secret
from penstock.workers.sidecar.access.credentials import Credentials
from penstock.workers.sidecar.access.gatekeeper import hosts_of
from penstock.workers.sidecar.access.sessions import Sessions
from penstock.workers.sidecar.app import create_app, create_probe_app
from penstock.workers.sidecar.connections import PromptProtocol
from penstock.workers.sidecar.listening import listen, require_guarded
from penstock.workers.sidecar.services import Services
from penstock.workers.sidecar.wiring import open_services
from penstock.workers.telemetry.pool import measure_pool
from penstock.workers.telemetry.snapshots import published_metrics
from penstock.workers.termination import Termination

_log = logging.getLogger(__name__)

#: Answers that are under way may end within this; the whole stop takes less than 5 s.
GRACE = timedelta(seconds=2)
_JOIN = timedelta(seconds=3.5)


def run_sidecar(settings: WorkerSettings, credentials_file: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    PostgreSQL and Redis may be away: it starts at once, and shows them when they are there.

    Args:
        settings: of this process.
        credentials_file: where the credentials came from a file: it is read again when it changes.

    Raises:
        InvalidInputError: `CONFIG_INVALID`: an address can't be had, or would be open to others without log-in.
    """
    require_guarded(settings)
    stop = Termination()
    with ExitStack() as stack:
        main = stack.enter_context(listen(settings.sidecar_listen))
        probes = settings.sidecar_probe_listen and stack.enter_context(listen(settings.sidecar_probe_listen))
        stack.enter_context(published_metrics(settings.metrics_folder, "sidecar"))
        services = stack.enter_context(open_services(settings))
        stack.callback(measure_pool(services.pool))
        serving = [(create_app(services, open_access(settings, services, credentials_file)), main)]
        if probes:
            serving.append((create_probe_app(services), probes))
        server = _Serving(serving)
        server.start()
        _log.info("the sidecar is ready: http://%s", settings.sidecar_listen)
        # A server that ends by itself is a fault; a platform starts the process anew.
        while not stop.wait(0.5) and server.is_alive:
            pass
        failed = not stop.event.is_set()
        server.stop()
    _log.info("the sidecar has stopped")
    return 1 if failed else 0


def open_access(settings: WorkerSettings, services: Services, credentials_file: Path | None = None) -> Access:
    """The door, as the settings have it.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where a line of the credentials is none.
    """
    reread = (lambda: credentials_file.read_text(encoding="utf-8")) if credentials_file is not None else None
    return Access(
        Credentials(settings.sidecar_credentials, reread),
        Sessions(settings.sidecar_secret or new_secret()),
        services.audit,
        hosts_of(settings.sidecar_hosts),
    )


class _Serving:
    """uvicorn's servers, in one loop in a thread: the main thread is the one that hears signals."""

    def __init__(self, apps: list[tuple[FastAPI, socket.socket]]) -> None:
        self._servers = [(uvicorn.Server(_config(app)), bound) for app, bound in apps]
        self._thread = threading.Thread(target=self._run, name="penstock-http", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, and let those that are under way end."""
        for server, _ in self._servers:
            server.should_exit = True
        self._thread.join(_JOIN.total_seconds())

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await asyncio.gather(*(server.serve([bound]) for server, bound in self._servers))


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PromptProtocol,
        access_log=False,  # the metrics count requests; an address can hold what somebody searched for
        log_config=None,
        lifespan="off",
        # A proxy's word on who asks would be anybody's word.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(GRACE.total_seconds()),
        timeout_keep_alive=15,
        ws="none",
    )
