"""The whole on Debian's PostgreSQL 15 and Redis 7, the oldest releases that it takes.

Each process has a login with one role, which is its client certificate's: no password, and no connection without TLS.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from penstock.producers.queue.connection import connect
from tests.debian_servers import DebianPostgres, DebianRedis
from tests.end_to_end import roles_system
from tests.end_to_end.roles_system import LOGINS, RolesSystem
from tests.producers.tls import Authority


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DebianPostgres, DebianRedis]]:
    """Both, with certificates of one authority."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with DebianPostgres(authority) as postgres, DebianRedis(authority) as redis:
        yield postgres, redis


@pytest.fixture(scope="module")
def system(
    servers: tuple[DebianPostgres, DebianRedis], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RolesSystem]:
    """Every process, on these servers."""
    postgres, redis = servers
    environment = {"REDIS_URL": redis.url(), "PENSTOCK_REDIS_CHECK": "refuse"}
    folder: Path = tmp_path_factory.mktemp("system")
    with roles_system.running(postgres.admin_url, postgres.url_of, environment, folder) as found:
        yield found


@pytest.mark.parametrize("deed", roles_system.DEEDS, ids=lambda deed: str(deed.__name__))
def test_all_works_on_the_oldest_servers(system: RolesSystem, deed: Callable[[RolesSystem], None]) -> None:
    deed(system)


def test_nobody_talks_in_plain_text(system: RolesSystem, servers: tuple[DebianPostgres, DebianRedis]) -> None:
    sessions = system.database.query(
        "SELECT usename, ssl, client_dn FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)"
        " WHERE backend_type = 'client backend' AND usename <> 'postgres'"
    )
    assert {login for login, _, _ in sessions} >= {"of_workers", "of_schedulers", "of_sidecars"}
    assert {login for login, _, _ in sessions} <= set(LOGINS)
    assert all(ssl and name == f"/CN={login}" for login, ssl, name in sessions), sessions
    with connect(servers[1].url()) as client:
        assert len(client.client_list()) > 4
        assert client.config_get("port") == {"port": "0"}


def test_which_releases_these_are(
    system: RolesSystem, servers: tuple[DebianPostgres, DebianRedis], record_property: Callable[[str, object], None]
) -> None:
    with psycopg.connect(system.admin_url) as connection, connect(servers[1].url()) as client:
        postgresql, redis = connection.info.server_version // 10_000, client.info("server")["redis_version"]
    record_property("postgresql", postgresql)
    record_property("redis", redis)
    print(f"PostgreSQL {postgresql}, Redis {redis}")
    if b"bookworm" in Path("/etc/os-release").read_bytes():
        assert (postgresql, redis.partition(".")[0]) == (15, "7")
