"""The pool: what it is opened with, who may say otherwise, and how it renews itself."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from penstock.workers.database.pool import CONNECT_TIMEOUT, NETWORK_LIMITS, RECONNECT_TIMEOUT, open_pool
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.pool import measure_pool
from tests.system import Database, wait_for
from tests.workers.database.conftest import Pool


def with_options(settings: WorkerSettings, **options: object) -> WorkerSettings:
    return settings.model_copy(update={"database_url": f"{settings.database_url}?{urlencode(options)}", "pool_min": 1})


def test_its_size_and_its_waits_are_the_documented_ones(pool: Pool) -> None:
    assert (pool.min_size, pool.max_size) == (5, 25)
    assert (pool.timeout, pool.max_idle, CONNECT_TIMEOUT.total_seconds()) == (5, 20, 5)
    with pool.connection() as connection:
        said = connection.info.get_parameters()
    assert (said["application_name"], said["connect_timeout"]) == ("penstock-test", "5")


def test_the_way_to_the_server_is_bounded_and_the_url_may_say_otherwise(settings: WorkerSettings) -> None:
    own = with_options(settings, tcp_user_timeout=7_000, keepalives_idle=3)
    with open_pool(own, "penstock-network-test") as pool, pool.connection() as connection:
        said = connection.info.get_parameters()
    expected = NETWORK_LIMITS | {"tcp_user_timeout": 7_000, "keepalives_idle": 3}
    assert {name: int(said[name]) for name in expected} == expected


def test_a_mistyped_switch_of_tls_is_an_error_and_not_plain_text(settings: WorkerSettings) -> None:
    with (
        pytest.raises(psycopg.OperationalError, match="sslmode"),
        psycopg.connect(with_options(settings, sslmode="requrie").database_url),
    ):
        pass


def test_tls_that_the_server_does_not_speak_is_no_connection(settings: WorkerSettings) -> None:
    strict = with_options(settings, sslmode="require").model_copy(update={"pool_wait_seconds": 1.0})
    with open_pool(strict, "penstock-tls-test") as pool, pytest.raises(psycopg.OperationalError), pool.connection():
        pass


def test_importing_everything_opens_nothing() -> None:
    """Whatever is open before a fork is shared by both processes, and breaks for one of them."""
    program = (
        "import threading, os, penstock.workers.run, penstock.workers.cli;"
        "print(threading.active_count(), sum(os.readlink(f'/proc/self/fd/{fd}').startswith('socket')"
        " for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert done.stdout.split() == [b"1", b"0"]


def test_its_statistics_are_metrics(pool: Pool) -> None:
    registry = CollectorRegistry()
    end = measure_pool(pool, registry)
    with pool.connection():
        names = {"size", "available", "requests_waiting", "requests_errors", "connections_lost", "min", "max"}
        told = {metric.name: metric.samples[0].value for metric in registry.collect()}
        assert {f"penstock_db_pool_{name}" for name in names} <= set(told)
        assert told["penstock_db_pool_size"] - told["penstock_db_pool_available"] == 1
    end()


@pytest.fixture
def closed(database: Database) -> Iterator[Callable[[], object]]:
    """The database takes no connection; called, it takes them again."""
    limit = f"ALTER DATABASE {database.name} CONNECTION LIMIT"
    database.query(f"{limit} 0")
    yield lambda: database.query(f"{limit} -1")
    database.query(f"{limit} -1")


def test_a_pool_whose_server_was_away_for_long_connects_at_its_return(
    settings: WorkerSettings, closed: Callable[[], object]
) -> None:
    """psycopg_pool doubles the waits between its tries; left to itself it would sleep through the server's return."""
    hasty = settings.model_copy(update={"pool_wait_seconds": 1.0})
    with open_pool(hasty, "penstock-return-test") as pool:
        assert pool.reconnect_timeout == RECONNECT_TIMEOUT.total_seconds() == 2
        for _ in range(4):
            with pytest.raises(psycopg.OperationalError), pool.connection():
                pass
        closed()
        # What the owner of the pool does when the server has answered.
        pool.check()
        with pool.connection(timeout=30) as connection:
            connection.execute("SELECT 1")


def test_who_waits_while_the_pool_gives_up_is_served_at_the_servers_return(
    settings: WorkerSettings, closed: Callable[[], object]
) -> None:
    """psycopg_pool tries for who comes after it gave up, and not for who came before."""
    one = settings.model_copy(update={"pool_min": 1})
    with open_pool(one, "penstock-patience-test") as pool, ThreadPoolExecutor(1) as threads:
        patient = threads.submit(pool.getconn, 60)
        # Two of those that make up the pool, and grow it, with three tries each: one more, and it has begun anew.
        wait_for(lambda: pool.get_stats().get("connections_errors", 0) > 6, "tries beyond the first round")
        closed()
        with patient.result(60) as connection:
            connection.execute("SELECT 1")
        pool.putconn(connection)
