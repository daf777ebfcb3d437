"""What PostgreSQL's errors mean to us: by table, and those that have no SQLSTATE by provoking them."""

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psycopg
import psycopg_pool
import pytest

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.workers.database.failures import CONFLICTS, StorageConflictError, storage_error, storage_errors
from tests.system import Database

SECRET = "hunter2-the-password"
ANSWER = "my-very-private-answer"


def error_of(sqlstate: str) -> psycopg.Error:
    try:
        return psycopg.errors.lookup(sqlstate)("a text of PostgreSQL's")
    except KeyError:  # newer than psycopg's table
        error = psycopg.DatabaseError("a text of PostgreSQL's")
        error.sqlstate = sqlstate
        return error


@pytest.mark.parametrize(
    ("sqlstate", "code", "kind"),
    [
        ("40001", Code.STORAGE_CONFLICT, StorageConflictError),
        ("40P01", Code.STORAGE_CONFLICT, StorageConflictError),
        ("55P03", Code.STORAGE_CONFLICT, StorageConflictError),
        ("08000", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("08006", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("53100", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("53200", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("53300", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("57P01", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("57P02", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("57P03", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("57P05", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("57014", Code.STORAGE_TIMEOUT, PenstockError),
        ("25P03", Code.STORAGE_TIMEOUT, PenstockError),
        ("25P04", Code.STORAGE_TIMEOUT, PenstockError),
        ("25006", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("26000", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("42P05", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("58030", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("3D000", Code.STORAGE_UNAVAILABLE, UnavailableError),
        ("28000", Code.STORAGE_PERMISSION_DENIED, PenstockError),
        ("28P01", Code.STORAGE_PERMISSION_DENIED, PenstockError),
        ("42501", Code.STORAGE_PERMISSION_DENIED, PenstockError),
        ("3F000", Code.STORAGE_SCHEMA_OUTDATED, PenstockError),
        ("42P01", Code.STORAGE_SCHEMA_OUTDATED, PenstockError),
        ("42703", Code.STORAGE_SCHEMA_OUTDATED, PenstockError),
        ("42883", Code.STORAGE_SCHEMA_OUTDATED, PenstockError),
        ("22003", Code.STORAGE_REFUSED, PenstockError),
        ("22P02", Code.STORAGE_REFUSED, PenstockError),
        ("23502", Code.STORAGE_REFUSED, PenstockError),
        ("23505", Code.STORAGE_REFUSED, PenstockError),
        ("42601", Code.STORAGE_REFUSED, PenstockError),
        ("XX000", Code.STORAGE_REFUSED, PenstockError),
    ],
)
def test_a_sqlstate_means(sqlstate: str, code: Code, kind: type[PenstockError]) -> None:
    told = storage_error(error_of(sqlstate))
    assert (told.code, type(told)) == (code, kind)
    assert sqlstate in told.message or CONFLICTS.get(sqlstate, "?") in told.message


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(psycopg_pool.PoolTimeout("late"), id="no free connection"),
        pytest.param(psycopg_pool.PoolClosed("closed"), id="the pool is closed"),
        pytest.param(psycopg.OperationalError("the connection is lost"), id="cut"),
        pytest.param(psycopg.InterfaceError("the connection is closed"), id="closed"),
    ],
)
def test_without_a_sqlstate_the_way_to_the_server_is_at_fault(error: Exception) -> None:
    told = storage_error(error)
    assert (told.code, type(told)) == (Code.STORAGE_UNAVAILABLE, UnavailableError)


def refused(url: str) -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    return urlsplit(url)._replace(netloc=f"u:{SECRET}@127.0.0.1:{port}").geturl()


def wrong_password(url: str) -> str:
    host = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"penstock_app:{SECRET}@{host}").geturl()


def no_password(url: str) -> str:
    host = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"penstock_app@{host}").geturl()


def no_database(url: str) -> str:
    return urlsplit(url)._replace(path="/nowhere").geturl()


def no_host(url: str) -> str:
    return urlsplit(url)._replace(netloc=f"u:{SECRET}@no-such-host.invalid").geturl()


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (refused, Code.STORAGE_UNAVAILABLE, "does not answer"),
        (no_host, Code.STORAGE_UNAVAILABLE, "does not answer"),
        (wrong_password, Code.STORAGE_PERMISSION_DENIED, "credentials of DATABASE_URL"),
        (no_password, Code.STORAGE_PERMISSION_DENIED, "credentials of DATABASE_URL"),
        (no_database, Code.STORAGE_UNAVAILABLE, "does not exist"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_connection_that_fails(database: Database, spoil: Callable[[str], str], code: Code, told: str) -> None:
    url = spoil(database.url)
    with pytest.raises(PenstockError) as caught, storage_errors():
        psycopg.connect(url, connect_timeout=3)
    assert caught.value.code is code
    assert told in caught.value.message
    for secret in (SECRET, urlsplit(database.url).password or "?"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        pytest.param("SELECT %s::int", Code.STORAGE_REFUSED, id="22P02 quotes the value"),
        pytest.param("INSERT INTO held VALUES (%s)", Code.STORAGE_REFUSED, id="23505 details the key"),
        pytest.param("INSERT INTO held (a) VALUES (left(%s, 1))", Code.STORAGE_REFUSED, id="23514 details the row"),
        pytest.param("SELECT %s::text::json", Code.STORAGE_REFUSED, id="22P02 quotes the context"),
        pytest.param("SELECT * FROM nowhere WHERE a = %s", Code.STORAGE_SCHEMA_OUTDATED, id="42P01"),
        pytest.param("SELECT nothing FROM held WHERE a = %s", Code.STORAGE_SCHEMA_OUTDATED, id="42703"),
        pytest.param("SELECT penstock.nothing(%s)", Code.STORAGE_SCHEMA_OUTDATED, id="42883"),
        pytest.param("DELETE FROM penstock.forms WHERE form_id = %s", Code.STORAGE_PERMISSION_DENIED, id="42501"),
    ],
)
def test_no_message_holds_a_value(database: Database, statement: str, code: Code) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE held (a text PRIMARY KEY CONSTRAINT long CHECK (length(a) > 2))")
        connection.execute("INSERT INTO held VALUES (%s)", (ANSWER,))
        with pytest.raises(PenstockError) as caught, storage_errors():
            connection.execute(statement, (ANSWER,))
    assert caught.value.code is code
    assert ANSWER not in str(caught.value.as_dict())


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(LookupError), storage_errors():
        raise LookupError


def test_a_check_that_names_its_constraint_is_no_conflict(database: Database) -> None:
    found: Any = None
    with psycopg.connect(database.url) as connection:
        connection.execute("CREATE TEMPORARY TABLE checked (a int CONSTRAINT positive CHECK (a > 0))")
        try:
            connection.execute("INSERT INTO checked VALUES (-1)")
        except psycopg.errors.CheckViolation as error:
            found = error
    assert found.diag.constraint_name == "positive"
    assert storage_error(found).code is Code.STORAGE_REFUSED
