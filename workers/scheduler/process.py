"""The life of a scheduler process: what its loops are wired from, the wait for servers, and a clean stop."""

import logging
import os
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import psycopg
import redis
from psycopg_pool import ConnectionPool

from penstock.migrations.runner import require_current
from penstock.producers.queue.connection import connect, redis_errors
from penstock.producers.queue.enqueueing import Enqueuer
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobRecords
from penstock.producers.queue.safety import require_safe
from penstock.producers.queue.scripts import require_layout
from penstock.schemas.errors import PenstockError
from penstock.schemas.names import Queue
from penstock.workers.accounts.exchanges import Exchanges
from penstock.workers.accounts.refresh import TokenRefresh
from penstock.workers.accounts.token_keys import TokenKeys
from penstock.workers.broker.leases import Leases, new_boot_id
from penstock.workers.compliance.archiving import WithoutErased
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.partitions import Partitions
from penstock.workers.database.pool import open_pool, require_answer
from penstock.workers.database.readiness import StartWaits
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.archive import Archive
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.replay_engine import ReplayEngine
from penstock.workers.dead_letters.resubmitted import Resubmitted
from penstock.workers.platforms.endpoints import Endpoints, Patience
from penstock.workers.platforms.http import PlatformHttp
from penstock.workers.platforms.tokens import TokenRefresh as PlatformTokens
from penstock.workers.posts.retention import PostsRetention
from penstock.workers.scheduler.audit_trail import AuditTrail
from penstock.workers.scheduler.counting import QueueCounting
from penstock.workers.scheduler.dead_archive import DeadArchive
from penstock.workers.scheduler.dead_outcomes import DeadOutcomes
from penstock.workers.scheduler.dead_replays import DeadReplays
from penstock.workers.scheduler.dead_retention import DeadRetention
from penstock.workers.scheduler.due_posts import DuePosts
from penstock.workers.scheduler.kinds import known_kinds
from penstock.workers.scheduler.loop import Loop
from penstock.workers.scheduler.offering import Keep, Offering
from penstock.workers.scheduler.post_trends import PostTrends
from penstock.workers.scheduler.posts_upkeep import EndedPostsRetention, PostsUpkeep
from penstock.workers.scheduler.queue_ticks import QueueTicks
from penstock.workers.scheduler.relay import Relay
from penstock.workers.scheduler.retention import retention_loops
from penstock.workers.scheduler.runner import Runner
from penstock.workers.scheduler.signs import SchedulerSigns
from penstock.workers.scheduler.stuck_posts import StuckPosts
from penstock.workers.scheduler.sweep import Sweep
from penstock.workers.scheduler.token_refreshes import TokenRefreshes
from penstock.workers.scheduler.trends import TrendPoints
from penstock.workers.scheduler.upkeep import PartitionUpkeep
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.pool import measure_pool
from penstock.workers.telemetry.snapshots import published_metrics
from penstock.workers.termination import Termination

_log = logging.getLogger(__name__)

#: A call for new tokens takes no longer: two of them are over well before the account's lease is.
TOKEN_CALL = timedelta(seconds=20)
#: A stop does not wait long for a pool whose connections may all hang.
POOL_CLOSE_SECONDS = 0.5

Pool = ConnectionPool[psycopg.Connection]


def run_scheduler(settings: WorkerSettings) -> int:
    """Run a scheduler until SIGTERM or SIGINT; returns the exit code.

    Any number may run at once. Servers that are not there yet are waited for; so is, for `schema_wait_seconds`, a
    schema that is not migrated yet.

    Raises:
        PenstockError: where the database's schema stays older than this release needs, a queue's layout is later than
            it knows, Redis may drop jobs, or a server refuses us.
    """
    stop = Termination()
    # Enough for the loops that are at work at once, and none that only stands by.
    modest = settings.model_copy(update={"pool_min": 1, "pool_max": 10})
    with ExitStack() as stack:
        stack.enter_context(published_metrics(settings.metrics_folder, "scheduler"))
        pool = open_pool(modest, "penstock-scheduler")
        stack.callback(pool.close, POOL_CLOSE_SECONDS)
        stack.callback(measure_pool(pool))
        client = stack.enter_context(connect(settings.redis_url))
        if not _wait_for_servers(settings, pool, client, stop):
            return 0
        loops = build_loops(settings, pool, client)
        loops += build_post_loops(settings, pool, client, stack)
        loops.append(SchedulerSigns(client, settings.namespace, new_boot_id(), loops))
        runner = Runner(loops, settings.database_url)
        runner.start()
        _log.info("the scheduler is ready: loops %s", ", ".join(loop.name for loop in loops))
        stop.wait()
        runner.stop()
    _log.info("the scheduler has stopped")
    return 0


