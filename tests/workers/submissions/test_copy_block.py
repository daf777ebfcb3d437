"""Our blocks of the binary COPY format against those that PostgreSQL itself writes for the same rows."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from penstock.workers.submissions.accepted import Accepted, PlainRows
from penstock.workers.submissions.copy_block import COLUMNS, copy_block, rows_block
from penstock.workers.submissions.instants import unix_microseconds
from tests.system import Database

RECEIVED = datetime(2026, 11, 21, 8, 0, 0, 123_456, tzinfo=UTC)
ROWS = {
    "plain": (datetime(2026, 11, 21, 8, tzinfo=UTC), None, '{"name": "a"}'),
    "no answers": (datetime(2026, 11, 21, 8, tzinfo=UTC), None, "{}"),
    "1970": (datetime(1970, 1, 1, tzinfo=UTC), None, "{}"),
    "a microsecond before 2000": (datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), None, "{}"),
    "2000": (datetime(2000, 1, 1, tzinfo=UTC), None, "{}"),
    "far ahead": (datetime(2261, 1, 1, 0, 0, 0, 1, tzinfo=UTC), None, "{}"),
    "an external id": (datetime(2026, 1, 1, tzinfo=UTC), "order 7", "{}"),
    "an empty external id": (datetime(2026, 1, 1, tzinfo=UTC), "", "{}"),
    "other scripts": (datetime(2026, 1, 1, tzinfo=UTC), "заказ \U0001f389", '{"ß": [1.50], "name": "Zoë \U0001f389"}'),
    "a long answer": (
        datetime(2026, 1, 1, tzinfo=UTC),
        "x" * 200,
        json.dumps({"name": "é" * 100_000}, ensure_ascii=False),
    ),
}


def accepted(submitted_at: datetime, external_id: str | None, answers: str) -> Accepted:
    submission_id = uuid.uuid5(uuid.NAMESPACE_URL, answers).bytes
    return Accepted(submission_id, unix_microseconds(submitted_at), external_id, answers.encode())


def block_of(rows: Sequence[Accepted]) -> bytes:
    return rows_block(rows, form_key=7, form_id="form", batch_id="batch-0001", received_us=unix_microseconds(RECEIVED))


def as_postgresql_writes(connection: psycopg.Connection, rows: list[Accepted]) -> bytes:
    """The rows inserted one by one as text, and exported."""
    connection.execute("CREATE TEMPORARY TABLE copied (LIKE penstock.submissions) ON COMMIT DROP")
    for row in rows:
        connection.execute(
            f"INSERT INTO copied ({', '.join(COLUMNS)}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)".encode(),
            (
                datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row.submitted_us),
                RECEIVED,
                uuid.UUID(bytes=row.submission_id),
                7,
                "batch-0001",
                "form",
                row.external_id,
                row.answers.decode(),
            ),
        )
    export = f"COPY (SELECT {', '.join(COLUMNS)} FROM copied) TO STDOUT (FORMAT binary)"
    with connection.cursor() as cursor, cursor.copy(export.encode()) as copy:
        return b"".join(map(bytes, copy))


@pytest.mark.parametrize(
    "rows",
    [*([accepted(*row)] for row in ROWS.values()), [accepted(*row) for row in ROWS.values()], []],
    ids=[*ROWS, "all of them", "none"],
)
def test_a_block_is_what_postgresql_writes(database: Database, rows: list[Accepted]) -> None:
    block = copy_block([block_of(rows)])
    with psycopg.connect(database.admin_url) as connection:
        assert block == as_postgresql_writes(connection, rows)


def test_batches_share_a_stream_as_they_stand(database: Database) -> None:
    rows = [accepted(*row) for row in ROWS.values()]
    with psycopg.connect(database.admin_url) as connection:
        assert copy_block([block_of(rows[:3]), block_of([]), block_of(rows[3:])]) == as_postgresql_writes(
            connection, rows
        )


def test_columns_of_plain_rows_make_the_block_that_their_objects_make() -> None:
    answers = [b"{}", b'{"name":"a"}', json.dumps({"name": "x" * 10_000}).encode()]
    plain = PlainRows.of(1_700_000_000_123_456, {uuid.uuid4().bytes: one for one in answers})
    assert plain.ids == sorted(plain.ids)
    assert [row.answers for row in plain] == list(plain.answers)
    assert [plain[place] for place in range(3)] == list(plain) == plain[:]
    assert block_of(plain) == block_of(list(plain))
    assert block_of(plain[:0]) == block_of(PlainRows.of(0, {})) == b""
