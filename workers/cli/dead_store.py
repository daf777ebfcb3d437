"""What the commands of dead letters work with: PostgreSQL, and Redis where gates are asked."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from penstock.producers.queue.connection import connect
from penstock.workers.cli.environment import open_database, worker_settings
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.groups import GroupStore
from penstock.workers.dead_letters.payloads import Payloads
from penstock.workers.dead_letters.replay_gates import HoldingGates
from penstock.workers.dead_letters.replay_plan import DryRuns
from penstock.workers.dead_letters.replays import Replays
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.registry import discover_all
from penstock.workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The parts of one command."""

    settings: WorkerSettings
    transactions: Transactions
    search: LetterSearch
    groups: GroupStore
    decisions: LetterDecisions
    payloads: Payloads
    replays: Replays


@contextmanager
def open_dead_letters() -> Iterator[DeadLetters]:
    """The parts within the block.

    Raises:
        InvalidInputError: `CONFIG_INVALID`.
        PenstockError: of the family `STORAGE_` where PostgreSQL does not answer.
    """
    settings = worker_settings()
    with open_database(settings.database_url):
        # Sooner and plainer than a pool, which goes on trying.
        pass
    with ExitStack() as stack:
        modest = settings.model_copy(update={"pool_min": 1, "pool_max": 2})
        pool = stack.enter_context(open_pool(modest, "penstock-cli"))
        client = stack.enter_context(connect(settings.redis_url))
        transactions, search = Transactions(pool, settings), LetterSearch(pool)
        limit = (settings.tenant_limit, settings.tenant_window)
        # Its actors make their kinds known too, by which payloads are read and brought up to date.
        gates = HoldingGates(client, settings.namespace, discover_all(settings.actors), limit)
        yield DeadLetters(
            settings=settings,
            transactions=transactions,
            search=search,
            groups=GroupStore(pool, transactions),
            decisions=LetterDecisions(transactions),
            payloads=Payloads(transactions, search),
            replays=Replays(transactions, DryRuns(transactions, search, gates)),
        )
