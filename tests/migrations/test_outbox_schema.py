"""The outbox's functions: who may call them, what they refuse, and what two transactions with one key get."""

import hashlib
import json
import threading
import uuid
from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

from penstock.migrations.runner import Migrator
from penstock.schemas.identity import job_id
from tests.migrations.catalogue import catalogue

ENQUEUE = "SELECT penstock.enqueue(%s, %s::jsonb)"
KEYED = "SELECT penstock.enqueue('a.b', %s::jsonb, idempotency_key => %s)"
ROWS = "SELECT count(*) FROM penstock.outbox"

#: What a role may do with it: the statement, and the roles that may.
RIGHTS = {
    "enqueue": ("SELECT penstock.enqueue('a.b', '{}')", {"penstock_producer", "penstock_worker"}),
    "enqueue bytes": ("SELECT penstock.enqueue_bytes('a.b', '{}'::bytea)", {"penstock_worker"}),
    "enqueue many": (
        "SELECT penstock.enqueue_many_bytes('{a.b}', '{a}', '{NULL}', '{k}', '{t}', '{NULL}', '{1}')",
        {"penstock_worker"},
    ),
    "derive an id": ("SELECT penstock.job_id('t', 'a.b', 'k')", {"penstock_worker", "penstock_reader"}),
    "check arguments": ("SELECT penstock.require_enqueueable('a.b', 't', 'k', now())", set()),
    "read the outbox": ("SELECT * FROM penstock.outbox", {"penstock_worker", "penstock_reader"}),
    "read its sequence": ("SELECT last_value FROM penstock.outbox_id_seq", {"penstock_reader"}),
    "insert past the function": (
        "INSERT INTO penstock.outbox (job_id, kind, tenant, payload_version, payload, digest)"
        " VALUES (gen_random_uuid(), 'a.b', 't', 1, '', '')",
        set(),
    ),
    "relay": ("UPDATE penstock.outbox SET state = 'relayed', times_relayed = 1", {"penstock_worker"}),
    "claim": ("SELECT FROM penstock.outbox FOR UPDATE SKIP LOCKED", {"penstock_worker"}),
    "change a payload": ("UPDATE penstock.outbox SET payload = ''", set()),
    "change a job": ("UPDATE penstock.outbox SET job_id = gen_random_uuid()", set()),
    "remove a row": ("DELETE FROM penstock.outbox", {"penstock_worker"}),
    "empty the outbox": ("TRUNCATE penstock.outbox", set()),
    "claim an effect": (
        "INSERT INTO penstock.job_effects (job_id, kind, tenant) VALUES (gen_random_uuid(), 'a.b', 't')",
        {"penstock_worker"},
    ),
    "read effects": ("SELECT * FROM penstock.effects, penstock.job_effects", {"penstock_worker", "penstock_reader"}),
    "change an effect": ("UPDATE penstock.job_effects SET result = NULL", set()),
    "remove an effect": ("DELETE FROM penstock.job_effects", set()),
    "record an action": (
        "INSERT INTO penstock.operator_actions (action_id, at, actor, action, target, reason)"
        " VALUES (gen_random_uuid(), now(), 'a', 'b', 'c', 'd') ON CONFLICT DO NOTHING",
        {"penstock_worker"},
    ),
    "read actions": ("SELECT * FROM penstock.operator_actions", {"penstock_worker", "penstock_reader"}),
    "change an action": ("UPDATE penstock.operator_actions SET actor = 'x'", set()),
    "remove an action": ("DELETE FROM penstock.operator_actions", set()),
    "empty the actions": ("TRUNCATE penstock.operator_actions", set()),
}


@pytest.mark.parametrize("role", ["penstock_producer", "penstock_worker", "penstock_reader", "pg_monitor"])
@pytest.mark.parametrize(("statement", "allowed"), RIGHTS.values(), ids=RIGHTS.keys())
def test_each_role_may_do_what_is_its_own(
    scratch: psycopg.Connection, role: str, statement: str, allowed: set[str]
) -> None:
    scratch.execute("SELECT penstock.enqueue('a.b', '{}')")
    scratch.execute(f"SET LOCAL SESSION AUTHORIZATION {role}".encode())
    if role in allowed:
        scratch.execute(statement.encode())
    else:
        with pytest.raises(errors.InsufficientPrivilege):
            scratch.execute(statement.encode())


