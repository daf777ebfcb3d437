"""The loops that keep the tables of posts in order: partitions, posts that were left parked, and what is old."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg

from penstock.producers.storage.posts_parked import release_forgotten
from penstock.schemas.errors import PenstockError, UnavailableError
from penstock.workers.database.transaction import Transactions
from penstock.workers.posts.attempts import drop_old_partitions, ensure_partitions
from penstock.workers.posts.retention import ROUND_ROWS, PostsRetention

_log = logging.getLogger(__name__)

_Step = Callable[[psycopg.Connection[Any]], int]


class PostsUpkeep:
    """Makes and drops partitions of the record of attempts, and lets posts go whose account is active all the same.

    Args:
        transactions: without tries of their own; the loop tries again.
        keep_months: how long attempts are kept; None where another loop drops them, once they are archived.
    """

    name = "posts_upkeep"
    interval = timedelta(minutes=10)
    channel = None

    def __init__(self, transactions: Transactions, keep_months: int | None) -> None:
        self._transactions = transactions
        self._keep_months = keep_months

    def run_once(self) -> bool:
        """Do each in a transaction of its own; one that fails keeps none of the others waiting.

        Raises:
            PenstockError: of the family `STORAGE_`: the first one, at the end; at once where PostgreSQL is away.
        """
        steps: tuple[tuple[int, str, _Step], ...] = (
            (logging.INFO, "made %d partition(s) for attempts to publish", ensure_partitions),
            (logging.INFO, "dropped %d old partition(s) of attempts to publish", self._drop),
            (
                logging.WARNING,
                "%d post(s) were parked, though their accounts are active; they go now",
                release_forgotten,
            ),
        )
        first: PenstockError | None = None
        for level, told, step in steps:
            try:
                self._run(step, level, told)
            except UnavailableError:
                raise
            except PenstockError as error:
                first = first or error
        if first is not None:
            raise first
        return False

    def _run(self, step: _Step, level: int, told: str) -> None:
        number = self._transactions.run(lambda transaction: step(transaction.connection))
        if number:
            _log.log(level, told, number)

    def _drop(self, connection: psycopg.Connection[Any]) -> int:
        return 0 if self._keep_months is None else drop_old_partitions(connection, self._keep_months)


class EndedPostsRetention:
    """Deletes in rounds, so that no transaction is long."""

    name = "posts_retention"
    interval = timedelta(minutes=10)
    channel = None

    def __init__(self, retention: PostsRetention) -> None:
        self._retention = retention

    def run_once(self) -> bool:
        """Delete a round; True where there are more.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        return self._retention.run_round() == ROUND_ROWS
