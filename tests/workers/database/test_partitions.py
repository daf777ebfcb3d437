"""Monthly partitions on demand, and what happens to rows of a month whose partition comes while they are written."""

import datetime as dt
import logging
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.database.failures import StorageConflictError
from penstock.workers.database.partitions import Partitions
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.settings import WorkerSettings
from tests.system import Database, wait_for
from tests.workers.database.conftest import Pool

PARTITIONS = """
SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'penstock.submissions'::regclass
"""
COLUMNS = "submitted_at, received_at, submission_id, form_key, batch_id, form_id, answers"
COPY = f"COPY penstock.submissions ({COLUMNS}) FROM STDIN"

_months = iter(dt.date(year, month, 1) for year in range(1990, 2020) for month in range(1, 13))


@pytest.fixture
def month() -> dt.date:
    """A month that no other test has used."""
    return next(_months)


@pytest.fixture
def partitions(pool: Pool) -> Partitions:
    return Partitions(pool)


def name_of(month: dt.date) -> str:
    return f"penstock.submissions_y{month:%Y}m{month:%m}"


def exists(database: Database, month: dt.date) -> bool:
    return name_of(month) in {name for (name,) in database.query(PARTITIONS)}


def place_of(database: Database, batch_id: str) -> list[str]:
    return [
        place
        for (place,) in database.query(
            "SELECT tableoid::regclass::text FROM penstock.submissions WHERE batch_id = %s", batch_id
        )
    ]


def insert(transaction: Transaction, month: dt.date, batch_id: str) -> None:
    transaction.connection.execute(
        f"INSERT INTO penstock.submissions ({COLUMNS}) VALUES (%s, now(), %s, 1, %s, 'f', '{{}}')",
        (dt.datetime.combine(month, dt.time(12), dt.UTC), uuid.uuid4(), batch_id),
    )


