"""What commands about posts and accounts work with: PostgreSQL by transactions of their own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg_pool import ConnectionPool

from penstock.workers.cli.environment import open_database, worker_settings
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.settings import WorkerSettings

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Store:
    """The parts of one command. `tenant` is the one that it is about."""

    settings: WorkerSettings
    tenant: str
    pool: "ConnectionPool[psycopg.Connection]"
    transactions: Transactions

    def read(self, work: Callable[[psycopg.Connection[Any]], _T]) -> _T:
        """What `work` reads, in a transaction.

        Raises:
            PenstockError: of the family `STORAGE_`, or what `work` raises.
        """
        return self.transactions.run(lambda transaction: work(transaction.connection))


@contextmanager
def open_store(tenant: str | None) -> Iterator[Store]:
    """The parts within the block; the tenant is the settings' unless the command names one.

    Raises:
        InvalidInputError: `CONFIG_INVALID`.
        PenstockError: of the family `STORAGE_` where PostgreSQL does not answer.
    """
    settings = worker_settings()
    with open_database(settings.database_url):
        # Sooner and plainer than a pool, which goes on trying.
        pass
    modest = settings.model_copy(update={"pool_min": 1, "pool_max": 2})
    with open_pool(modest, "penstock-cli") as pool:
        yield Store(settings, tenant or settings.tenant, pool, Transactions(pool, settings))
