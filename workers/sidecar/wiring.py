"""Wires the services. Nothing here waits for a server: each is met when it is there."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta

import psycopg
import redis

from penstock.producers.queue.audit import OperatorAction
from penstock.producers.queue.inspection import QueueInspector
from penstock.schemas.errors import PenstockError
from penstock.workers.accounts.overview import AccountList
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.group_filters import GroupFilter
from penstock.workers.dead_letters.groups import Group, GroupStore
from penstock.workers.dead_letters.post_contents import PostContents
from penstock.workers.dead_letters.post_decisions import PostDecisions
from penstock.workers.dead_letters.replay_gates import HoldingGates
from penstock.workers.dead_letters.replay_plan import DryRuns
from penstock.workers.dead_letters.replays import Replays
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.health.attention import Attention, Need
from penstock.workers.health.examination import LIMIT, Health
from penstock.workers.health.sources import Sources
from penstock.workers.health.vitals import ReadVitals
from penstock.workers.posts.calendar import PostCalendar
from penstock.workers.posts.search import PostSearch
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.flags import Flags
from penstock.workers.protection.limits_view import LimitView
from penstock.workers.protection.pauses import Pauses
from penstock.workers.registry import discover_all
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.access.audit import AuditNotes
from penstock.workers.sidecar.autoscale import Autoscale
from penstock.workers.sidecar.known import Known
from penstock.workers.sidecar.postgresql import PostgresProbe, PromptPool, open_prompt_pool
from penstock.workers.sidecar.presence import Presence, Servers, within
from penstock.workers.sidecar.redis_connection import RedisProbe, connect_promptly
from penstock.workers.sidecar.services import Services
from penstock.workers.sidecar.trends import Trends

#: Groups that are named to whoever asks what needs a person.
GROUPS_NAMED = 3
_POOL_CLOSE_SECONDS = 0.5
_GROUPS_FRESH_FOR = timedelta(seconds=5)


@contextmanager
def open_services(settings: WorkerSettings) -> Iterator[Services]:
    """The services within the block.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where a server's URL or a package of actors is not usable.
    """
    with ExitStack() as stack:
        servers = _servers(settings, stack)
        client = stack.enter_context(connect_promptly(settings, servers.redis))
        pool = open_prompt_pool(settings, servers.postgresql)
        stack.callback(pool.close, _POOL_CLOSE_SECONDS)
        # A page says that it did not work sooner than it tries again.
        transactions = Transactions(pool, settings, tries=2, presence=servers.postgresql)
        known = Known()
        stack.callback(known.close)

        def record(actions: Sequence[OperatorAction]) -> None:
            transactions.run(lambda transaction: record_actions(transaction.connection, actions))

        audit = AuditNotes(client, settings.namespace, record)
        audit.start()
        stack.callback(audit.stop)
        groups, letters, posts = GroupStore(pool, transactions), LetterSearch(pool), PostSearch(pool)
        sources = Sources(
            settings,
            lambda: _connection(pool, servers.postgresql),
            client,
            ReadVitals(settings.metrics_folder),
            lambda: within(LIMIT),
            lambda: servers.postgresql.away_since,
            lambda: servers.redis.away_since,
        )
        health = Health(sources)
        stack.callback(health.close)
        # Last, so that whoever waits for a server's return is there.
        servers.start()
        stack.callback(servers.stop)
        yield Services(
            settings=settings,
            pool=pool,
            client=client,
            transactions=transactions,
            known=known,
            servers=servers,
            queues=QueueInspector(client, settings.namespace),
            pauses=Pauses(client, settings.namespace),
            circuits=CircuitControl(client, settings.namespace),
            limits=LimitView(client, settings.namespace),
            flags=Flags(client, settings.namespace),
            audit=audit,
            health=health,
            attention=Attention(health.report, [lambda: _pressing_groups(known, groups)]),
            letters=letters,
            groups=groups,
            decisions=LetterDecisions(transactions),
            replays=Replays(transactions, DryRuns(transactions, letters, _gates(client, settings))),
            posts=posts,
            calendar=PostCalendar(pool),
            post_contents=PostContents(transactions, posts),
            post_decisions=PostDecisions(transactions),
            accounts=AccountList(pool),
            trends=Trends(client, settings.namespace),
            autoscale=Autoscale(client, settings),
        )


def _servers(settings: WorkerSettings, stack: ExitStack) -> Servers:
    of_postgresql, of_redis = PostgresProbe(settings), RedisProbe(settings)
    stack.callback(of_postgresql.close)
    stack.callback(of_redis.close)
    return Servers(Presence("PostgreSQL", of_postgresql), Presence("Redis", of_redis))


def _gates(client: "redis.Redis", settings: WorkerSettings) -> HoldingGates:
    """What would hold a replay. To find the actors makes their kinds known, by which payloads are redacted."""
    limit = (settings.tenant_limit, settings.tenant_window)
    return HoldingGates(client, settings.namespace, discover_all(settings.actors), limit)


def _connection(pool: PromptPool, presence: Presence) -> AbstractContextManager[psycopg.Connection]:
    """A connection; where the server is away, the reason that the probe met, which a pool keeps to itself.

    Raises:
        PenstockError: that reason.
    """
    if presence.is_away and presence.error is not None:
        met = presence.error
        raise type(met)(met.code, met.message, remedy=met.remedy)
    return pool.connection()


def _pressing_groups(known: Known, groups: GroupStore) -> list[Need]:
    """The largest groups of open dead letters that nobody has put off."""

    def ask() -> Sequence[Group]:
        return groups.list(GroupFilter(snoozed=False), limit=GROUPS_NAMED).items

    try:
        found = known.read("pressing groups", ask, fresh_for=_GROUPS_FRESH_FOR)
    except PenstockError:
        # The report says that PostgreSQL is away, and that is what needs somebody.
        return []
    return [
        Need(
            "warning",
            f"{group.open:,} dead letter{'s' if group.open != 1 else ''} of {group.kind} with {group.code}.",
            group.remedy or "See what they died of",
            f"/dead-letters/groups/{group.fingerprint}",
        )
        for group in found.value
    ]
