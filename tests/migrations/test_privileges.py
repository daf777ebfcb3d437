"""What each role may do, by trying it."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from penstock.migrations.runner import Migrator
from tests.migrations.conftest import NewDatabase

WORKER, READER, PRODUCER = "penstock_worker", "penstock_reader", "penstock_producer"
#: A role of PostgreSQL's own, which has here what everybody has.
PUBLIC = "pg_monitor"

TABLES = (
    "forms",
    "form_versions",
    "base_batches",
    "submission_batches",
    "submission_rejections",
    "submissions",
    "submissions_default",
    "schema_migrations",
)

INSERTS = {
    "a form": "INSERT INTO penstock.forms (tenant, form_id, latest_version) VALUES ('t', 'new', 0)",
    "a form version": "INSERT INTO penstock.form_versions VALUES (1, 2, '{}', decode(repeat('00', 32), 'hex'))",
    "a base batch": "INSERT INTO penstock.base_batches VALUES ('t', 'new', 1, 10)",
    "a batch": """
        INSERT INTO penstock.submission_batches (tenant, batch_id, form_key, form_id, form_version, base_batch_id,
               first_position, digest, stored, rejected, duplicates, job_id, received_at)
        VALUES ('t', 'new', 1, 'f', 1, 'new', 0, '', 0, 0, 0, gen_random_uuid(), now())
        ON CONFLICT (tenant, batch_id) DO NOTHING""",
    "a rejection": """
        INSERT INTO penstock.submission_rejections (tenant, batch_id, form_id, position, content, faults)
        VALUES ('t', 'new', 'f', 0, '{}', '[]')""",
    "a submission": """
        INSERT INTO penstock.submissions VALUES (now(), now(), gen_random_uuid(), 1, 'b', 'f', NULL, '{}')
        ON CONFLICT (form_key, submission_id, submitted_at) DO NOTHING""",
    "a submission of a month without partition": """
        INSERT INTO penstock.submissions VALUES ('1999-01-01Z', now(), gen_random_uuid(), 1, 'b', 'f', NULL, '{}')""",
}
UPDATES = {
    "lock a form": "SELECT FROM penstock.forms WHERE form_key = 1 FOR UPDATE",
    "a form's version": "UPDATE penstock.forms SET latest_version = 2, updated_at = now() WHERE form_key = 1",
    "a batch's counts": "UPDATE penstock.submission_batches SET stored = 1, duplicates = 2 WHERE batch_id = 'b'",
    "a rejection's end": "UPDATE penstock.submission_rejections SET resolved_by = 'x', resolved_at = now()",
    "make partitions": "SELECT penstock.ensure_submissions_partitions(4)",
    "make a partition": "SELECT penstock.ensure_submissions_partition('2001-01-01')",
}
NOBODY = {
    "rename a form": "UPDATE penstock.forms SET form_id = 'x'",
    "change a version": "UPDATE penstock.form_versions SET definition = '{}'",
    "change a base batch": "UPDATE penstock.base_batches SET batch_size = 1",
    "change a batch's digest": "UPDATE penstock.submission_batches SET digest = ''",
    "change a rejection's content": "UPDATE penstock.submission_rejections SET content = '{}'",
    "change a submission": "UPDATE penstock.submissions SET answers = '{}'",
    "insert beside the parent": """
        INSERT INTO penstock.submissions_default
        VALUES ('1999-01-01Z', now(), gen_random_uuid(), 1, 'b', 'f', NULL, '{}')""",
    "note a migration": "INSERT INTO penstock.schema_migrations VALUES (99, 'x', '', '', 'applied')",
    "change a note of a migration": "UPDATE penstock.schema_migrations SET state = 'applied'",
    "make a table": "CREATE TABLE penstock.mine ()",
    "make a function": "CREATE FUNCTION penstock.mine() RETURNS integer LANGUAGE sql RETURN 1",
    "drop the schema": "DROP SCHEMA penstock CASCADE",
    "become the owner": "SET ROLE penstock_owner; CREATE TABLE penstock.mine ()",
    **{f"delete from {table}": f"DELETE FROM penstock.{table}" for table in TABLES},
    **{f"truncate {table}": f"TRUNCATE penstock.{table} CASCADE" for table in TABLES},
    **{f"drop {table}": f"DROP TABLE penstock.{table} CASCADE" for table in TABLES},
    **{f"add a column to {table}": f"ALTER TABLE penstock.{table} ADD COLUMN mine text" for table in TABLES},
}
READS = {f"read {table}": f"SELECT * FROM penstock.{table}" for table in TABLES}


ROWS = f"""
    {INSERTS["a form"]};
    INSERT INTO penstock.form_versions VALUES (1, 1, '{{}}', decode(repeat('00', 32), 'hex'));
    INSERT INTO penstock.base_batches VALUES ('t', 'b', 1, 10);
    {INSERTS["a batch"]};
    {INSERTS["a rejection"]};
    {INSERTS["a submission"]};
    UPDATE penstock.forms SET form_id = 'f';
    UPDATE penstock.submission_batches SET batch_id = 'b';
    UPDATE penstock.submission_rejections SET batch_id = 'b';