class Calls:
    """Counts the calls of the function that makes a partition."""

    def __init__(self, partitions: Partitions, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        call = partitions._call

        def counted(month: dt.date) -> bool:
            self.count += 1
            return call(month)

        monkeypatch.setattr(partitions, "_call", counted)


def test_a_missing_month_is_made_once_and_remembered(
    partitions: Partitions, database: Database, month: dt.date, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(partitions, monkeypatch)
    assert not exists(database, month)
    for _ in range(3):
        partitions.ensure([month, month])
    assert exists(database, month)
    assert calls.count == 1


def test_a_month_that_is_there_is_remembered_too(
    partitions: Partitions, pool: Pool, month: dt.date, monkeypatch: pytest.MonkeyPatch
) -> None:
    Partitions(pool).ensure([month])
    calls = Calls(partitions, monkeypatch)
    partitions.ensure([month])
    partitions.ensure([month])
    assert calls.count == 1


def test_callers_at_once_make_it_once(
    partitions: Partitions, pool: Pool, database: Database, month: dt.date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads of each of two processes, as it were."""
    others = Partitions(pool)
    calls, calls_of_others = Calls(partitions, monkeypatch), Calls(others, monkeypatch)
    together = threading.Barrier(16, timeout=60)

    def ensure(which: Partitions) -> None:
        together.wait()
        which.ensure([month])

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ensure, [partitions, others] * 8))
    assert (calls.count, calls_of_others.count) == (1, 1)
    assert exists(database, month)


def test_months_ahead_are_made_and_counted(partitions: Partitions, database: Database) -> None:
    partitions.ensure_ahead(3)
    made = partitions.ensure_ahead(5)
    assert made == 2
    assert partitions.ensure_ahead(5) == 0


@pytest.fixture
def locked(database: Database) -> Iterator[psycopg.Connection]:
    """Somebody holds the default partition."""
    with psycopg.connect(database.admin_url) as holder:
        holder.execute("LOCK TABLE ONLY penstock.submissions_default IN ROW EXCLUSIVE MODE")
        yield holder


def test_a_locked_table_does_not_fail_the_batch(
    partitions: Partitions,
    pool: Pool,
    settings: WorkerSettings,
    database: Database,
    locked: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    month = next(_months)
    # Of the function's three tries of two seconds each, one is enough to show it.
    monkeypatch.setattr(Partitions._call.retry, "stop", lambda _: True)
    with caplog.at_level(logging.WARNING):
        partitions.ensure([month])
    assert [record.message for record in caplog.records] == [
        f"no partition for {month:%Y-%m} could be made now: the table is locked"
    ]
    Transactions(pool, settings).run(lambda transaction: insert(transaction, month, "to-default"))
    assert place_of(database, "to-default") == ["penstock.submissions_default"]
    # It is not taken for made: the next batch tries again, and moves the row.
    locked.rollback()
    partitions.ensure([month])
    assert place_of(database, "to-default") == [name_of(month)]


def test_connections_cut_while_idle_cost_the_transaction_one_try_at_most(
    settings: WorkerSettings, database: Database, month: dt.date
) -> None:
    """Partitions use connections of their own: work must not meet one dead connection after another there."""
    roomy = settings.model_copy(update={"pool_min": 6, "pool_max": 6})
    waits: list[float] = []
    with open_pool(roomy, "penstock-cut-partitions") as pool:
        pool.wait(60)
        partitions = Partitions(pool)
        cut = database.query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", pool.name
        )
        assert cut == [(True,)] * 6

        def work(transaction: Transaction) -> None:
            partitions.ensure([month])
            insert(transaction, month, "after-the-cut")

        Transactions(pool, roomy, sleep=waits.append).run(work)
    assert len(waits) <= 1
    assert place_of(database, "after-the-cut") == [name_of(month)]


def test_a_month_out_of_range_is_told_in_our_words(partitions: Partitions) -> None:
    with pytest.raises(PenstockError) as caught:
        partitions.ensure([dt.date(1960, 1, 1)])
    assert caught.value.code is Code.STORAGE_REFUSED


def line(month: dt.date, batch_id: str) -> bytes:
    return f"{month}T12:00:00Z\t{month}T12:00:00Z\t{uuid.uuid4()}\t1\t{batch_id}\tf\t{{}}\n".encode()


def copy_while_attached(connection: psycopg.Connection, database: Database, month: dt.date, batch_id: str) -> None:
    """COPY a row of `month`, whose partition is attached by somebody else after the COPY has begun."""
    pid = connection.info.backend_pid
    reads = "SELECT wait_event = 'ClientRead' AND query LIKE 'COPY%%' FROM pg_stat_activity WHERE pid = %s"
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        wait_for(lambda: bool(database.value(reads, pid)), "the COPY to wait for its rows")
        assert database.value("SELECT penstock.ensure_submissions_partition(%s)", month)
        copy.write(line(month, batch_id))


def test_a_partition_attached_during_a_copy_is_a_conflict_and_the_work_runs_again(
    pool: Pool, settings: WorkerSettings, database: Database, month: dt.date
) -> None:
    waits: list[float] = []
    attempts: list[str] = []

    def work(transaction: Transaction) -> None:
        connection = transaction.connection
        attempts.append("try")
        if len(attempts) == 1:
            copy_while_attached(connection, database, month, "attached")
            raise AssertionError("PostgreSQL accepted the row")
        with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.write(line(month, "attached"))

    Transactions(pool, settings, sleep=waits.append).run(work)
    assert len(attempts) == 2
    assert place_of(database, "attached") == [name_of(month)]


def test_such_a_conflict_that_never_ends_is_told_as_a_conflict(
    pool: Pool, settings: WorkerSettings, database: Database
) -> None:
    with pytest.raises(StorageConflictError) as caught:
        Transactions(pool, settings, sleep=lambda _: None).run(
            lambda transaction: copy_while_attached(transaction.connection, database, next(_months), "never")
        )
    assert caught.value.code is Code.STORAGE_CONFLICT
    assert place_of(database, "never") == []
