"""The composition root: the only place that wires everything together, and the life of a worker process."""

import faulthandler
import logging
import os
import platform
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version

import dramatiq
import psycopg
from psycopg_pool import ConnectionPool

from penstock.migrations.runner import require_current
from penstock.producers.queue.connection import connect, redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.safety import require_safe
from penstock.producers.queue.scripts import require_layout
from penstock.producers.storage.forms import StoredForm, find_form, recent_forms
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.broker.actors import declare_actors, known_kinds
from penstock.workers.broker.broker import LeasePolicy, PenstockBroker
from penstock.workers.broker.consumer import UnknownKinds
from penstock.workers.broker.dependencies import Dependency
from penstock.workers.broker.gating import GateCopies, Gatekeeper, gate_copies
from penstock.workers.broker.leases import LONGEST_WAIT
from penstock.workers.broker.pace import PREFETCH_PER_THREAD
from penstock.workers.broker.performing import Performer
from penstock.workers.broker.stopping import stop_worker
from penstock.workers.broker.time_limits import TimeLimits
from penstock.workers.database.beginnings import Beginnings
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.partitions import Partitions
from penstock.workers.database.pool import open_pool, require_answer
from penstock.workers.database.presence import StorageProber
from penstock.workers.database.readiness import StartWaits
from penstock.workers.database.transaction import Transactions
from penstock.workers.execution import Execution
from penstock.workers.forms.cache import FormCache
from penstock.workers.forms.listener import FormListener
from penstock.workers.middleware import middleware
from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.circuits_listening import AuditListener
from penstock.workers.protection.connection import connect_gates
from penstock.workers.protection.flags import Flags
from penstock.workers.protection.gates import Gates
from penstock.workers.protection.limits import RateLimits
from penstock.workers.registry import Registration, Resources, discover_all
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.pool import measure_pool
from penstock.workers.telemetry.queries import timed_query
from penstock.workers.telemetry.snapshots import published_metrics
from penstock.workers.termination import Termination

_log = logging.getLogger(__name__)

#: How often a worker sees to the partitions of the months ahead.
UPKEEP_EVERY = timedelta(hours=6)
#: What a worker ends with that gave back jobs which it had started.
UNFINISHED = 3
#: What a worker ends with that hangs in code which no interrupt reaches.
HUNG = 70
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
    storage: Dependency
    flags: Flags


def assemble(settings: WorkerSettings, pool: "ConnectionPool[psycopg.Connection]") -> Parts:
    """Wire the parts around a pool; nothing connects yet."""
    beginnings = Beginnings()
    storage = Dependency("storage", StorageProber(settings.database_url), renew=pool.check, cut=beginnings.cut)
    transactions = Transactions(pool, settings, presence=storage, beginnings=beginnings)
    # A form is read within a delivery's tries: tries of its own would multiply them while PostgreSQL is away.
    reads = Transactions(pool, settings, tries=1, presence=storage, beginnings=beginnings)

    def load(tenant: str, form_id: str, version: int | None) -> StoredForm | None:
        with timed_query("select", "forms"):
            return reads.run(lambda transaction: find_form(transaction.connection, tenant, form_id, version))

    forms = FormCache(
        load,
        versions=settings.form_cache_versions,
        trust=timedelta(seconds=settings.form_cache_seconds),
        enabled=settings.form_cache == "on",
    )
    partitions = Partitions(pool)
    flags = Flags(connect_gates(settings.redis_url), settings.namespace)
    gates_client = connect_gates(settings.redis_url)
    resources = Resources(
        settings,
        forms,
        partitions,
        flags,
        transactions,
        Circuits(gates_client, settings.namespace, settings, [AuditListener(gates_client, settings.namespace)]),
        RateLimits(gates_client, settings.namespace),
        worker=f"{platform.node()}/{os.getpid()}",
        release=version("penstock"),
    )
    registrations: Mapping[str, Registration] = discover_all(settings.actors)
    execution = Execution(
        {kind: registration.build(resources) for kind, registration in registrations.items()},
        registrations,
        transactions,
        settings.message_bytes_limit,
    )
    return Parts(settings, pool, forms, partitions, execution, storage, flags)


