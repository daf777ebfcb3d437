"""Whether PostgreSQL is there: asked of a server in each of its states, and of things that are no server."""

import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import psycopg_pool
import pytest

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.workers.database.beginnings import Beginnings
from penstock.workers.database.failures import is_doubtful, storage_error
from penstock.workers.database.presence import ASK_TIMEOUT, StorageProber
from tests.pooler import pgbouncer
from tests.recovery.servers import OwnPostgres
from tests.system import Database, wait_for

#: To connect and to be answered, and a slow machine.
LIMIT_SECONDS = 2 * ASK_TIMEOUT.total_seconds() + 2


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[OwnPostgres]:
    with OwnPostgres() as server:
        yield server


def at_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()


def test_a_server_that_serves(database: Database) -> None:
    assert StorageProber(database.url)()


def test_nobody_listens(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    assert not StorageProber(at_port(database.url, port))()


def test_somebody_listens_and_says_nothing(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        assert not StorageProber(at_port(database.url, silent.getsockname()[1]))()
    assert time.monotonic() - started < LIMIT_SECONDS


def test_the_credentials_are_refused(database: Database) -> None:
    assert not StorageProber(database.url.replace("penstock_app:", "penstock_app:not-"))()


def test_a_server_that_takes_no_writes(database: Database) -> None:
    database.query(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    try:
        assert not StorageProber(database.url)()
    finally:
        with psycopg.connect(database.admin_url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER DATABASE {database.name} RESET default_transaction_read_only".encode())
    assert StorageProber(database.url)()


def test_a_server_that_is_full_is_there(database: Database) -> None:
    database.query(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0")
    try:
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            psycopg.connect(database.url)
        assert StorageProber(database.url)()
    finally:
        database.query(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")


def test_a_pooler_whose_server_is_away(own_postgres: OwnPostgres) -> None:
    """It lets in whoever comes, and would let the question wait for two minutes."""
    with pgbouncer(own_postgres.database, settings="server_login_retry = 1\n") as url:
        prober = StorageProber(url)
        assert prober()
        own_postgres.stop_immediately()
        try:
            started = time.monotonic()
            assert not prober()
            assert time.monotonic() - started < LIMIT_SECONDS
        finally:
            own_postgres.start()
        wait_for(prober, "the server behind the pooler")


def test_a_begin_that_waits_in_a_pooler_is_cut(own_postgres: OwnPostgres) -> None:
    with pgbouncer(own_postgres.database) as url, psycopg.connect(url, autocommit=True, prepare_threshold=None) as held:
        held.execute("SELECT 1")
        own_postgres.stop_immediately()
        beginnings, failed = Beginnings(), threading.Event()

        def begin() -> None:
            try:
                with beginnings.beginning(held):
                    held.execute("BEGIN")
            except psycopg.OperationalError:
                failed.set()

        thread = threading.Thread(target=begin)
        thread.start()
        try:
            # The control: nobody but us ends that wait.
            assert not failed.wait(1)
            beginnings.cut()
            assert failed.wait(60)
        finally:
            beginnings.cut()
            thread.join(60)
            own_postgres.start()
        assert held.closed


def test_a_connection_that_is_through_with_its_begin_is_let_alone(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        beginnings = Beginnings()
        with beginnings.beginning(connection):
            connection.execute("BEGIN")
        beginnings.cut()
        connection.execute("COMMIT")


def told(cause: Exception) -> PenstockError:
    error = storage_error(cause)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "doubtful"),
    [
        pytest.param(told(psycopg.OperationalError("the connection is lost")), True, id="cut"),
        pytest.param(told(psycopg.errors.AdminShutdown("bye")), True, id="57P01"),
        pytest.param(told(psycopg.errors.ReadOnlySqlTransaction("no")), True, id="25006"),
        pytest.param(told(psycopg_pool.PoolTimeout("late")), True, id="no connection in time"),
        pytest.param(UnavailableError(Code.STORAGE_UNAVAILABLE, "away"), True, id="known to be away"),
        pytest.param(told(psycopg.errors.TooManyConnections("full")), False, id="53300"),
        pytest.param(told(psycopg.errors.DiskFull("full")), False, id="53100"),
        pytest.param(told(psycopg.errors.DeadlockDetected("lost")), False, id="40P01"),
        pytest.param(told(psycopg.errors.QueryCanceled("slow")), False, id="57014"),
        pytest.param(UnavailableError(Code.QUEUE_UNAVAILABLE, "away"), False, id="Redis"),
        pytest.param(ValueError(), False, id="any other"),
    ],
)
def test_which_failures_are_a_reason_to_ask(error: BaseException, doubtful: bool) -> None:
    assert is_doubtful(error) is doubtful
