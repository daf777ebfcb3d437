"""Enqueueing in one's own transaction from Python: byte for byte, and all or nothing."""

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from penstock.producers import Submission, WriteSubmissionBatch
from penstock.producers.storage.outbox import (
    JobToEnqueue,
    enqueue_in_transaction,
    enqueue_in_transaction_async,
    enqueue_many_in_transaction,
)
from penstock.schemas.errors import ConflictError, InvalidInputError
from penstock.schemas.identity import job_id
from penstock.schemas.job import EncodedPayload
from penstock.schemas.limits import Limits
from penstock.schemas.names import Queue
from tests.system import Database

#: In an order, and with white space, that jsonb would not keep.
PAYLOAD = EncodedPayload("test.plain", Queue.POSTS, 2, b'{"z": 1,  "a":"\xc3\xa9"}', None)

names = st.text("ABCXYZabcxyz0189._-", min_size=1, max_size=200)
kinds = st.from_regex(r"[a-z][a-z0-9_]{0,90}\.[a-z][a-z0-9_]{0,90}", fullmatch=True)


@pytest.fixture
def connection(database: Database) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(database.url) as opened:
        yield opened
    database.query("TRUNCATE penstock.outbox")


def batch(text: str = "t", batch_id: str = "b") -> WriteSubmissionBatch:
    return WriteSubmissionBatch(form_id="f", batch_id=batch_id, submissions=(Submission(answers={"q": text}),))


def count(database: Database) -> int:
    return int(database.value("SELECT count(*) FROM penstock.outbox"))


def test_a_job_is_there_if_the_transaction_commits(connection: "psycopg.Connection[Any]", database: Database) -> None:
    enqueue_in_transaction(connection, batch())
    assert count(database) == 0
    connection.rollback()
    assert count(database) == 0
    enqueue_in_transaction(connection, batch())
    connection.commit()
    assert count(database) == 1


def test_the_payload_is_kept_byte_for_byte(connection: "psycopg.Connection[Any]") -> None:
    identity = enqueue_in_transaction(connection, PAYLOAD, tenant="acme")
    row = connection.execute(
        "SELECT job_id, kind, queue, tenant, payload_version, payload, idempotency_key, run_at FROM penstock.outbox"
    ).fetchall()
    assert row == [(identity, "test.plain", "posts", "acme", 2, PAYLOAD.body, None, None)]


def test_a_batch_is_the_job_that_the_client_would_enqueue(connection: "psycopg.Connection[Any]") -> None:
    identity = enqueue_in_transaction(connection, batch(), tenant="acme")
    assert identity == job_id("acme", "submission_batch.write", "b")
    row = connection.execute("SELECT payload, queue FROM penstock.outbox").fetchone()
    assert row == (batch().encode(Limits()).body, "submissions")


def test_again_is_the_same_job_and_adds_nothing(connection: "psycopg.Connection[Any]") -> None:
    first = enqueue_in_transaction(connection, batch())
    assert enqueue_in_transaction(connection, batch()) == first
    keyed = enqueue_in_transaction(connection, batch(), idempotency_key="other")
    assert keyed == job_id("default", "submission_batch.write", "other")
    assert connection.execute("SELECT count(*) FROM penstock.outbox").fetchone() == (2,)


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        pytest.param(batch("one"), batch("two"), "BATCH_CONFLICT", id="batch"),
        pytest.param(PAYLOAD, EncodedPayload("test.plain", Queue.POSTS, 2, b"{}", None), "JOB_CONFLICT", id="other"),
    ],
)
def test_another_payload_is_a_conflict(
    connection: "psycopg.Connection[Any]", first: Any, second: Any, code: str
) -> None:
    enqueue_in_transaction(connection, first, idempotency_key="k")
    with pytest.raises(ConflictError, match=code), connection.transaction():
        enqueue_in_transaction(connection, second, idempotency_key="k")
    # Within a savepoint the caller's transaction survives it.
    connection.commit()


