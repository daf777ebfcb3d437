"""The rules that the database itself keeps for forms and batches."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

FORM = "INSERT INTO penstock.forms (tenant, form_id, latest_version) VALUES (%s, %s, 1) RETURNING form_key"
DIGEST = b"\0" * 32


@pytest.fixture
def form_key(scratch: psycopg.Connection) -> int:
    row = scratch.execute(FORM, ("acme", "survey")).fetchone()
    assert row is not None
    scratch.execute('INSERT INTO penstock.form_versions VALUES (%s, 1, \'{"b": 1, "a": 2}\', %s)', (row[0], DIGEST))
    return int(row[0])


@pytest.mark.parametrize("role", ["penstock_owner", "postgres"])
@pytest.mark.parametrize("replication", ["origin", "replica"])
def test_a_stored_version_never_changes(
    scratch: psycopg.Connection, form_key: int, role: str, replication: str
) -> None:
    scratch.execute("SELECT set_config('session_replication_role', %s, false)", (replication,))
    if role != "postgres":
        scratch.execute(f"SET ROLE {role}".encode())
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match=f"version 1 of form {form_key} is stored"):
        scratch.execute("UPDATE penstock.form_versions SET definition = '{}' WHERE form_key = %s", (form_key,))


def test_a_definition_keeps_its_authors_order(scratch: psycopg.Connection, form_key: int) -> None:
    row = scratch.execute("SELECT definition::text FROM penstock.form_versions").fetchone()
    assert row == ('{"b": 1, "a": 2}',)


def test_a_new_form_and_a_new_version_are_told_and_nothing_else(
    database: psycopg.Connection, connect: Callable[[], psycopg.Connection]
) -> None:
    writer = connect()
    database.execute("LISTEN penstock_forms")
    writer.execute(FORM, ("acme", "survey"))
    writer.commit()
    writer.execute("UPDATE penstock.forms SET updated_at = now()")
    writer.commit()
    writer.execute("UPDATE penstock.forms SET latest_version = 2")
    writer.commit()
    writer.execute("NOTIFY penstock_forms, 'end'")
    writer.commit()
    told = []
    for notification in database.notifies(timeout=60):
        told.append(notification.payload)
        if told[-1] == "end":
            break
    assert told == ["acme/survey", "acme/survey", "end"]


def test_a_version_that_is_rolled_back_is_not_told(
    database: psycopg.Connection, connect: Callable[[], psycopg.Connection]
) -> None:
    writer = connect()
    database.execute("LISTEN penstock_forms")
    writer.execute(FORM, ("acme", "survey"))
    writer.rollback()
    writer.execute("NOTIFY penstock_forms, 'end'")
    writer.commit()
    notification = next(database.notifies(timeout=60))
    assert notification.payload == "end"


@pytest.mark.parametrize(
    ("tenant", "form_id"),
    [
        pytest.param("", "survey", id="empty tenant"),
        pytest.param("acme", "", id="empty form"),
        pytest.param("acme", "a/b", id="slash"),
        pytest.param("acme", "survey\n", id="line feed at the end"),
        pytest.param("acme", "é", id="not ASCII"),
        pytest.param("acme", "x" * 201, id="too long"),
    ],
)
def test_a_name_that_is_none_is_refused(scratch: psycopg.Connection, tenant: str, form_id: str) -> None:
    with pytest.raises(errors.CheckViolation):
        scratch.execute(FORM, (tenant, form_id))


def test_the_longest_names_are_stored_and_told(scratch: psycopg.Connection) -> None:
    scratch.execute(FORM, ("t" * 200, "f" * 200))
    assert scratch.execute("SELECT count(*) FROM penstock.forms").fetchone() == (1,)


def test_a_form_is_known_once_in_a_tenant(scratch: psycopg.Connection, form_key: int) -> None:
    scratch.execute(FORM, ("other", "survey"))
    with pytest.raises(errors.UniqueViolation):
        scratch.execute(FORM, ("acme", "survey"))


@pytest.mark.parametrize(
    ("version", "digest"),
    [pytest.param(0, DIGEST, id="version 0"), pytest.param(2, DIGEST[1:], id="short digest")],
)
def test_an_impossible_version_is_refused(
    scratch: psycopg.Connection, form_key: int, version: int, digest: bytes
) -> None:
    with pytest.raises(errors.CheckViolation):
        scratch.execute("INSERT INTO penstock.form_versions VALUES (%s, %s, '{}', %s)", (form_key, version, digest))


@pytest.mark.parametrize(
    ("content", "content_bytes"),
    [pytest.param(None, None, id="neither"), pytest.param("{}", b"{}", id="both")],
)
def test_a_rejection_has_its_content_once(
    scratch: psycopg.Connection, content: str | None, content_bytes: bytes | None
) -> None:
    with pytest.raises(errors.CheckViolation):
        insert_rejection(scratch, content, content_bytes)


@pytest.mark.parametrize(
    ("content", "content_bytes"),
    [
        pytest.param('{"a": "\\u0000"}', None, id="U+0000"),
        pytest.param('{"a": "\\ud800", "a": 1e400}', None, id="lone surrogate, same key twice, huge number"),
        pytest.param(None, b"\xff\x00{", id="bytes"),
    ],
)
def test_a_rejection_keeps_what_was_sent(
    scratch: psycopg.Connection, content: str | None, content_bytes: bytes | None
) -> None:
    insert_rejection(scratch, content, content_bytes)
    row = scratch.execute("SELECT content::text, content_bytes FROM penstock.submission_rejections").fetchone()
    assert row == (content, content_bytes)


def insert_rejection(database: psycopg.Connection, content: str | None, content_bytes: bytes | None) -> None:
    database.execute(
        """
        INSERT INTO penstock.submission_rejections
               (tenant, batch_id, form_id, position, content, content_bytes, faults)
        VALUES ('acme', 'b', 'survey', 0, %s::json, %s, '[]')
        """,
        (content, content_bytes),
    )