def run_worker(settings: WorkerSettings) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code: 0, or 3 where started jobs were given back.

    Servers that are not there yet are waited for, so that a pod need not crash while they start; so is, for
    `schema_wait_seconds`, a schema that is not migrated yet.

    Raises:
        PenstockError: where the database's schema stays older than this release needs, a queue's layout is later than
            it knows, Redis may drop jobs, or a server refuses us.
    """
    stop = Termination()
    with ExitStack() as stack:
        stack.enter_context(published_metrics(settings.metrics_folder, "worker"))
        pool = stack.enter_context(open_pool(settings, "penstock-worker"))
        stack.callback(measure_pool(pool))
        parts = assemble(settings, pool)
        limits = TimeLimits(_end_hung_process)
        gates_client = stack.enter_context(connect_gates(settings.redis_url))
        copies = gate_copies(gates_client, settings.namespace)
        gates = Gates(gates_client, settings.namespace, copies.pauses, copies.overrides, settings.gates_when_redis_down)
        broker = build_broker(settings, parts, limits, gates, copies)
        stack.callback(broker.close)
        if not _wait_for_servers(parts, broker, stop):
            return 0
        for copy in (copies, parts.flags):
            copy.start()
            stack.callback(copy.stop)
        _warm(parts)
        listener = FormListener(parts.forms, settings)
        if settings.form_cache == "on":
            listener.start()
            stack.callback(listener.stop)
        upkeep = threading.Thread(
            target=_upkeep, args=(parts.partitions, stop.event), name="penstock-upkeep", daemon=True
        )
        upkeep.start()
        limits.start()
        stack.callback(limits.stop)
        worker = dramatiq.Worker(
            broker,
            queues=set(served_queues(settings, broker)),
            worker_threads=settings.threads,
            # An idle consumer is woken when there is something to do; until then it may sleep this long.
            worker_timeout=LONGEST_WAIT // timedelta(milliseconds=1),
        )
        worker.queue_prefetch = PREFETCH_PER_THREAD * settings.threads
        worker.start()
        _log.info(
            "the worker is ready: %d threads, kinds %s", settings.threads, ", ".join(parts.execution.registrations)
        )
        stop.wait()
        _log.info("stopping: running jobs may finish for %s", settings.shutdown_grace)
        unfinished = stop_worker(worker, broker, limits, settings.shutdown_grace)
    _log.info("the worker has stopped")
    return UNFINISHED if unfinished else 0


def build_broker(
    settings: WorkerSettings, parts: Parts, limits: TimeLimits, gates: Gates, copies: GateCopies
) -> PenstockBroker:
    """Make the broker of a worker process, with an actor for each registered kind; nothing connects yet."""
    kinds = known_kinds(parts.execution.registrations)
    policy = LeasePolicy(
        lease=timedelta(seconds=settings.lease_seconds),
        poison_limit=settings.poison_limit,
        unknown_kinds=UnknownKinds(
            timedelta(seconds=settings.unknown_kind_offer_seconds),
            timedelta(seconds=settings.unknown_kind_limit_seconds),
        ),
        watchdog=True,
    )
    broker = PenstockBroker(
        # Each step is tried again by whoever takes it, so that the tries don't multiply.
        client=connect(settings.redis_url, replays=0),
        waiting=connect(settings.redis_url, replays=0),
        namespace=settings.namespace,
        middleware=middleware(),
        policy=policy,
        kinds=kinds,
    )
    broker.storage = parts.storage

    def changed() -> None:
        copies.refresh()
        parts.flags.refresh()

    broker.changed = changed
    broker.is_resumed = copies.pauses.is_resumed
    registrations = parts.execution.registrations
    keeper = Gatekeeper(gates, registrations, (settings.tenant_limit, settings.tenant_window))
    declare_actors(broker, registrations, Performer(parts.execution, broker, limits, keeper.admit))
    return broker


def served_queues(settings: WorkerSettings, broker: PenstockBroker) -> list[str]:
    """The queues that a worker serves: those of its kinds, or those of them that a setting names.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where it names one that no kind here goes to.
    """
    declared = broker.get_declared_queues()
    wanted = {name.strip() for name in settings.queues.split(",")} - {""}
    if wanted - declared:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            f"PENSTOCK_QUEUES: no job kind of this worker goes to {', '.join(sorted(wanted - declared))};"
            f" its queues are {', '.join(sorted(declared))}",
        )
    return sorted(wanted or declared)


def _end_hung_process() -> None:
    """End the process: its platform starts another one, and its jobs are recovered."""
    _log.critical("a delivery hangs in code that no interrupt reaches; this process ends itself")
    faulthandler.dump_traceback()
    logging.shutdown()
    os._exit(HUNG)


def _wait_for_servers(parts: Parts, broker: PenstockBroker, stop: Termination) -> bool:
    """Wait until both servers answer and the schema is there; False where a stop came first."""
    waits = StartWaits(timedelta(seconds=parts.settings.schema_wait_seconds))
    while not stop.wait(0):
        try:
            with redis_errors("starting"):
                require_safe(broker.client, parts.settings.redis_check)
                for queue in served_queues(parts.settings, broker):
                    require_layout(broker.client, QueueKeys(parts.settings.namespace, queue))
            with storage_errors():
                require_answer(parts.settings, "penstock-worker")
                with parts.pool.connection() as connection:
                    require_current(connection)
            parts.partitions.ensure_ahead()
        except PenstockError as error:
            pause, told = waits.pause_after(error)
            _log.warning("%s", told, extra={"code": error.code})
            stop.wait(pause.total_seconds())
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
