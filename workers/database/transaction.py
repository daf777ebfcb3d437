"""The only place that begins and commits a transaction."""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

import psycopg
import tenacity
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.workers.database.beginnings import Beginnings
from penstock.workers.database.failures import decide_ours, decide_storage, is_stale_plan, storage_error
from penstock.workers.database.presence import Presence
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.queries import timed_query
from penstock.workers.telemetry.traces import TransactionSpan

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: Tries of one transaction that loses against another one, or whose connection is lost.
TRIES = 3
FIRST_WAIT = timedelta(milliseconds=200)
#: The first release that can bound a whole transaction.
_HAS_TRANSACTION_TIMEOUT = 170_000


class Transaction:
    """A transaction that begins when it is first used, so that preparing holds no connection and no lock."""

    def __init__(
        self,
        pool: "ConnectionPool[psycopg.Connection]",
        begin: Callable[[psycopg.Connection], None],
        span: TransactionSpan | None = None,
    ) -> None:
        self._pool = pool
        self._begin = begin
        self._span = span or TransactionSpan()
        self._connection: psycopg.Connection | None = None
        self._after_commit: list[Callable[[], None]] = []

    @property
    def connection(self) -> psycopg.Connection:
        """The connection, within the transaction. Whoever uses it must not commit or roll back."""
        if self._connection is None:
            self._span.begin()
            self._connection = self._pool.getconn()
            self._begin(self._connection)
        return self._connection

    def after_commit(self, action: Callable[[], None]) -> None:
        """Have `action` run once, when the transaction has committed; never if it does not."""
        self._after_commit.append(action)

    def commit(self) -> None:
        """Commit. For `Transactions` alone.

        Raises:
            RuntimeError: where the work went on after a statement had failed, or ended the transaction itself.
        """
        if self._connection is None:
            return
        status = self._connection.info.transaction_status
        if status in (TransactionStatus.INERROR, TransactionStatus.IDLE):
            # PostgreSQL would answer this COMMIT with ROLLBACK or a mere warning, and the work would pass for done.
            raise RuntimeError(f"the work left its transaction {status.name}")
        with timed_query("commit", ""):
            self._connection.execute("COMMIT")

    def tell_committed(self) -> None:
        """Run what waited for the commit; an action that fails is logged. For `Transactions` alone.

        The effect is there, so no failure may pass for one of the transaction: it would be run or retried again.
        """
        for action in self._after_commit:
            try:
                action()
            except Exception:
                _log.exception("an action after a commit failed; what was committed stands")

    def discard(self) -> None:
        """Close the connection, so that nobody gets it again. For `Transactions` alone."""
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """Give the connection back; an open transaction is rolled back. For `Transactions` alone."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            # The pool rolls back what is open, and drops a broken connection.
            self._pool.putconn(connection)


class Transactions:
    """Runs work in transactions, the whole work again where that helps.

    Args:
        sleep: waits between two tries.
        tries: of one transaction at the most.
        presence: knows whether PostgreSQL is away, and hears of what means that it may be.
        beginnings: notes who waits for a transaction to begin.
    """

    def __init__(
        self,
        pool: "ConnectionPool[psycopg.Connection]",
        settings: WorkerSettings,
        sleep: Callable[[float], None] = tenacity.nap.sleep,
        tries: int = TRIES,
        presence: Presence | None = None,
        beginnings: Beginnings | None = None,
    ) -> None:
        self._tries = tries
        self._presence = presence
        self._checking = threading.Lock()
        self._beginnings = beginnings if beginnings is not None else Beginnings()
        self._pool = pool
        limits = {
            # Before PostgreSQL 17 nothing else bounds a transaction that is at work.
            "statement_timeout": min(settings.statement_seconds, settings.transaction_seconds),
            "lock_timeout": settings.lock_seconds,
            "idle_in_transaction_session_timeout": settings.transaction_seconds,
        }
        # One round trip, and SET LOCAL rather than SET: nothing may outlive the transaction behind PgBouncer.
        self._begin_sql = _begin_sql(limits)
        self._begin_sql_17 = _begin_sql(limits | {"transaction_timeout": settings.transaction_seconds})
        self._sleep = sleep

    def run(self, work: Callable[[Transaction], _T]) -> _T:
        """Run `work` in one transaction and commit it.

        Where the transaction loses against another one or its connection breaks, all of `work` runs again: up to
        3 tries, waiting 200 ms and 400 ms, give or take. Which failures those are is the table's to say
        (`protection.decisions`). While PostgreSQL is known to be away nothing is tried. `work` must therefore be safe
        to repeat; a commit whose answer was lost is one of those cases, and the ledger is what makes it safe.

        Raises:
            PenstockError: of the `STORAGE_` family, when no try succeeded; nothing is committed then, unless the
                answer to the last COMMIT was lost.
            RuntimeError: where `work` swallowed the failure of a statement, or ended the transaction itself.
        """
        wait = tenacity.wait_exponential(multiplier=FIRST_WAIT.total_seconds()) + tenacity.wait_random(0, 0.1)
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._tries),
            wait=wait,
            retry=tenacity.retry_if_exception(self._is_worth_repeating),
            sleep=self._sleep,
            reraise=True,
        ):
            with attempt:
                return self._once(work)
        raise AssertionError("tenacity returns or raises")

    def _once(self, work: Callable[[Transaction], _T]) -> _T:
        if self._is_away():
            raise UnavailableError(Code.STORAGE_UNAVAILABLE, "PostgreSQL is away; its return is awaited")
        with TransactionSpan() as span:
            return self._try(work, Transaction(self._pool, self._begin, span))

    def _try(self, work: Callable[[Transaction], _T], transaction: Transaction) -> _T:
        try:
            result = work(transaction)
            transaction.commit()
        except psycopg.OperationalError as error:
            transaction.close()
            self._drop_stale(error)
            raise storage_error(error) from error
        except psycopg.Error as error:
            if is_stale_plan(error) or isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                # The next one may lead to the server that took over.
                transaction.discard()
            self._doubt(error)
            raise storage_error(error) from error
        except PenstockError as error:
            # Work also reads through connections of the pool other than the transaction's.
            if isinstance(error.__cause__, psycopg.OperationalError):
                transaction.close()
                self._drop_stale(error.__cause__)
            raise
        finally:
            transaction.close()
        transaction.tell_committed()
        return result

    def _begin(self, connection: psycopg.Connection) -> None:
        is_17 = connection.info.server_version >= _HAS_TRANSACTION_TIMEOUT
        with self._beginnings.beginning(connection):
            connection.execute(self._begin_sql_17 if is_17 else self._begin_sql, prepare=False)

    def _drop_stale(self, error: psycopg.OperationalError) -> None:
        if isinstance(error, PoolTimeout):
            return  # all are in use, or none can be made: that says nothing of the idle ones
        self._doubt(error)
        if self._presence is not None or (error.sqlstate is not None and not error.sqlstate.startswith("57P")):
            return  # whoever asks has the pool checked, once the server has answered
        # One connection was cut, so its idle siblings probably were too. One look at them is enough for all who fail.
        if self._checking.acquire(blocking=False):
            try:
                _log.warning("PostgreSQL cut a connection; checking the pool's others")
                self._pool.check()
            finally:
                self._checking.release()

    def _doubt(self, error: psycopg.Error) -> None:
        if self._presence is not None and decide_storage(error).doubts:
            self._presence.doubt()

    def _is_away(self) -> bool:
        return self._presence is not None and self._presence.is_away

    def _is_worth_repeating(self, error: BaseException) -> bool:
        """Whether the table says so; the queue waits better than a thread does for anything else."""
        decision = decide_ours(error)
        return decision is not None and decision.at_once and not self._is_away()


def _begin_sql(limits: Mapping[str, float]) -> bytes:
    """A BEGIN with time limits, in seconds."""
    return "; ".join(["BEGIN", *(f"SET LOCAL {name} = {int(limit * 1000)}" for name, limit in limits.items())]).encode()
