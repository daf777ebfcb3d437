"""Databases to migrate, folders of migrations to break, and a look at all that a schema is made of."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from penstock.migrations.files import FOLDER
from penstock.migrations.runner import Migrator
from tests.servers import ADMIN_URL

NewDatabase = Callable[[], str]


@pytest.fixture
def new_database() -> Iterator[NewDatabase]:
    """Makes empty databases; each call returns the URL of one, as superuser."""
    yield from database_factory(os.environ[ADMIN_URL])


@pytest.fixture(scope="module")
def module_database() -> Iterator[NewDatabase]:
    """As `new_database`; what it makes stays for the module."""
    yield from database_factory(os.environ[ADMIN_URL])


def database_factory(server_url: str) -> Iterator[NewDatabase]:
    """A function that makes databases on a server; they are dropped when the iterator is resumed."""
    made: list[str] = []
    with psycopg.connect(server_url, autocommit=True) as connection:

        def make() -> str:
            made.append(f"test_{secrets.token_hex(6)}")
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(made[-1])))
            return make_conninfo(server_url, dbname=made[-1])

        yield make
        for name in made:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def url(new_database: NewDatabase) -> str:
    """An empty database of the test's own."""
    return new_database()


@pytest.fixture
def database(url: str) -> Iterator[psycopg.Connection]:
    """A migrated database of the test's own, seen by its superuser in autocommit mode."""
    Migrator(url).up()
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def module_connection(module_database: NewDatabase) -> Iterator[psycopg.Connection]:
    url = module_database()
    Migrator(url).up()
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def scratch(module_connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A transaction in a migrated database, undone at the end: for tests that need no second session."""
    with module_connection.transaction(force_rollback=True):
        yield module_connection


@pytest.fixture
def connect(database: psycopg.Connection) -> Iterator[Callable[[], psycopg.Connection]]:
    """Opens further connections, with transactions, to the migrated database."""
    opened: list[psycopg.Connection] = []

    def open_one() -> psycopg.Connection:
        opened.append(psycopg.connect(database.info.dsn, password=database.info.password))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the release's migrations, to add to and to break."""
    copy = tmp_path / "migrations"
    copy.mkdir()
    for file in FOLDER.glob("*.sql"):
        shutil.copy(file, copy)
    return copy


def add_migration(folder: Path, name: str, up: str, down: str = "SELECT;") -> int:
    """Add a migration behind the last one; returns its version."""
    version = len(list(folder.glob("*.up.sql"))) + 1
    (folder / f"{version:04d}_{name}.up.sql").write_text(up)
    (folder / f"{version:04d}_{name}.down.sql").write_text(down)
    return version
