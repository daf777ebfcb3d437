"""The rules that the database itself keeps for dead letters, and who may do what with them."""

import uuid

import psycopg
import pytest
from psycopg import errors

from penstock.migrations.runner import Migrator
from tests.migrations.catalogue import catalogue

INSERT = """
INSERT INTO penstock.dead_letters
       (dead_id, job_id, queue, kind, tenant, code, message, fingerprint, state, became, attempts, recoveries, crashes,
        postpones, payload_version, enqueued_at, died_at, worker, release, history, message_bytes, body, header_ok,
        search, resolved_at, resolved_by, resolution_reason)
VALUES (gen_random_uuid(), gen_random_uuid(), 'submissions', 'a.b', 't', 'C', 'm', '0123456789abcdef', %s, %s, 1, 0, 0,
        0, 1, now(), now(), 'w', 'r', '[]', 2, '{}', true, '',
        CASE WHEN %s <> 'open' THEN now() - make_interval(days => %s) END, 'ada', 'why')
RETURNING dead_id
"""
RESOLVED = {"discarded": ("discarded", None), "done": ("requeued", "done"), "died": ("requeued", "died")}
UNRESOLVED = {"open": ("open", None), "waiting": ("requeued", "waiting")}

OPEN = INSERT.replace("%s <> 'open' THEN now() - make_interval(days => %s)", "false THEN now()").replace(
    "'0123456789abcdef', %s, %s", "'0123456789abcdef', 'open', NULL"
)
DISCARD = (
    "UPDATE penstock.dead_letters SET state = 'discarded', resolved_at = now(), resolved_by = 'x',"
    " resolution_reason = 'y'"
)
RIGHTS = {
    "archive": (OPEN, {"penstock_worker"}),
    "decide": (DISCARD, {"penstock_worker"}),
    "read letters": ("SELECT * FROM penstock.dead_letters", {"penstock_worker"}),
    "read a payload": ("SELECT body FROM penstock.dead_letters", {"penstock_worker"}),
    "read what is searched": ("SELECT payload FROM penstock.dead_letters", {"penstock_worker"}),
    "read facts": ("SELECT * FROM penstock.dead_letter_facts", {"penstock_worker", "penstock_reader"}),
    "read groups": (
        "SELECT * FROM penstock.dead_letter_groups, penstock.dead_letter_group_subjects,"
        " penstock.dead_letter_group_hours",
        {"penstock_worker", "penstock_reader"},
    ),
    "change a payload": ("UPDATE penstock.dead_letters SET body = ''", set()),
    "change a death": ("UPDATE penstock.dead_letters SET died_at = now()", set()),
    "remove a letter": ("DELETE FROM penstock.dead_letters", set()),
    "empty the letters": ("TRUNCATE penstock.dead_letters", set()),
    "remove what is resolved": (
        "SELECT penstock.delete_resolved_letters(now() - interval '9 d', 1)",
        {"penstock_worker"},
    ),
    "note on a group": (
        "UPDATE penstock.dead_letter_groups SET note = 'x', snoozed_until = now()",
        {"penstock_worker"},
    ),
    "change a count": ("UPDATE penstock.dead_letter_groups SET open = 0", set()),
    "remove a group": ("DELETE FROM penstock.dead_letter_groups", set()),
    "change who is affected": ("UPDATE penstock.dead_letter_group_subjects SET total = 0", set()),
    "change the hours": ("DELETE FROM penstock.dead_letter_group_hours", set()),
    "revive": ("SELECT penstock.revive_letters('{}', '{}', '{}')", {"penstock_worker"}),
}


@pytest.mark.parametrize("role", ["penstock_producer", "penstock_worker", "penstock_reader", "pg_monitor"])
@pytest.mark.parametrize(("statement", "allowed"), RIGHTS.values(), ids=RIGHTS.keys())
def test_each_role_may_do_what_is_its_own(
    scratch: psycopg.Connection, role: str, statement: str, allowed: set[str]
) -> None:
    scratch.execute(OPEN.encode())
    scratch.execute(f"SET LOCAL SESSION AUTHORIZATION {role}".encode())
    if role in allowed:
        scratch.execute(statement.encode())
    else:
        with pytest.raises(errors.InsufficientPrivilege):
            scratch.execute(statement.encode())


def test_a_reader_sees_no_contents(scratch: psycopg.Connection) -> None:
    columns = {
        column
        for (column,) in scratch.execute("""
        SELECT attname FROM pg_attribute
         WHERE attrelid = 'penstock.dead_letter_facts'::regclass AND attnum > 0
    """)
    }
    assert not columns & {"body", "raw", "payload", "search"}
    assert {"dead_id", "code", "message", "state", "history"} <= columns


def insert(connection: psycopg.Connection, state: str, became: str | None, days: int = 100) -> uuid.UUID:
    row = connection.execute(INSERT.encode(), (state, became, state, days)).fetchone()
    assert row is not None
    found: uuid.UUID = row[0]
    return found