def test_a_time_ahead_is_kept_and_one_that_has_passed_is_at_once(connection: "psycopg.Connection[Any]") -> None:
    ahead = datetime.now(UTC).replace(microsecond=5) + timedelta(days=400)
    enqueue_in_transaction(connection, PAYLOAD, run_at=ahead)
    enqueue_in_transaction(connection, PAYLOAD, run_at=datetime(2001, 1, 1, tzinfo=UTC))
    assert connection.execute("SELECT run_at FROM penstock.outbox ORDER BY id").fetchall() == [(ahead,), (None,)]


def test_a_cursor_and_any_row_factory_do_as_well(database: Database, connection: "psycopg.Connection[Any]") -> None:
    with psycopg.connect(database.url, row_factory=dict_row) as other, other.cursor() as cursor:
        assert isinstance(enqueue_in_transaction(cursor, PAYLOAD), uuid.UUID)
        assert isinstance(enqueue_in_transaction(other, PAYLOAD), uuid.UUID)
        other.rollback()
    assert count(database) == 0


def test_awaited_it_is_the_same(connection: "psycopg.Connection[Any]", database: Database) -> None:
    async def run() -> list[uuid.UUID]:
        async with await psycopg.AsyncConnection.connect(database.url) as session, session.cursor() as cursor:
            ids = [
                await enqueue_in_transaction_async(session, batch()),
                await enqueue_in_transaction_async(cursor, batch()),
            ]
            with pytest.raises(ConflictError, match="BATCH_CONFLICT"):
                await enqueue_in_transaction_async(session, batch("other"))
            await session.rollback()
            return [*ids, await enqueue_in_transaction_async(session, batch())]

    assert set(asyncio.run(run())) == {job_id("default", "submission_batch.write", "b")}
    assert count(database) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param({"tenant": "a/b"}, "REQUEST_TENANT_INVALID", id="tenant"),
        pytest.param({"idempotency_key": "a/b"}, "REQUEST_USAGE", id="key"),
        pytest.param({"idempotency_key": ""}, "REQUEST_USAGE", id="empty key"),
        pytest.param({"run_at": datetime(2030, 1, 1)}, "REQUEST_USAGE", id="naive"),  # noqa: DTZ001  the point of it
        pytest.param({"limits": Limits(message_bytes=10)}, "BATCH_TOO_LARGE", id="too large"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(
    connection: "psycopg.Connection[Any]", arguments: dict[str, Any], code: str
) -> None:
    with pytest.raises(InvalidInputError, match=code):
        enqueue_in_transaction(connection, batch(), **arguments)
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def many(connection: "psycopg.Connection[Any]", *jobs: Any, **said: Any) -> list[uuid.UUID]:
    return enqueue_many_in_transaction(connection, [JobToEnqueue(job, **said) for job in jobs])


def test_many_are_the_jobs_that_each_alone_would_be(connection: "psycopg.Connection[Any]") -> None:
    ahead = datetime.now(UTC).replace(microsecond=5) + timedelta(days=400)
    jobs = [
        JobToEnqueue(batch(batch_id="b2"), "acme"),
        JobToEnqueue(PAYLOAD, run_at=ahead),
        JobToEnqueue(batch(batch_id="b1"), idempotency_key="other", run_at=datetime(2001, 1, 1, tzinfo=UTC)),
        JobToEnqueue(PAYLOAD),
    ]
    columns = "kind, queue, tenant, payload_version, payload, idempotency_key, digest, run_at, state"
    ids = enqueue_many_in_transaction(connection, jobs)
    together = connection.execute(f"SELECT job_id, {columns} FROM penstock.outbox ORDER BY id".encode()).fetchall()
    assert [row[0] for row in together] == ids
    connection.rollback()
    for one in jobs:
        enqueue_in_transaction(
            connection, one.job, tenant=one.tenant, run_at=one.run_at, idempotency_key=one.idempotency_key
        )
    apart = connection.execute(f"SELECT {columns} FROM penstock.outbox ORDER BY id".encode()).fetchall()
    assert [row[1:] for row in together] == apart
    assert ids[0] == job_id("acme", "submission_batch.write", "b2")
    assert ids[2] == job_id("default", "submission_batch.write", "other")


def test_none_are_none(connection: "psycopg.Connection[Any]") -> None:
    assert many(connection) == []
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_many_again_add_what_is_missing(connection: "psycopg.Connection[Any]", database: Database) -> None:
    first = many(connection, batch(batch_id="b1"), batch(batch_id="b2"))
    assert many(connection, batch(batch_id="b2"), batch(batch_id="b3"), batch(batch_id="b3")) == [
        first[1],
        *[job_id("default", "submission_batch.write", "b3")] * 2,
    ]
    connection.commit()
    assert count(database) == 3


@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_many_one_conflict_is_told_as_that_job_and_none_is_added(
    connection: "psycopg.Connection[Any]", place: int
) -> None:
    enqueue_in_transaction(connection, PAYLOAD, idempotency_key="p")
    enqueue_in_transaction(connection, batch("one"))
    jobs = [JobToEnqueue(PAYLOAD, idempotency_key="p"), JobToEnqueue(batch(batch_id="new"))]
    jobs.insert(place, JobToEnqueue(batch("two")))
    with pytest.raises(ConflictError, match="BATCH_CONFLICT"), connection.transaction():
        enqueue_many_in_transaction(connection, jobs)
    assert connection.execute("SELECT count(*) FROM penstock.outbox").fetchone() == (2,)


def test_two_of_many_with_one_key_and_other_payloads_are_a_conflict(connection: "psycopg.Connection[Any]") -> None:
    with pytest.raises(ConflictError, match="BATCH_CONFLICT"):
        many(connection, batch("one"), batch("two"))


def test_many_wait_for_a_transaction_that_has_one_of_their_keys(
    connection: "psycopg.Connection[Any]", database: Database
) -> None:
    """It is rolled back, so the job is theirs; or its job is done and gone before they look."""
    with psycopg.connect(database.url) as other, ThreadPoolExecutor(1) as pool:
        enqueue_in_transaction(other, batch(batch_id="b1"))
        adding = pool.submit(many, connection, batch(batch_id="b0"), batch(batch_id="b1"))
        while not database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not adding.done()
        other.rollback()
        assert len(adding.result(30)) == 2
    connection.commit()
    assert count(database) == 2


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        pytest.param({"tenant": "a/b"}, "REQUEST_TENANT_INVALID", id="tenant"),
        pytest.param({"idempotency_key": ""}, "REQUEST_USAGE", id="key"),
        pytest.param({"run_at": datetime(2030, 1, 1)}, "REQUEST_USAGE", id="naive"),  # noqa: DTZ001  the point of it
    ],
)
def test_of_many_one_that_is_wrong_is_refused_before_anything_is_sent(
    connection: "psycopg.Connection[Any]", wrong: dict[str, Any], code: str
) -> None:
    with pytest.raises(InvalidInputError, match=code):
        enqueue_many_in_transaction(connection, [JobToEnqueue(PAYLOAD), JobToEnqueue(PAYLOAD, **wrong)])
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.fixture(scope="module")
def deriving(database: Database) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(database.url, autocommit=True) as opened:
        yield opened


@given(tenant=names, kind=kinds, key=names)
@hypothesis_settings(max_examples=500, deadline=None)
def test_sql_derives_the_same_ids(deriving: "psycopg.Connection[Any]", tenant: str, kind: str, key: str) -> None:
    (derived,) = deriving.execute("SELECT penstock.job_id(%s, %s, %s)", (tenant, kind, key)).fetchone() or ()
    assert derived == job_id(tenant, kind, key)
    assert (derived.version, derived.variant) == (8, uuid.RFC_4122)