"""


@pytest.fixture(scope="module")
def populated(module_database: NewDatabase) -> Iterator[psycopg.Connection]:
    """A migrated database with a row in each table, seen by a superuser who takes on other roles."""
    url = module_database()
    Migrator(url).up()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ROWS.encode())
        yield connection


def attempt(connection: psycopg.Connection, role: str, statement: str) -> None:
    """Try it as a session of `role`, and undo it."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL SESSION AUTHORIZATION {role}".encode())
        connection.execute(statement.encode())


def cases(*groups: dict[str, str]) -> pytest.MarkDecorator:
    together = {name: statement for group in groups for name, statement in group.items()}
    return pytest.mark.parametrize("statement", together.values(), ids=together.keys())


@cases(READS, INSERTS, UPDATES)
def test_a_worker_may(populated: psycopg.Connection, statement: str) -> None:
    attempt(populated, WORKER, statement)


@cases(READS)
def test_a_reader_may(populated: psycopg.Connection, statement: str) -> None:
    attempt(populated, READER, statement)


@cases(NOBODY)
@pytest.mark.parametrize("role", [WORKER, READER, PRODUCER, PUBLIC])
def test_nobody_may(populated: psycopg.Connection, role: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        attempt(populated, role, statement)


@cases(INSERTS, UPDATES)
@pytest.mark.parametrize("role", [READER, PRODUCER, PUBLIC])
def test_only_a_worker_may(populated: psycopg.Connection, role: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        attempt(populated, role, statement)


@cases(READS)
@pytest.mark.parametrize("role", [PRODUCER, PUBLIC])
def test_only_a_worker_or_reader_may(populated: psycopg.Connection, role: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        attempt(populated, role, statement)


@pytest.mark.parametrize("role", [WORKER, READER])
def test_tomorrows_partitions_and_tables_may_be_read(populated: psycopg.Connection, role: str) -> None:
    with populated.transaction(force_rollback=True):
        populated.execute("SET LOCAL ROLE penstock_worker")
        populated.execute("SELECT penstock.ensure_submissions_partition('2002-02-01')")
        populated.execute("SET LOCAL ROLE penstock_owner")
        populated.execute("CREATE TABLE penstock.tomorrow (id integer GENERATED ALWAYS AS IDENTITY)")
        populated.execute(f"SET LOCAL ROLE {role}".encode())
        assert populated.execute("SELECT * FROM penstock.submissions_y2002m02").fetchall() == []
        assert populated.execute("SELECT * FROM penstock.tomorrow").fetchall() == []
        with pytest.raises(InsufficientPrivilege), populated.transaction():
            populated.execute("INSERT INTO penstock.tomorrow DEFAULT VALUES")


def test_a_worker_writes_into_a_partition_that_was_made_later(populated: psycopg.Connection) -> None:
    with populated.transaction(force_rollback=True):
        populated.execute("SET LOCAL ROLE penstock_worker")
        populated.execute("SELECT penstock.ensure_submissions_partition('1999-01-01')")
        populated.execute(INSERTS["a submission of a month without partition"].encode())
        rows = populated.execute("SELECT count(*) FROM penstock.submissions_y1999m01").fetchone()
    assert rows == (1,)


def test_tomorrows_functions_are_nobodys(populated: psycopg.Connection) -> None:
    with populated.transaction(force_rollback=True):
        populated.execute("SET LOCAL ROLE penstock_owner")
        populated.execute("CREATE FUNCTION penstock.tomorrow() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        populated.execute("SET LOCAL ROLE penstock_worker")
        with pytest.raises(InsufficientPrivilege):
            populated.execute("SELECT penstock.tomorrow()")


@pytest.mark.parametrize("role", ["penstock_owner", WORKER, READER, PRODUCER])
def test_no_role_can_log_in_or_rule(populated: psycopg.Connection, role: str) -> None:
    row = populated.execute(
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        " FROM pg_roles WHERE rolname = %s",
        (role,),
    ).fetchone()
    assert row == (False,) * 6
