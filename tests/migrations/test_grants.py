"""`verify` tells each right that is missing, and each that should not be; what it says to run mends it."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from penstock.migrations.grants import require_granted
from penstock.migrations.runner import Migrator
from penstock.schemas.errors import Code, PenstockError

DIFFERENCES = {
    "REVOKE INSERT ON penstock.forms FROM penstock_worker": "penstock_worker lacks INSERT ON TABLE penstock.forms",
    "REVOKE SELECT ON penstock.submissions_default FROM penstock_reader": "penstock_reader lacks SELECT ON TABLE"
    " penstock.submissions_default",
    "REVOKE SELECT ON penstock.effects FROM penstock_reader": "penstock_reader lacks SELECT ON TABLE penstock.effects",
    "REVOKE UPDATE (state) ON penstock.scheduled_posts FROM penstock_worker": "penstock_worker lacks UPDATE (state)",
    "REVOKE USAGE ON SCHEMA penstock FROM penstock_producer": "penstock_producer lacks USAGE ON SCHEMA penstock",
    "REVOKE EXECUTE ON FUNCTION penstock.enqueue FROM penstock_producer": "penstock_producer lacks EXECUTE",
    "GRANT DELETE ON penstock.operator_actions TO penstock_worker": "penstock_worker must not have DELETE",
    "GRANT UPDATE (actor) ON penstock.operator_actions TO penstock_worker": "must not have UPDATE (actor)",
    "GRANT TRUNCATE ON penstock.publish_attempts TO penstock_worker": "penstock_worker must not have TRUNCATE",
    "GRANT INSERT ON penstock.submissions_default TO penstock_worker": "penstock_worker must not have INSERT",
    "GRANT SELECT ON penstock.dead_letters TO penstock_reader": "penstock_reader must not have SELECT",
    "GRANT SELECT (token_ciphertext) ON penstock.social_accounts TO penstock_reader": "(token_ciphertext)",
    "GRANT SELECT ON penstock.forms TO penstock_producer": "penstock_producer must not have SELECT",
    "GRANT SELECT ON penstock.forms TO PUBLIC": "PUBLIC must not have SELECT",
    "GRANT EXECUTE ON FUNCTION penstock.revive_letters TO PUBLIC": "PUBLIC must not have EXECUTE",
    "GRANT CREATE ON SCHEMA penstock TO penstock_worker": "penstock_worker must not have CREATE",
    "ALTER TABLE penstock.forms OWNER TO CURRENT_USER": "penstock.forms does not belong to penstock_owner",
    "ALTER FUNCTION penstock.enqueue OWNER TO CURRENT_USER": "does not belong to penstock_owner",
    "ALTER DEFAULT PRIVILEGES FOR ROLE penstock_owner IN SCHEMA penstock"
    " REVOKE SELECT ON TABLES FROM penstock_reader": "GRANT SELECT ON TABLES TO penstock_reader",
    "ALTER DEFAULT PRIVILEGES FOR ROLE penstock_owner"
    " GRANT EXECUTE ON FUNCTIONS TO PUBLIC": "REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    "GRANT penstock_owner TO penstock_worker": "REVOKE penstock_owner FROM penstock_worker",
    "GRANT pg_write_all_data TO penstock_reader": "REVOKE pg_write_all_data FROM penstock_reader",
    "ALTER ROLE penstock_producer CREATEROLE": "ALTER ROLE penstock_producer",
}


@pytest.mark.parametrize(("statement", "told"), DIFFERENCES.items(), ids=DIFFERENCES.keys())
def test_each_difference_is_told_and_mended(scratch: psycopg.Connection, statement: str, told: str) -> None:
    require_granted(scratch)
    scratch.execute(statement.encode())
    with pytest.raises(PenstockError) as caught:
        require_granted(scratch)
    assert caught.value.code is Code.STORAGE_RIGHTS_DIFFER
    assert any(told in said for said in caught.value.details["differences"])
    for mending in caught.value.details["sql"]:
        scratch.execute(mending.encode())
    require_granted(scratch)


def test_rights_of_roles_that_are_not_ours_are_let_be(scratch: psycopg.Connection) -> None:
    scratch.execute("GRANT SELECT ON penstock.forms TO pg_monitor")
    require_granted(scratch)


def test_partitions_that_are_made_later_have_their_rights(scratch: psycopg.Connection) -> None:
    scratch.execute("SET LOCAL ROLE penstock_worker")
    scratch.execute("SELECT penstock.ensure_submissions_partition('2004-02-01')")
    scratch.execute("SELECT penstock.ensure_publish_attempts_partition('2022-02-01')")
    scratch.execute("RESET ROLE")
    require_granted(scratch)


def test_verify_looks_at_rights_once_all_is_applied(url: str) -> None:
    Migrator(url).up(5)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON penstock.forms FROM penstock_worker")
        Migrator(url).verify()
        Migrator(url).up()
        with pytest.raises(PenstockError, match=r"lacks INSERT ON TABLE penstock\.forms") as caught:
            Migrator(url).verify()
        assert "GRANT INSERT ON TABLE penstock.forms TO penstock_worker;" in caught.value.remedy
        for statement in caught.value.details["sql"]:
            connection.execute(statement.encode())
    Migrator(make_conninfo(url, options="-c role=penstock_reader")).verify()