def build_loops(settings: WorkerSettings, pool: Pool, client: redis.Redis) -> list[Loop]:
    """Wire the loops; nothing connects yet.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where PENSTOCK_ACTORS names what can't be imported.
    """
    # A loop tries again by itself, later each time.
    transactions = Transactions(pool, settings, tries=1)
    keep = Keep(timedelta(seconds=settings.idempotency_seconds), timedelta(seconds=settings.record_seconds))
    enqueuer = Enqueuer(
        client,
        settings.namespace,
        replica_acks=settings.replica_acks,
        replica_ack_wait=timedelta(seconds=settings.replica_ack_seconds),
    )
    offering = Offering(enqueuer, known_kinds(settings.actors), keep)
    records = JobRecords(client, settings.namespace)
    lease = timedelta(seconds=settings.lease_seconds)
    leases = Leases(client, settings.namespace, new_boot_id(), lease, settings.poison_limit)
    return [
        Relay(transactions, offering, timedelta(seconds=settings.unknown_kind_offer_seconds)),
        Sweep(transactions, offering, records, timedelta(seconds=settings.outbox_sweep_seconds)),
        AuditTrail(client, settings.namespace, transactions),
        DeadArchive(Archive(client, settings.namespace, transactions, clean=WithoutErased(settings.token_keys))),
        DeadOutcomes(transactions, records, Resubmitted(client, settings.namespace, transactions)),
        DeadReplays(ReplayEngine(transactions, LetterDecisions(transactions), settings.replay_canary_wait)),
        DeadRetention(transactions, timedelta(days=settings.dead_retention_days)),
        QueueTicks(leases),
        QueueCounting(client, settings.namespace),
        TrendPoints(client, settings.namespace),
        PostTrends(pool, client, settings.namespace),
        PartitionUpkeep(Partitions(pool)),
        *retention_loops(settings, pool, transactions),
    ]


def build_post_loops(settings: WorkerSettings, pool: Pool, client: redis.Redis, stack: ExitStack) -> list[Loop]:
    """Wire the loops for posts and accounts; `stack` closes what they hold open.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where PENSTOCK_TOKEN_KEYS are no keys.
    """
    transactions = Transactions(pool, settings, tries=1)
    records = JobRecords(client, settings.namespace)
    loops: list[Loop] = [
        DuePosts(transactions, settings.post_lead),
        StuckPosts(transactions, records, timedelta(seconds=settings.post_stuck_seconds)),
        # With a folder for archives, the loop `archives` drops attempts once they are archived.
        PostsUpkeep(transactions, settings.publish_attempts_months if settings.archive_dir is None else None),
    ]
    if settings.posts_retention_days:
        # A post is its own idempotency record, so it is kept as long as a key is known.
        keep = max(timedelta(days=settings.posts_retention_days), timedelta(seconds=settings.idempotency_seconds))
        loops.append(EndedPostsRetention(PostsRetention(transactions, keep)))
    if settings.token_keys is None:
        _log.info("without PENSTOCK_TOKEN_KEYS this scheduler refreshes no accounts' tokens")
        return loops
    http = PlatformHttp(_patience_with_tokens(Endpoints.of(settings).patience))
    stack.callback(http.close)
    platforms = PlatformTokens(Endpoints.of(settings), settings, http)
    keys = TokenKeys.from_setting(settings.token_keys)
    holder = f"scheduler {os.uname().nodename} {os.getpid()}"
    refresh = TokenRefresh(transactions, keys, Exchanges(platforms).by_platform(), holder)
    return [*loops, TokenRefreshes(refresh)]


def _patience_with_tokens(patience: Patience) -> Patience:
    return replace(patience, read=min(patience.read, TOKEN_CALL), whole=min(patience.whole, TOKEN_CALL))


def _wait_for_servers(settings: WorkerSettings, pool: Pool, client: redis.Redis, stop: Termination) -> bool:
    """Wait until both servers answer and the schema is there; False where a stop came first."""
    waits = StartWaits(timedelta(seconds=settings.schema_wait_seconds))
    while not stop.wait(0):
        try:
            with redis_errors("starting"):
                require_safe(client, settings.redis_check)
                for queue in Queue:
                    require_layout(client, QueueKeys(settings.namespace, queue))
            with storage_errors():
                require_answer(settings, "penstock-scheduler")
                with pool.connection() as connection:
                    require_current(connection)
        except PenstockError as error:
            pause, told = waits.pause_after(error)
            _log.warning("%s", told, extra={"code": error.code})
            stop.wait(pause.total_seconds())
        else:
            return True
    return False
