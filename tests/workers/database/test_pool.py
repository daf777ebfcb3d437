"""The pool: what it is opened with, who may say otherwise, and how it renews itself."""

import subprocess
import sys
from urllib.parse import urlencode

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from penstock.workers.database.pool import CONNECT_TIMEOUT, NETWORK_LIMITS, open_pool
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.pool import measure_pool
from tests.system import Database
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


def test_a_pool_whose_server_was_away_for_long_connects_at_once(settings: WorkerSettings, database: Database) -> None:
    """psycopg_pool doubles the waits between its tries; left to itself it would sleep through the server's return."""
    database.query(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0")
    try:
        hasty = settings.model_copy(update={"pool_wait_seconds": 1.0})
        with open_pool(hasty, "penstock-return-test") as pool:
            for _ in range(8):
                with pytest.raises(psycopg.OperationalError), pool.connection():
                    pass
            database.query(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
            # What the owner of the pool does when the server has answered.
            pool.check()
            with pool.connection(timeout=5) as connection:  # the next try by itself would come later than that
                connection.execute("SELECT 1")
    finally:
        database.query(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
