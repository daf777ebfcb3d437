"""The table of API keys: who may do what, what it takes, and the way down."""

import psycopg
import pytest
from psycopg import errors

from penstock.migrations.runner import Migrator
from tests.migrations.catalogue import catalogue

WORKER, READER = {"penstock_worker"}, {"penstock_reader"}
KEY = """
    INSERT INTO penstock.api_keys (key_id, tenant, name, prefix, secret_id, digest, scopes, created_by)
    VALUES (gen_random_uuid(), 't', 'n', 'abcdefgh1234', 'k1', decode(repeat('00', 32), 'hex'), '{posts:write}', 'me')
"""

#: What a role may do: the statement, and the roles that may.
RIGHTS = {
    "read keys whole": ("SELECT * FROM penstock.api_keys", WORKER),
    "read digests": ("SELECT digest FROM penstock.api_keys", WORKER),
    "read keys": ("SELECT name, scopes, last_used_at FROM penstock.api_keys", WORKER | READER),
    "note a use": ("UPDATE penstock.api_keys SET last_used_at = now()", WORKER),
    "lock keys": ("SELECT FROM penstock.api_keys FOR UPDATE SKIP LOCKED", WORKER),
    "make a key": (KEY, set()),
    "revive a key": ("UPDATE penstock.api_keys SET revoked_at = NULL", set()),
    "widen a key": ("UPDATE penstock.api_keys SET scopes = '{forms:write}'", set()),
    "make a key another's": ("UPDATE penstock.api_keys SET tenant = 'x'", set()),
    "exchange a digest": ("UPDATE penstock.api_keys SET digest = digest", set()),
    "remove a key": ("DELETE FROM penstock.api_keys", set()),
}


@pytest.mark.parametrize("role", ["penstock_producer", "penstock_worker", "penstock_reader", "pg_monitor"])
@pytest.mark.parametrize(("statement", "allowed"), RIGHTS.values(), ids=RIGHTS.keys())
def test_each_role_may_do_what_it_needs(
    scratch: psycopg.Connection, statement: str, allowed: set[str], role: str
) -> None:
    scratch.execute(f"SET LOCAL SESSION AUTHORIZATION {role}".encode())
    if role in allowed:
        scratch.execute(statement.encode())
        return
    with pytest.raises(errors.InsufficientPrivilege):
        scratch.execute(statement.encode())


REFUSED = {
    "no scope": ("'{posts:write}'", "'{}'"),
    "a scope that stands for several": ("'{posts:write}'", "'{posts:*}'"),
    "a scope that is NULL": ("'{posts:write}'", "'{NULL}'"),
    "two words that are one scope": ("'{posts:write}'", "'{\"posts:write \"}'"),
    "a digest that is short": ("repeat('00', 32)", "repeat('00', 31)"),
    "a tenant that is none": ("'t'", "'a tenant'"),
    "a prefix that holds an underscore": ("'abcdefgh1234'", "'abcdefgh_234'"),
}


@pytest.mark.parametrize(("good", "bad"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_key_is_not_stored(scratch: psycopg.Connection, good: str, bad: str) -> None:
    assert KEY.count(good) == 1
    with pytest.raises(errors.CheckViolation):
        scratch.execute(KEY.replace(good, bad).encode())


def test_a_prefix_names_one_key(scratch: psycopg.Connection) -> None:
    scratch.execute(KEY.encode())
    with pytest.raises(errors.UniqueViolation):
        scratch.execute(KEY.encode())


def test_the_migration_goes_back_and_forth(url: str) -> None:
    migrator = Migrator(url)
    migrator.up()
    with psycopg.connect(url, autocommit=True) as connection:
        migrator.down(15)
        assert "api_keys" not in str(catalogue(connection))
        migrator.up()
        again = catalogue(connection)
        migrator.down(0)
        migrator.up()
        assert catalogue(connection) == again
