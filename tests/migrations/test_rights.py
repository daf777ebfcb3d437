"""Migrating as an ordinary login, on a server of the test's own: roles belong to the whole cluster."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from penstock.migrations.rights import ROLES
from penstock.migrations.runner import Migrator
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from tests.migrations.catalogue import traces
from tests.migrations.conftest import NewDatabase, database_factory
from tests.servers import FAST_SETTINGS

LOGIN = "migrator"


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Home(tmp_path_factory.mktemp("rights")) as home:
        server = EmbeddedPostgres(home, settings=FAST_SETTINGS)
        yield server.start().admin
        server.stop()


@pytest.fixture
def admin(server_url: str) -> Iterator[psycopg.Connection]:
    """A superuser of a cluster that has never heard of Penstock."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        yield connection
        for role in [*ROLES, LOGIN]:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture
def new_database(server_url: str, admin: psycopg.Connection) -> Iterator[NewDatabase]:
    yield from database_factory(server_url)


def make_login(admin: psycopg.Connection, url: str, attributes: str = "", *, may_create: bool = True) -> str:
    """A login for the database; returns its URL."""
    admin.execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD 'migrator' {attributes}".encode())
    if may_create:
        grant_create(url)
    return make_conninfo(url, user=LOGIN, password=LOGIN)


def grant_create(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO migrator").format(database))


def require_round_trip(url: str) -> None:
    """Up, down to nothing, and up again."""
    migrator = Migrator(url)
    migrator.up()
    migrator.verify()
    assert {entry.state for entry in migrator.status()} == {"applied"}
    migrator.down(0)
    with psycopg.connect(url) as connection:
        assert set(traces(connection).values()) == {0}
    migrator.up()


def test_a_superuser_makes_the_roles_and_leaves_them(admin: psycopg.Connection, url: str) -> None:
    Migrator(url).up()
    Migrator(url).down(0)
    found = admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'penstock%' ORDER BY 1").fetchall()
    assert [name for (name,) in found] == sorted(ROLES)


@pytest.mark.parametrize("attributes", ["CREATEROLE", "CREATEROLE NOINHERIT"])
def test_a_login_that_may_make_roles_needs_no_help(admin: psycopg.Connection, url: str, attributes: str) -> None:
    require_round_trip(make_login(admin, url, attributes))


def test_the_objects_belong_to_the_owner_whoever_migrates(admin: psycopg.Connection, url: str) -> None:
    login_url = make_login(admin, url, "CREATEROLE")
    Migrator(login_url).up(2)
    Migrator(url).up()
    assert Migrator(login_url).down(0)


@pytest.mark.parametrize("may_create", [True, False], ids=["may create", "may not create"])
@pytest.mark.parametrize("roles_exist", [True, False], ids=["roles exist", "no roles yet"])
def test_an_ordinary_login_is_told_the_sql_that_it_needs(
    admin: psycopg.Connection, url: str, roles_exist: bool, may_create: bool
) -> None:
    login_url = make_login(admin, url, may_create=may_create)
    if roles_exist:
        for role in ROLES:
            admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
    with pytest.raises(PenstockError) as caught:
        Migrator(login_url).up()
    assert caught.value.code is Code.STORAGE_PERMISSION_DENIED
    needed = caught.value.details["sql"]
    assert needed in caught.value.remedy
    assert ("CREATE ROLE" in needed) is not roles_exist
    assert ("GRANT CREATE" in needed) is not may_create
    admin.execute(needed.encode())
    require_round_trip(login_url)


def test_a_login_that_may_make_roles_is_told_what_it_lacks_on_roles_of_others(
    admin: psycopg.Connection, url: str
) -> None:
    if admin.info.server_version < 160000:
        pytest.skip("before PostgreSQL 16, CREATEROLE allows every grant")
    Migrator(url).up()
    login_url = make_login(admin, url, "CREATEROLE")
    for action in (Migrator(login_url).up, lambda: Migrator(login_url).down(0)):
        with pytest.raises(PenstockError) as caught:
            action()
        assert caught.value.code is Code.STORAGE_PERMISSION_DENIED
        assert caught.value.details["sql"] == 'GRANT "penstock_owner" TO "migrator";'
    admin.execute(caught.value.details["sql"].encode())
    require_round_trip(login_url)


def test_a_schema_that_an_administrator_made_is_used(admin: psycopg.Connection, url: str) -> None:
    login_url = make_login(admin, url, "CREATEROLE", may_create=False)
    admin.execute("CREATE ROLE penstock_owner NOLOGIN; GRANT penstock_owner TO migrator")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA penstock AUTHORIZATION penstock_owner")
    assert Migrator(login_url).up()


def start_waiting(url: str) -> "subprocess.Popen[str]":
    """A process that says when it is ready to migrate, and does so when it is told to."""
    program = """
import sys
from penstock.migrations.runner import Migrator
migrator = Migrator(sys.argv[1])
print("ready", flush=True)
input()
migrator.up()
print("done")
"""
    command = [sys.executable, "-c", program, url]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("login", ["superuser", "ordinary"])
def test_four_databases_of_a_cluster_are_migrated_at_once(
    admin: psycopg.Connection, new_database: NewDatabase, login: str
) -> None:
    urls = [new_database() for _ in range(4)]
    if login == "ordinary":
        ordinary = [make_login(admin, urls[0], "CREATEROLE")]
        for url in urls[1:]:
            grant_create(url)
            ordinary.append(make_conninfo(url, user=LOGIN, password=LOGIN))
        urls = ordinary
    processes = [start_waiting(url) for url in urls]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[0] for process in processes] == ["done\n"] * 4
    assert {entry.state for url in urls for entry in Migrator(url).status()} == {"applied"}


def test_reading_the_status_needs_no_right_to_migrate(admin: psycopg.Connection, url: str, tmp_path: Path) -> None:
    Migrator(url).up()
    login_url = make_login(admin, url, "IN ROLE penstock_reader", may_create=False)
    Migrator(login_url).verify()
    assert {entry.state for entry in Migrator(login_url).status()} == {"applied"}
    with pytest.raises(PenstockError) as caught:
        Migrator(login_url).down(0)
    assert caught.value.code is Code.STORAGE_PERMISSION_DENIED
