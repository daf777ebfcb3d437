"""The composition root: the only place that wires everything together, and the life of a worker process."""

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

import dramatiq
import psycopg
from psycopg_pool import ConnectionPool

import penstock.workers.actors
from penstock.migrations.runner import require_current
from penstock.producers.queue.connection import connect, redis_errors
from penstock.producers.queue.records import JobRecords
from penstock.producers.storage.forms import StoredForm, find_form, recent_forms
from penstock.schemas.errors import PenstockError, UnavailableError
from penstock.workers.broker.stock import build_broker
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.partitions import Partitions
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.execution import Execution
from penstock.workers.forms.cache import FormCache
from penstock.workers.forms.listener import FormListener
from penstock.workers.middleware import middleware
from penstock.workers.registry import Registration, Resources, discover
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.pool import measure_pool

_log = logging.getLogger(__name__)

#: How often a worker sees to the partitions of the months ahead.
UPKEEP_EVERY = timedelta(hours=6)
#: A start meets servers that are starting too: it waits this long between two tries.
START_RETRY_EVERY = timedelta(seconds=2)
#: Jobs that are fetched ahead for each thread; a killed worker's go to another within seconds.
PREFETCH_PER_THREAD = 4
#: Forms that are compiled before the first job asks for them.
WARM_FORMS = 50


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker process consists of."""

    settings: WorkerSettings
    pool: "ConnectionPool[psycopg.Connection]"
    forms: FormCache
    partitions: Partitions
    execution: Execution


def assemble(settings: WorkerSettings, pool: "ConnectionPool[psycopg.Connection]") -> Parts:
    """Wire the parts around a pool; nothing connects yet."""
    transactions = Transactions(pool, settings)
    # A form is read within a delivery's tries: tries of its own would multiply them while PostgreSQL is away.
    reads = Transactions(pool, settings, tries=1)

    def load(tenant: str, form_id: str, version: int | None) -> StoredForm | None:
        return reads.run(lambda transaction: find_form(transaction.connection, tenant, form_id, version))

    forms = FormCache(
        load,
        versions=settings.form_cache_versions,
        trust=timedelta(seconds=settings.form_cache_seconds),
        enabled=settings.form_cache == "on",
    )
    partitions = Partitions(pool)
    resources = Resources(settings, forms, partitions)
    registrations: Mapping[str, Registration] = discover(penstock.workers.actors)
    execution = Execution(
        {kind: registration.build(resources) for kind, registration in registrations.items()},
        registrations,
        transactions,
        settings.message_bytes_limit,
    )
    return Parts(settings, pool, forms, partitions, execution)


def run_worker(settings: WorkerSettings) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code.

    Servers that are not there yet are waited for, so that a pod need not crash while they start.

    Raises:
        PenstockError: where the database's schema is not the one that this release needs, or a server refuses us.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _setter(stop))
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(settings, "penstock-worker"))
        stack.callback(measure_pool(pool))
        parts = assemble(settings, pool)
        client = stack.enter_context(connect(settings.redis_url))
        if not _wait_for_servers(parts, client.ping, stop):
            return 0
        _warm(parts)
        listener = FormListener(parts.forms, settings)
        if settings.form_cache == "on":
            listener.start()
            stack.callback(listener.stop)
        upkeep = threading.Thread(target=_upkeep, args=(parts.partitions, stop), name="penstock-upkeep", daemon=True)
        upkeep.start()
        records = JobRecords(client, settings.namespace)
        broker = build_broker(client, settings.namespace, parts.execution, middleware(records))
        worker = dramatiq.Worker(broker, worker_threads=settings.threads)
        # Its own default is two jobs a thread, and its consumer sleeps while that many are taken: threads then starve.
        worker.queue_prefetch = PREFETCH_PER_THREAD * settings.threads
        worker.start()
        _log.info(
            "the worker is ready: %d threads, kinds %s", settings.threads, ", ".join(parts.execution.registrations)
        )
        stop.wait()
        _log.info("stopping: running jobs may finish for %s", settings.shutdown_grace)
        with redis_errors("giving jobs back"):
            worker.stop(timeout=settings.shutdown_grace // timedelta(milliseconds=1))
    _log.info("the worker has stopped")
    return 0


def _setter(event: threading.Event) -> Callable[[int, FrameType | None], None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        event.set()

    return handle


def _wait_for_servers(parts: Parts, ping: Callable[[], object], stop: threading.Event) -> bool:
    """Wait until both servers answer; False where a stop came first."""
    while not stop.is_set():
        try:
            with redis_errors("starting"):
                ping()
            with storage_errors(), parts.pool.connection() as connection:
                require_current(connection)
            parts.partitions.ensure_ahead()
        except UnavailableError as error:
            _log.warning("%s; trying again", error.message, extra={"code": error.code})
            stop.wait(START_RETRY_EVERY.total_seconds())
        else:
            return True
    return False


def _warm(parts: Parts) -> None:
    if parts.settings.form_cache == "off":
        return
    with storage_errors(), parts.pool.connection() as connection:
        stored = recent_forms(connection, min(WARM_FORMS, parts.settings.form_cache_versions))
    for form in reversed(stored):
        parts.forms.put(form)


def _upkeep(partitions: Partitions, stop: threading.Event) -> None:
    while not stop.wait(UPKEEP_EVERY.total_seconds()):
        try:
            partitions.ensure_ahead()
        except PenstockError as error:
            _log.warning("making partitions failed: %s", error.message, extra={"code": error.code})
