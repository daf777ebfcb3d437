"""`penstock gateway`."""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from types import ModuleType

import click
import redis

from penstock.producers.gateway.keys import open_key_check
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.queue.audit import OperatorAction
from penstock.producers.queue.connection import connect, redis_errors
from penstock.producers.storage.database import Database
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.environment import environment, worker_settings
from penstock.workers.embedded.gateway_process import INSTALL, missing_libraries
from penstock.workers.protection.keys import gate_keys
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.exporting import exporting_traces
from penstock.workers.telemetry.logging import set_up_logging
from penstock.workers.telemetry.metrics import CACHE_REQUESTS, HTTP_DURATION, HTTP_REQUESTS
from penstock.workers.telemetry.pool import measure_pool
from penstock.workers.telemetry.sentry import telling_sentry
from penstock.workers.telemetry.snapshots import published_metrics
from penstock.workers.termination import Termination

_log = logging.getLogger(__name__)

_APP = "gateway"


@click.command(epilog="Example: PENSTOCK_GATEWAY_LISTEN=127.0.0.1:8081 penstock gateway")
def gateway() -> int:
    """Take in forms, submissions and posts over HTTP, and tell what became of them, until SIGTERM.

    Off loopback it needs API keys: PENSTOCK_API_KEY_SECRET, and penstock keys create.
    """
    server = _server()
    settings, own = worker_settings(), GatewaySettings.from_environment(environment())
    set_up_logging(settings.log_level, settings.log_format, share=settings.log_sample, process=_APP)
    with telling_sentry(settings.sentry_dsn, settings.environment, _APP), exporting_traces(os.environ, _APP):
        return _serve(server, settings, own)


def _serve(server: ModuleType, settings: WorkerSettings, own: GatewaySettings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    PostgreSQL and Redis may be away: it starts at once, and says what is.

    Raises:
        InvalidInputError: `CONFIG_INVALID`: the address can't be had, or would be open to others without keys.
    """
    from penstock.producers.gateway.access import require_guarded  # noqa: PLC0415  its libraries are an extra

    checks = open_key_check(own.database_url, own, observe=_observe_keys)
    require_guarded(own.listen, has_keys=checks is not None)
    stop = Termination()
    with ExitStack() as stack:
        bound = stack.enter_context(server.listen(own.listen))
        stack.enter_context(published_metrics(settings.metrics_folder, _APP))
        audit = stack.enter_context(connect(settings.redis_url, replays=0))
        database = Database(own.database_url, application_name="penstock-gateway", connections=own.pool_max)
        stack.callback(measure_pool(database))
        serving = server.GatewayServer(
            own, bound, database, checks=checks, observe=_observe, refused=_recorder(audit, settings)
        )
        serving.start()
        _log.info("the gateway is ready: http://%s", own.listen)
        # A server that ends by itself is a fault; a platform starts the process anew.
        while not stop.wait(0.5) and serving.is_alive:
            pass
        failed = not stop.event.is_set()
        serving.stop()
    _log.info("the gateway has stopped")
    return 1 if failed else 0


def _server() -> ModuleType:
    """The server's module, whose libraries are an extra of their own.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where they are not installed.
    """
    missing = missing_libraries()
    if missing:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            f"the gateway's libraries are not installed: {', '.join(missing)}",
            remedy=f"Install them: {INSTALL}",
        )
    return import_module("penstock.producers.gateway.server")


def _recorder(client: "redis.Redis", settings: WorkerSettings) -> Callable[[Sequence[OperatorAction]], None]:
    """Puts actions where schedulers take them to be recorded for ever."""
    key = gate_keys(settings.namespace).key("audit")

    def record(actions: Sequence[OperatorAction]) -> None:
        with redis_errors("noting who was refused"):
            client.rpush(key, *(action.encode() for action in actions))

    return record


def _observe(method: str, route: str, status: int, seconds: float) -> None:
    HTTP_REQUESTS.labels(_APP, method, route, str(status)).inc()
    HTTP_DURATION.labels(_APP, method, route).observe(seconds)


def _observe_keys(result: str) -> None:
    CACHE_REQUESTS.labels("api_keys", result).inc()
