"""Each process runs with a login that has its one role, and none of the logins can do what it must not."""

import subprocess
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from tests.end_to_end import roles_system
from tests.end_to_end.roles_system import LOGINS, RolesSystem
from tests.servers import FAST_SETTINGS
from tests.system import BIN

Deed = Callable[[RolesSystem], None]

READERS = ["of_reports", "of_a_shop"]
RUINOUS = {
    "drop a table": "DROP TABLE penstock.submissions",
    "drop the schema": "DROP SCHEMA penstock CASCADE",
    "add a column": "ALTER TABLE penstock.forms ADD COLUMN mine text",
    "make a table": "CREATE TABLE penstock.mine ()",
    "replace a function": "CREATE OR REPLACE FUNCTION penstock.job_id(text, text, text) RETURNS uuid"
    " LANGUAGE sql RETURN NULL::uuid",
    "disable a trigger": "ALTER TABLE penstock.operator_actions DISABLE TRIGGER ALL",
    "skip triggers": "SET session_replication_role = replica",
    "grant itself more": "GRANT penstock_owner TO CURRENT_USER",
    "become the owner": "SET ROLE penstock_owner",
    "make a login": "CREATE ROLE mine LOGIN",
    "edit the audit": "UPDATE penstock.operator_actions SET actor = 'somebody else'",
    "delete from the audit": "DELETE FROM penstock.operator_actions",
    "empty the audit": "TRUNCATE penstock.operator_actions",
    "edit evidence": "UPDATE penstock.publish_attempts SET answer_class = 'fine'",
    "delete evidence": "DELETE FROM penstock.publish_attempts",
    "empty evidence": "TRUNCATE penstock.publish_attempts",
    "drop young evidence": "SELECT penstock.drop_publish_attempts_partitions(0)",
    "edit an answer": "UPDATE penstock.submissions SET answers = '{}'",
    "delete answers": "DELETE FROM penstock.submissions",
    "delete a letter": "DELETE FROM penstock.dead_letters",
    "make an API key": "INSERT INTO penstock.api_keys (key_id) VALUES (gen_random_uuid())",
    "write a migration": "DELETE FROM penstock.schema_migrations",
}
WRITES = {
    "a form": "INSERT INTO penstock.forms (tenant, form_id, latest_version) VALUES ('t', 'x', 0)",
    "an action": "INSERT INTO penstock.operator_actions (action_id) VALUES (gen_random_uuid())",
    "a post": "UPDATE penstock.scheduled_posts SET state = 'cancelled'",
    "a letter": "UPDATE penstock.dead_letters SET state = 'discarded'",
    "the outbox": "DELETE FROM penstock.outbox",
    "a temporary table is no way in": "INSERT INTO penstock.job_effects SELECT",
}
SECRETS = {
    "payloads of letters": "SELECT payload FROM penstock.dead_letters",
    "tokens": "SELECT token_ciphertext FROM penstock.social_accounts",
    "digests of keys": "SELECT digest FROM penstock.api_keys",
}


@pytest.fixture(scope="module")
def system(redis_url: str, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolesSystem]:
    """All processes on a PostgreSQL of their own, since roles belong to the whole cluster."""
    with Home(tmp_path_factory.mktemp("cluster")) as home:
        server = EmbeddedPostgres(home, settings=FAST_SETTINGS)
        admin_url = server.start().admin
        environment = {"REDIS_URL": redis_url, "PENSTOCK_NAMESPACE": namespace}

        def url_of(login: str) -> str:
            place = server.urls.admin.rpartition("@")[2]
            return f"postgresql://{login}:{login}@{place}"

        try:
            with roles_system.running(admin_url, url_of, environment, tmp_path_factory.mktemp("roles")) as found:
                yield found
        finally:
            server.stop()


@pytest.mark.parametrize("deed", roles_system.DEEDS, ids=lambda deed: str(deed.__name__))
def test_with_its_own_login_each_process_does_its_job(system: RolesSystem, deed: Deed) -> None:
    deed(system)


@pytest.mark.parametrize("command", ["worker", "scheduler"])
def test_a_refused_password_ends_a_start(system: RolesSystem, command: str) -> None:
    url = system.url_of("of_workers").replace(":of_workers@", ":hunter2@")
    run = subprocess.run(
        [BIN / "penstock", command],
        env=system.environment_of("of_workers") | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "STORAGE_PERMISSION_DENIED" in run.stderr
    assert "hunter2" not in run.stderr


def refused(system: RolesSystem, login: str, statement: str) -> None:
    """It must fail for want of a right, before anything else."""
    with psycopg.connect(system.url_of(login)) as connection:
        if "drop_publish" in statement and LOGINS[login] == "penstock_worker":
            # It may drop what is old enough; that it is, the function sees to.
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute(statement.encode())
            return
        with pytest.raises(InsufficientPrivilege):
            connection.execute(statement.encode())


@pytest.mark.parametrize("statement", RUINOUS.values(), ids=RUINOUS.keys())
@pytest.mark.parametrize("login", LOGINS)
def test_no_login_can_ruin_anything(system: RolesSystem, login: str, statement: str) -> None:
    refused(system, login, statement)


@pytest.mark.parametrize("statement", [*WRITES.values(), *SECRETS.values()], ids=[*WRITES, *SECRETS])
@pytest.mark.parametrize("login", READERS)
def test_readers_and_producers_write_nothing_and_see_no_secrets(
    system: RolesSystem, login: str, statement: str
) -> None:
    refused(system, login, statement)


def test_a_producer_can_do_nothing_but_enqueue(system: RolesSystem) -> None:
    with psycopg.connect(system.url_of("of_a_shop"), autocommit=True) as connection:
        callable_ones = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'penstock'::regnamespace"
            " AND has_function_privilege(oid, 'EXECUTE')"
        ).fetchall()
        assert callable_ones == [("enqueue",)]
        touchable = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'penstock'::regnamespace AND relkind IN ('r', 'p', 'v')"
            " AND (has_table_privilege(oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
            "      OR has_any_column_privilege(oid, 'SELECT, INSERT, UPDATE, REFERENCES'))"
        ).fetchall()
        assert touchable == []


def test_tomorrows_partitions_can_be_read(system: RolesSystem) -> None:
    with psycopg.connect(system.url_of("of_workers"), autocommit=True) as worker:
        worker.execute("SELECT penstock.ensure_submissions_partition('2003-05-01')")
        worker.execute("SELECT penstock.ensure_publish_attempts_partition('2021-05-01')")
    for login in ("of_workers", "of_reports"):
        with psycopg.connect(system.url_of(login)) as connection:
            for partition in ("submissions_y2003m05", "publish_attempts_y2021m05"):
                assert connection.execute(f"SELECT count(*) FROM penstock.{partition}".encode()).fetchone() == (0,)
                with pytest.raises(InsufficientPrivilege), connection.transaction():
                    connection.execute(f"DELETE FROM penstock.{partition}".encode())
