"""Transactions: the whole work again where that helps, once where it succeeds, and nothing where it does not."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import pq

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.database.failures import StorageConflictError
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import TRIES, Transaction, Transactions
from penstock.workers.settings import WorkerSettings
from tests.system import Database
from tests.workers.database.conftest import Pool

ADD = "UPDATE public.counters SET value = value + 1 WHERE name = %s"
COUNTERS = "SELECT name, value FROM public.counters ORDER BY name"


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def transactions(pool: Pool, settings: WorkerSettings, waits: list[float]) -> Transactions:
    """Notes its waits instead of waiting."""
    return Transactions(pool, settings, sleep=waits.append)


def add(transaction: Transaction, name: str) -> None:
    transaction.connection.execute(ADD, (name,))


def pid_of(transaction: Transaction) -> int:
    return transaction.connection.info.backend_pid


def terminate(database: Database, *pids: int) -> None:
    """End backends, and wait until they are gone."""
    for pid in pids:
        assert database.value("SELECT pg_terminate_backend(%s, 5000)", pid)


class Tries:
    """Work that counts how often it ran."""

    def __init__(self, work: Callable[[Transaction, int], Any]) -> None:
        self._work = work
        self.count = 0

    def __call__(self, transaction: Transaction) -> Any:
        self.count += 1
        return self._work(transaction, self.count)


def test_of_two_transactions_in_a_deadlock_both_take_effect_once(
    transactions: Transactions, counters: Database
) -> None:
    both_hold_one = threading.Barrier(2, timeout=60)

    def crossing(first: str, second: str) -> Tries:
        def work(transaction: Transaction, attempt: int) -> None:
            add(transaction, first)
            if attempt == 1:
                both_hold_one.wait()
            add(transaction, second)

        return Tries(work)

    works = [crossing("a", "b"), crossing("b", "a")]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(transactions.run, works))
    assert counters.query(COUNTERS) == [("a", 2), ("b", 2)]
    assert sorted(work.count for work in works) == [1, 2]


def test_a_serialization_failure_runs_the_whole_work_again(transactions: Transactions, counters: Database) -> None:
    def work(transaction: Transaction, attempt: int) -> None:
        transaction.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        transaction.connection.execute(COUNTERS)
        if attempt == 1:
            counters.query(ADD, "a")
        add(transaction, "b")
        add(transaction, "a")

    tries = Tries(work)
    transactions.run(tries)
    assert tries.count == 2
    assert counters.query(COUNTERS) == [("a", 2), ("b", 1)]


def always_losing(transaction: Transaction, attempt: int) -> None:
    add(transaction, "a")
    transaction.connection.execute("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = 'serialization_failure'; END $$")


def test_it_gives_up_after_three_tries_with_growing_waits(
    transactions: Transactions, counters: Database, waits: list[float]
) -> None:
    tries = Tries(always_losing)
    with pytest.raises(StorageConflictError) as caught:
        transactions.run(tries)
    assert caught.value.code is Code.STORAGE_CONFLICT
    assert tries.count == TRIES == 3
    first, second = waits
    assert 0.2 <= first <= 0.3
    assert 0.4 <= second <= 0.5
    assert counters.query(COUNTERS) == [("a", 0), ("b", 0)]


def test_an_actor_that_raises_leaves_nothing_and_is_not_repeated(
    transactions: Transactions, counters: Database
) -> None:
    def work(transaction: Transaction, attempt: int) -> None:
        add(transaction, "a")
        raise LookupError

    tries = Tries(work)
    with pytest.raises(LookupError):
        transactions.run(tries)
    assert tries.count == 1
    assert counters.query(COUNTERS) == [("a", 0), ("b", 0)]


def test_a_swallowed_failure_of_a_statement_does_not_pass_for_a_commit(
    transactions: Transactions, counters: Database
) -> None:
    """PostgreSQL answers the COMMIT of an aborted transaction with ROLLBACK, and with no error."""
    ran: list[str] = []

    def work(transaction: Transaction) -> None:
        transaction.after_commit(lambda: ran.append("never"))
        add(transaction, "a")
        with contextlib.suppress(psycopg.Error):
            transaction.connection.execute("SELECT 1/0")

    with pytest.raises(RuntimeError, match="INERROR"):
        transactions.run(work)
    assert ran == []
    assert counters.query(COUNTERS) == [("a", 0), ("b", 0)]


def test_work_that_ends_the_transaction_itself_is_told(transactions: Transactions, counters: Database) -> None:
    with pytest.raises(RuntimeError, match="IDLE"):
        transactions.run(lambda transaction: transaction.connection.execute("ROLLBACK"))


def test_a_refused_statement_is_not_repeated(transactions: Transactions, counters: Database) -> None:
    tries = Tries(lambda transaction, _: transaction.connection.execute("SELECT 1/0"))
    with pytest.raises(PenstockError) as caught:
        transactions.run(tries)
    assert (caught.value.code, tries.count) == (Code.STORAGE_REFUSED, 1)


def test_what_waits_for_the_commit_runs_once_when_it_is_visible(transactions: Transactions, counters: Database) -> None:
    seen: list[Any] = []

    def work(transaction: Transaction, attempt: int) -> None:
        add(transaction, "a")
        transaction.after_commit(lambda: seen.append((attempt, counters.query(COUNTERS))))
        assert seen == []
        if attempt == 1:
            always_losing(transaction, attempt)

    transactions.run(Tries(work))
    assert seen == [(2, [("a", 1), ("b", 0)])]


def test_what_waits_for_the_commit_does_not_run_after_a_rollback(
    transactions: Transactions, counters: Database
) -> None:
    ran: list[str] = []

    def work(transaction: Transaction) -> None:
        add(transaction, "a")
        transaction.after_commit(lambda: ran.append("never"))
        raise LookupError

    with pytest.raises(LookupError):
        transactions.run(work)
    assert ran == []


def test_a_failing_action_after_the_commit_does_not_undo_or_repeat_the_work(
    transactions: Transactions, counters: Database
) -> None:
    """What waits for the commit may itself meet a dependency that is away: the effect is committed all the same."""
    ran: list[str] = []

    def fails() -> None:
        raise psycopg.OperationalError("the connection of somebody else")

    def work(transaction: Transaction, attempt: int) -> str:
        add(transaction, "a")
        transaction.after_commit(fails)
        transaction.after_commit(lambda: ran.append("second"))
        return "result"

    tries = Tries(work)
    assert transactions.run(tries) == "result"
    assert (tries.count, ran) == (1, ["second"])
    assert counters.query(COUNTERS) == [("a", 1), ("b", 0)]


def test_a_connection_cut_in_mid_transaction_runs_the_whole_work_again(
    transactions: Transactions, counters: Database
) -> None:
    def work(transaction: Transaction, attempt: int) -> None:
        add(transaction, "a")
        if attempt == 1:
            terminate(counters, pid_of(transaction))
        add(transaction, "b")

    tries = Tries(work)
    transactions.run(tries)
    assert tries.count == 2
    assert counters.query(COUNTERS) == [("a", 1), ("b", 1)]


def test_connections_cut_while_idle_cost_one_try_at_most(
    counters: Database, settings: WorkerSettings, waits: list[float]
) -> None:
    roomy = settings.model_copy(update={"pool_min": 6, "pool_max": 6})
    with open_pool(roomy, "penstock-idle-test") as pool:
        pool.wait(60)
        idle = "SELECT pid FROM pg_stat_activity WHERE application_name = 'penstock-idle-test'"
        pids = [pid for (pid,) in counters.query(idle)]
        assert len(pids) == 6
        terminate(counters, *pids)
        tries = Tries(lambda transaction, _: add(transaction, "a"))
        Transactions(pool, roomy, sleep=waits.append).run(tries)
    assert tries.count <= 2
    assert counters.query(COUNTERS) == [("a", 1), ("b", 0)]


def test_preparing_holds_no_connection(counters: Database, settings: WorkerSettings) -> None:
    single = settings.model_copy(update={"pool_min": 1, "pool_max": 1, "pool_wait_seconds": 1.0})
    with open_pool(single, "penstock-single-test") as pool:
        transactions = Transactions(pool, single)

        def outer(transaction: Transaction) -> None:
            # The pool's only connection is free until it is touched.
            transactions.run(lambda inner: add(inner, "b"))
            add(transaction, "a")

        transactions.run(outer)
    assert counters.query(COUNTERS) == [("a", 1), ("b", 1)]


LIMITS = {
    "statement_timeout": ("10s", "0"),
    "lock_timeout": ("5s", "0"),
    "idle_in_transaction_session_timeout": ("10s", "0"),
    "transaction_timeout": ("10s", "0"),
}


@pytest.mark.parametrize("prepare", ["on", "off"])
def test_limits_hold_inside_and_leave_nothing_behind(
    counters: Database, settings: WorkerSettings, prepare: str
) -> None:
    single = settings.model_copy(update={"pool_min": 1, "pool_max": 1, "prepare_statements": prepare})
    with open_pool(single, "penstock-limits-test") as pool:
        with pool.connection() as connection:
            names = [
                name for name in LIMITS if name != "transaction_timeout" or connection.info.server_version >= 170000
            ]

        def shown(connection: psycopg.Connection[Any]) -> dict[str, str]:
            return {name: (connection.execute(f"SHOW {name}").fetchone() or ("",))[0] for name in names}

        for _ in range(8):  # more often than statements are run before they are prepared
            inside, pid = Transactions(pool, single).run(lambda t: (shown(t.connection), pid_of(t)))
            assert inside == {name: LIMITS[name][0] for name in names}
            with pool.connection() as connection:
                assert connection.info.backend_pid == pid
                assert connection.info.transaction_status == pq.TransactionStatus.IDLE
                assert shown(connection) == {name: LIMITS[name][1] for name in names}
                prepared = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert (prepared != (0,)) == (prepare == "on")


def test_a_statement_over_its_limit_is_cancelled(
    counters: Database, pool: Pool, settings: WorkerSettings, waits: list[float]
) -> None:
    hasty = settings.model_copy(update={"statement_seconds": 0.1})
    tries = Tries(lambda transaction, _: transaction.connection.execute("SELECT pg_sleep(30)"))
    with pytest.raises(PenstockError) as caught:
        Transactions(pool, hasty, sleep=waits.append).run(tries)
    assert (caught.value.code, tries.count) == (Code.STORAGE_TIMEOUT, 1)


def test_a_transaction_over_its_limit_is_ended(
    counters: Database, pool: Pool, settings: WorkerSettings, waits: list[float]
) -> None:
    """By the server: on 17 and later by the whole transaction's time, before by the time between two statements."""
    hasty = settings.model_copy(update={"transaction_seconds": 0.2})

    def work(transaction: Transaction, attempt: int) -> None:
        add(transaction, "a")
        pid = pid_of(transaction)
        alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        while counters.value(alive, pid):
            pass
        add(transaction, "b")

    tries = Tries(work)
    with pytest.raises(PenstockError) as caught:
        Transactions(pool, hasty, sleep=waits.append).run(tries)
    assert (caught.value.code, tries.count) == (Code.STORAGE_TIMEOUT, 1)
    assert counters.query(COUNTERS) == [("a", 0), ("b", 0)]