@pytest.mark.parametrize("replication", ["origin", "replica"])
@pytest.mark.parametrize("statement", ["DELETE FROM penstock.dead_letters", "TRUNCATE penstock.dead_letters"])
@pytest.mark.parametrize(("state", "became"), UNRESOLVED.values(), ids=UNRESOLVED.keys())
def test_nobody_removes_what_is_not_resolved(
    scratch: psycopg.Connection, replication: str, statement: str, state: str, became: str | None
) -> None:
    insert(scratch, state, became)
    scratch.execute("SELECT set_config('session_replication_role', %s, true)", (replication,))
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="nobody has resolved"):
        scratch.execute(statement.encode())


@pytest.mark.parametrize(("state", "became"), RESOLVED.values(), ids=RESOLVED.keys())
def test_a_decision_stands(scratch: psycopg.Connection, state: str, became: str | None) -> None:
    insert(scratch, state, became)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is resolved, and stays so"):
        scratch.execute(
            "UPDATE penstock.dead_letters SET state = 'open', became = NULL, resolved_at = NULL, resolved_by = NULL"
        )


CONTRADICTIONS = {
    "requeued without an outcome": (
        "state = 'requeued', resolved_at = now(), resolved_by = 'x', resolution_reason = 'y'"
    ),
    "open with an outcome": "became = 'waiting'",
    "resolved by nobody": "state = 'discarded', resolved_at = now(), resolution_reason = 'y', resolved_by = ''",
    "resolved for nothing": "state = 'discarded', resolved_at = now(), resolution_reason = '', resolved_by = 'x'",
    "resolved never": "state = 'discarded', resolution_reason = 'x', resolved_by = 'x'",
    "of another state": "state = 'gone'",
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_letter_does_not_contradict_itself(scratch: psycopg.Connection, change: str) -> None:
    insert(scratch, "open", None)
    with pytest.raises(errors.CheckViolation):
        scratch.execute(f"UPDATE penstock.dead_letters SET {change}".encode())


def test_retention_removes_what_was_resolved_long_ago_and_nothing_else(scratch: psycopg.Connection) -> None:
    kept = {insert(scratch, state, became) for state, became in UNRESOLVED.values()}
    kept |= {insert(scratch, state, became, days=5) for state, became in RESOLVED.values()}
    for state, became in RESOLVED.values():
        insert(scratch, state, became, days=100)
    scratch.execute("SET LOCAL ROLE penstock_worker")
    delete = "SELECT penstock.delete_resolved_letters(now() - interval '90 days', %s)"
    counts = [scratch.execute(delete.encode(), (2,)).fetchone() for _ in range(3)]
    assert counts == [(2,), (1,), (0,)]
    assert {row[0] for row in scratch.execute("SELECT dead_id FROM penstock.dead_letters")} == kept
    assert scratch.execute("SELECT total, open FROM penstock.dead_letter_groups").fetchone() == (5, 1)


@pytest.mark.parametrize("before", ["now()", "NULL", "'infinity'", "now() - interval '23 hours'"])
def test_retention_leaves_the_last_day_alone(scratch: psycopg.Connection, before: str) -> None:
    with pytest.raises(errors.InvalidParameterValue):
        scratch.execute(f"SELECT penstock.delete_resolved_letters({before}, 10)".encode())


def test_only_what_is_requeued_is_revived(scratch: psycopg.Connection) -> None:
    states = [*UNRESOLVED.values(), *RESOLVED.values()]
    ids = [insert(scratch, state, became) for state, became in states]
    scratch.execute("LISTEN penstock_outbox")
    row = scratch.execute(
        "SELECT penstock.revive_letters(%s, %s, %s)", (ids, [b"{}"] * len(ids), [1] * len(ids))
    ).fetchone()
    assert row == (1,)
    revived = scratch.execute("SELECT job_id, revives IS NOT NULL FROM penstock.outbox").fetchall()
    expected = scratch.execute("SELECT job_id, true FROM penstock.dead_letters WHERE became = 'waiting'").fetchall()
    assert revived == expected


def test_a_plain_kind_is_taken_for_a_new_life_only(scratch: psycopg.Connection) -> None:
    insert_row = (
        "INSERT INTO penstock.outbox (job_id, kind, tenant, payload_version, payload, digest, revives)"
        " VALUES (gen_random_uuid(), 'PlainActor', 't', 1, '', '', {})"
    )
    scratch.execute(insert_row.format("now()").encode())
    with pytest.raises(errors.CheckViolation):
        scratch.execute(insert_row.format("NULL").encode())


def test_the_migrations_go_back_and_forth(url: str) -> None:
    migrator = Migrator(url)
    migrator.up(8)
    with psycopg.connect(url, autocommit=True) as connection:
        before = catalogue(connection)
        migrator.up(10)
        after = catalogue(connection)
        insert(connection, "requeued", "waiting")
        connection.execute("SELECT penstock.enqueue('a.b', '{}')")
        connection.execute(
            "INSERT INTO penstock.outbox (job_id, kind, tenant, payload_version, payload, digest, revives)"
            " VALUES (gen_random_uuid(), 'PlainActor', 't', 1, '', '', now())"
        )
        migrator.down(8)
        assert catalogue(connection) == before
        assert connection.execute("SELECT kind FROM penstock.outbox").fetchall() == [("a.b",)]
        migrator.up(10)
        assert catalogue(connection) == after
