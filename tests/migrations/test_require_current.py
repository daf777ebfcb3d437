from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from penstock.migrations.runner import Migrator, require_current
from penstock.schemas.errors import Code, PenstockError, UnavailableError
from tests.migrations.conftest import add_migration


@pytest.mark.parametrize("role", ["penstock_worker", "penstock_reader"])
def test_the_schema_of_this_release_will_do(database: psycopg.Connection, role: str) -> None:
    database.execute(f"SET ROLE {role}".encode())
    require_current(database)


def test_the_connection_may_give_rows_of_any_shape(url: str, database: psycopg.Connection) -> None:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        require_current(connection)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        pytest.param(0, "0001 first", id="no schema"),
        pytest.param(1, "0002 first", id="only the bootstrap"),
        pytest.param(3, "0004 first", id="one missing"),
    ],
)
def test_an_older_schema_will_not_do(url: str, version: int, told: str) -> None:
    Migrator(url).up(version)
    with psycopg.connect(url) as connection, pytest.raises(PenstockError, match=told) as caught:
        require_current(connection)
    assert caught.value.code is Code.STORAGE_SCHEMA_OUTDATED


def test_a_newer_schema_will_do_even_while_it_is_being_migrated(url: str, folder: Path) -> None:
    newest = add_migration(folder, "newer", "SELECT;")
    Migrator(url, folder).up()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE penstock.schema_migrations SET state = 'started' WHERE version = %s", (newest,))
        require_current(connection)


def test_a_role_without_rights_is_told_so(database: psycopg.Connection) -> None:
    database.execute("SET ROLE penstock_producer")
    with pytest.raises(PenstockError) as caught:
        require_current(database)
    assert caught.value.code is Code.STORAGE_PERMISSION_DENIED


def test_a_broken_connection_is_told_as_such(url: str, database: psycopg.Connection) -> None:
    with psycopg.connect(url) as connection:
        database.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises(UnavailableError) as caught:
            require_current(connection)
    assert caught.value.code is Code.STORAGE_UNAVAILABLE