def test_a_producer_may_execute_enqueue_and_nothing_else(scratch: psycopg.Connection) -> None:
    executable = scratch.execute("""
        SELECT p.proname FROM pg_proc p
         WHERE p.pronamespace = 'penstock'::regnamespace
           AND has_function_privilege('penstock_producer', p.oid, 'EXECUTE')
    """).fetchall()
    assert executable == [("enqueue",)]
    readable = scratch.execute("""
        SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = 'penstock'::regnamespace AND c.relkind IN ('r', 'v', 'p')
           AND has_table_privilege('penstock_producer', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
    """).fetchall()
    assert readable == []


@pytest.mark.parametrize("role", ["penstock_owner", "postgres"])
@pytest.mark.parametrize("replication", ["origin", "replica"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET actor = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
def test_an_action_is_recorded_for_ever(
    scratch: psycopg.Connection, role: str, replication: str, statement: str
) -> None:
    scratch.execute(RIGHTS["record an action"][0].encode())
    scratch.execute("SELECT set_config('session_replication_role', %s, true)", (replication,))
    if role != "postgres":
        scratch.execute(f"SET LOCAL ROLE {role}".encode())
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="recorded for ever"):
        scratch.execute(statement.format("penstock.operator_actions").encode())


def test_a_row_holds_what_was_enqueued(scratch: psycopg.Connection) -> None:
    row = scratch.execute(
        "SELECT penstock.enqueue(kind => 'a.b', payload => '{\"z\": 1, \"a\":  \"é\"}', tenant => 'acme',"
        " idempotency_key => 'k', run_at => now() + interval '1 hour')"
    ).fetchone()
    text = '{"a": "é", "z": 1}'.encode()
    stored = scratch.execute(
        "SELECT job_id, kind, queue, tenant, payload_version, payload, idempotency_key, digest, state,"
        " run_at = now() + interval '1 hour', times_relayed, checked_at FROM penstock.outbox"
    ).fetchall()
    identity, digest = job_id("acme", "a.b", "k"), hashlib.sha256(text).hexdigest()
    assert row == (identity,)
    assert stored == [(identity, "a.b", None, "acme", 1, text, "k", digest, "waiting", True, 0, None)]


@pytest.mark.parametrize("run_at", ["now()", "NULL", "now() - interval '1 day'", "'1970-01-01Z'"])
def test_what_is_due_is_due_at_once(scratch: psycopg.Connection, run_at: str) -> None:
    scratch.execute(f"SELECT penstock.enqueue('a.b', '{{}}', {run_at})".encode())
    assert scratch.execute("SELECT run_at FROM penstock.outbox").fetchone() == (None,)


def test_without_a_key_each_call_is_a_job_of_its_own(scratch: psycopg.Connection) -> None:
    ids = {scratch.execute(ENQUEUE, ("a.b", "{}")).fetchone() for _ in range(3)}
    assert len(ids) == 3
    assert all(isinstance(found, tuple) and found[0].version == 4 for found in ids)


def test_a_known_key_with_the_same_payload_adds_nothing(scratch: psycopg.Connection) -> None:
    first = scratch.execute(KEYED, ('{"a":1,"b":2}', "k")).fetchone()
    # jsonb knows neither the order of members nor white space.
    assert scratch.execute(KEYED, ('{ "b": 2, "a": 1 }', "k")).fetchone() == first
    assert scratch.execute(ROWS).fetchone() == (1,)


def test_a_known_key_with_another_payload_is_a_conflict(scratch: psycopg.Connection) -> None:
    scratch.execute(KEYED, ('{"a":1}', "k"))
    with pytest.raises(errors.UniqueViolation, match="JOB_CONFLICT: the idempotency key 'k'"), scratch.transaction():
        scratch.execute(KEYED, ('{"a":2}', "k"))
    assert scratch.execute(ROWS).fetchone() == (1,)


def test_the_same_key_of_another_kind_or_tenant_is_another_job(scratch: psycopg.Connection) -> None:
    for kind, tenant in (("a.b", "t"), ("a.c", "t"), ("a.b", "u")):
        scratch.execute("SELECT penstock.enqueue(%s, '{}', now(), 'k', %s)", (kind, tenant))
    assert scratch.execute(ROWS).fetchone() == (3,)


NAME = "x" * 201
REFUSED = {
    "no kind": ("NULL, '{}'", "JOB_UNKNOWN_KIND: NULL"),
    "empty kind": ("'', '{}'", "JOB_UNKNOWN_KIND: ''"),
    "kind without dot": ("'kind', '{}'", "JOB_UNKNOWN_KIND: 'kind'"),
    "kind in capitals": ("'A.b', '{}'", "JOB_UNKNOWN_KIND"),
    "kind with a line feed": ("E'a.b\\n', '{}'", "JOB_UNKNOWN_KIND"),
    "long kind": (f"'a.{NAME}', '{{}}'", "JOB_UNKNOWN_KIND"),
    "no payload": ("'a.b', NULL", "JOB_PAYLOAD_INVALID.*NULL"),
    "list": ("'a.b', '[]'", "JOB_PAYLOAD_INVALID.*array"),
    "null": ("'a.b', 'null'", "JOB_PAYLOAD_INVALID.*null"),
    "slash in the key": ("'a.b', '{}', idempotency_key => 'a/b'", "REQUEST_USAGE: 'a/b'"),
    "empty key": ("'a.b', '{}', idempotency_key => ''", "REQUEST_USAGE: ''"),
    "long key": (f"'a.b', '{{}}', idempotency_key => '{NAME}'", "REQUEST_USAGE"),
    "no tenant": ("'a.b', '{}', tenant => NULL", "REQUEST_TENANT_INVALID: NULL"),
    "slash in the tenant": ("'a.b', '{}', tenant => 'a/b', idempotency_key => 'k'", "REQUEST_TENANT_INVALID: 'a/b'"),
    "never": ("'a.b', '{}', 'infinity'", "REQUEST_USAGE: run_at must be an instant"),
    "too large": ("'a.b', jsonb_build_object('a', repeat('x', 16777216))", "BATCH_TOO_LARGE"),
}


@pytest.mark.parametrize(("arguments", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_is_refused_by_its_code(scratch: psycopg.Connection, arguments: str, told: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=told), scratch.transaction():
        scratch.execute(f"SELECT penstock.enqueue({arguments})".encode())
    assert scratch.execute(ROWS).fetchone() == (0,)


def test_a_rolled_back_transaction_leaves_nothing_and_tells_nobody(
    database: psycopg.Connection, connect: Callable[[], psycopg.Connection]
) -> None:
    database.execute("LISTEN penstock_outbox")
    writer = connect()
    writer.execute(ENQUEUE, ("a.b", "{}"))
    writer.rollback()
    writer.execute("NOTIFY penstock_outbox, 'end'")
    writer.commit()
    assert next(database.notifies(timeout=60)).payload == "end"
    assert database.execute(ROWS).fetchone() == (0,)
    writer.execute(ENQUEUE, ("a.b", "{}"))
    writer.commit()
    assert next(database.notifies(timeout=60)).payload == ""


class Second:
    """A second transaction, in a thread, that enqueues under a key that the first one holds."""

    def __init__(self, connection: psycopg.Connection, payload: str) -> None:
        self.connection = connection
        self.result: object = None
        self._thread = threading.Thread(target=self._run, args=(payload,))
        self._thread.start()

    def _run(self, payload: str) -> None:
        try:
            row = self.connection.execute(KEYED, (payload, "k")).fetchone()
            self.connection.commit()
            self.result = row
        except psycopg.Error as error:
            self.result = error
            self.connection.rollback()

    def wait_until_it_waits(self, watching: psycopg.Connection) -> None:
        waits = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted"
        while watching.execute(waits, (self.connection.info.backend_pid,)).fetchone() == (0,):
            assert self._thread.is_alive()

    def join(self) -> object:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.result


@pytest.fixture
def racing(
    database: psycopg.Connection, connect: Callable[[], psycopg.Connection]
) -> Callable[[str], tuple[psycopg.Connection, Second]]:
    def race(payload: str) -> tuple[psycopg.Connection, Second]:
        first = connect()
        first.execute(KEYED, ("{}", "k"))
        second = Second(connect(), payload)
        second.wait_until_it_waits(database)
        return first, second

    return race


Race = Callable[[str], tuple[psycopg.Connection, Second]]


def test_the_second_of_two_transactions_gets_the_firsts_job(database: psycopg.Connection, racing: Race) -> None:
    first, second = racing("{}")
    first.commit()
    assert second.join() == (job_id("default", "a.b", "k"),)
    assert database.execute(ROWS).fetchone() == (1,)


def test_the_second_enqueues_where_the_first_is_rolled_back(database: psycopg.Connection, racing: Race) -> None:
    first, second = racing('{"other": 1}')
    first.rollback()
    assert second.join() == (job_id("default", "a.b", "k"),)
    assert database.execute("SELECT payload FROM penstock.outbox").fetchall() == [(b'{"other": 1}',)]


def test_the_second_is_a_conflict_where_its_payload_is_another(database: psycopg.Connection, racing: Race) -> None:
    first, second = racing('{"other": 1}')
    first.commit()
    assert isinstance(second.join(), errors.UniqueViolation)
    assert database.execute("SELECT payload FROM penstock.outbox").fetchall() == [(b"{}",)]


def test_a_callers_objects_can_not_get_in_the_way(scratch: psycopg.Connection) -> None:
    """The functions run with their owner's rights, so they must find nobody else's functions and operators."""
    scratch.execute("CREATE SCHEMA evil")
    scratch.execute("CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea'")
    scratch.execute("CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz'")
    scratch.execute("SET LOCAL search_path = evil, pg_catalog")
    scratch.execute("SELECT penstock.enqueue('a.b', '{}', pg_catalog.now(), 'k')")
    assert scratch.execute("SELECT job_id FROM penstock.outbox").fetchone() == (job_id("default", "a.b", "k"),)


def test_effects_are_those_of_both_ledgers(scratch: psycopg.Connection) -> None:
    of_kind, of_batch = uuid.uuid4(), uuid.uuid4()
    scratch.execute("INSERT INTO penstock.job_effects (job_id, kind, tenant) VALUES (%s, 'a.b', 't')", (of_kind,))
    scratch.execute(
        """
        INSERT INTO penstock.submission_batches (tenant, batch_id, form_key, form_id, form_version, base_batch_id,
               first_position, digest, stored, rejected, duplicates, job_id, received_at)
        VALUES ('t', 'b', 1, 'f', 1, 'b', 0, '', 0, 0, 0, %s, now())
        """,
        (of_batch,),
    )
    found = scratch.execute("SELECT job_id FROM penstock.effects WHERE committed_at IS NOT NULL").fetchall()
    assert {identity for (identity,) in found} == {of_kind, of_batch}


def test_an_effect_is_looked_up_by_indexes(scratch: psycopg.Connection) -> None:
    scratch.execute("SET LOCAL enable_seqscan = off")
    plan = scratch.execute(
        "EXPLAIN (FORMAT json) SELECT FROM penstock.effects WHERE job_id = ANY(%s)", ([uuid.uuid4()],)
    ).fetchone()
    told = json.dumps(plan)
    assert "submission_batches_job_idx" in told
    assert "job_effects_pkey" in told


def test_the_way_down_and_up_again_is_the_same_schema(url: str) -> None:
    migrator = Migrator(url)
    migrator.up()
    with psycopg.connect(url, autocommit=True) as connection:
        made = catalogue(connection)
        migrator.down(4)
        assert connection.execute("SELECT to_regclass('penstock.outbox')").fetchone() == (None,)
        migrator.up()
        assert catalogue(connection) == made


MANY = (
    "SELECT penstock.enqueue_many_bytes(%s::text[], '{a,b}', '{NULL,NULL}', %s::text[], %s::text[], '{q,q}', '{1,1}')"
)
MANY_REFUSED = {
    "kind": (["a.b", "A.b"], [None, None], ["t", "t"], "JOB_UNKNOWN_KIND"),
    "key": (["a.b", "a.b"], ["k", "a/b"], ["t", "t"], "REQUEST_USAGE: 'a/b'"),
    "tenant": (["a.b", "a.b"], [None, None], ["t", None], "REQUEST_TENANT_INVALID: NULL"),
    "too few": (["a.b", "a.b"], ["k"], ["t", "t"], "REQUEST_USAGE: each array"),
    "too many": (["a.b"], [None, None], ["t", "t"], "REQUEST_USAGE: each array"),
}


@pytest.mark.parametrize(("kinds", "keys", "tenants", "told"), MANY_REFUSED.values(), ids=MANY_REFUSED)
def test_of_many_each_is_checked_as_one_alone(
    scratch: psycopg.Connection, kinds: list[str], keys: list[str | None], tenants: list[str | None], told: str
) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=told), scratch.transaction():
        scratch.execute(MANY, (kinds, keys, tenants))
    assert scratch.execute(ROWS).fetchone() == (0,)


def test_many_tell_the_relay_once_and_only_where_it_sleeps(url: str) -> None:
    Migrator(url).up()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("LISTEN penstock_outbox")
        heard = []
        for keys in (["1", "2"], ["3", "4"], ["3", "4"]):
            connection.execute(MANY, (["a.b", "a.b"], keys, ["t", "t"]))
            heard.append(len(list(connection.notifies(timeout=0))))
        assert heard == [1, 0, 0]