def test_a_lock_that_is_not_got_in_time_is_a_conflict(
    counters: Database, pool: Pool, settings: WorkerSettings, waits: list[float]
) -> None:
    hasty = settings.model_copy(update={"lock_seconds": 0.1})
    with psycopg.connect(counters.admin_url) as holder:
        holder.execute(ADD, ("a",))
        with pytest.raises(StorageConflictError):
            Transactions(pool, hasty, sleep=waits.append).run(lambda transaction: add(transaction, "a"))
    assert len(waits) == TRIES - 1


def test_a_server_that_is_away_is_told_as_such(settings: WorkerSettings, waits: list[float]) -> None:
    away = settings.model_copy(
        update={"database_url": "postgresql://nobody@127.0.0.1:9/none", "pool_min": 0, "pool_wait_seconds": 0.2}
    )
    with open_pool(away, "penstock-away-test") as pool:
        tries = Tries(lambda transaction, _: transaction.connection)
        with pytest.raises(PenstockError) as caught:
            Transactions(pool, away, sleep=waits.append).run(tries)
    assert (caught.value.code, tries.count) == (Code.STORAGE_UNAVAILABLE, 1)


def test_a_table_that_was_migrated_under_a_prepared_statement_costs_one_more_try(
    counters: Database, settings: WorkerSettings, waits: list[float]
) -> None:
    single = settings.model_copy(update={"pool_min": 1, "pool_max": 1})
    read = "SELECT * FROM counters ORDER BY 1"
    with open_pool(single, "penstock-plan-test") as pool:
        transactions = Transactions(pool, single, sleep=waits.append)

        def rows(transaction: Transaction) -> int:
            return len(transaction.connection.execute(read, prepare=True).fetchall())

        before = transactions.run(rows)
        counters.query("ALTER TABLE counters ADD COLUMN added integer")
        try:
            assert transactions.run(rows) == before
        finally:
            counters.query("ALTER TABLE counters DROP COLUMN added")
    assert len(waits) == 1
