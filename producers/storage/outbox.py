"""The outbox: jobs enqueued in somebody's own transaction, and the steps by which they go to their queues."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row, tuple_row

from penstock.producers.enqueue_spans import enqueueing
from penstock.producers.storage.causes import caused
from penstock.producers.storage.dbapi import DbapiConnection, DbapiCursor, KnownOtherwiseError, first_value
from penstock.producers.tracing import Cause, current_cause
from penstock.schemas.errors import Code, ConflictError, InvalidInputError
from penstock.schemas.job import EncodedPayload, Payload
from penstock.schemas.limits import Limits
from penstock.schemas.names import DEFAULT_TENANT, require_name

#: What is told to whoever listens, when a row is added.
CHANNEL = "penstock_outbox"

_ENQUEUE = "SELECT penstock.enqueue_bytes(%s, %s, %s, %s, %s, %s, %s)"
_ENQUEUE_MANY = """SELECT penstock.enqueue_many_bytes(
    %s::text[], %b::bytea[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::integer[]
)"""


@dataclass(frozen=True, slots=True)
class JobToEnqueue:
    """One of many jobs, with what `enqueue_in_transaction` takes beside it."""

    job: Payload | EncodedPayload
    tenant: str = DEFAULT_TENANT
    run_at: datetime | None = None
    idempotency_key: str | None = None


def enqueue_in_transaction(
    session: "psycopg.Connection[Any] | psycopg.Cursor[Any] | DbapiConnection | DbapiCursor",
    job: Payload | EncodedPayload,
    *,
    tenant: str = DEFAULT_TENANT,
    run_at: datetime | None = None,
    idempotency_key: str | None = None,
    limits: Limits | None = None,
) -> UUID:
    """Enqueue a job in the caller's transaction: it runs if that commits, and not at all if it does not.

    Needs the role `penstock_worker`. The payload reaches its actor byte for byte.

    Args:
        session: a connection, or a cursor of it: psycopg's, or any that speaks the DBAPI with `%s` (Django's,
            SQLAlchemy's `connection.connection`, psycopg2's).
        job: what to do.
        tenant: whose job it is.
        limits: the size limits; the payload is checked before anything is sent.
        run_at: when the job becomes ready (aware); at once where that has passed or is None.
        idempotency_key: the payload's own (a batch has its id) unless given.

    Returns:
        The job's id: the same for a key that is known with the same payload, and nothing is added then.

    Raises:
        InvalidInputError: before anything is sent to PostgreSQL.
        ConflictError: where the key is known with another payload. As with every error of a statement, what is left
            to the caller's transaction is to roll back.
        psycopg.Error: as any statement.
    """
    payload, parameters = _prepare(job, tenant, run_at, idempotency_key, limits)
    with enqueueing([payload], current_cause()) as cause:
        statement, parameters = caused(_ENQUEUE, parameters, cause)
        if not isinstance(session, (psycopg.Connection, psycopg.Cursor)):
            try:
                return UUID(str(first_value(session, statement, parameters)))
            except KnownOtherwiseError as error:
                raise _conflict(payload) from error.__cause__
        connection = session if isinstance(session, psycopg.Connection) else session.connection
        with connection.cursor(row_factory=tuple_row) as cursor:
            try:
                row = cursor.execute(statement.encode(), parameters).fetchone()
            except psycopg.errors.UniqueViolation:
                raise _conflict(payload) from None
        return _id_of(row)


async def enqueue_in_transaction_async(
    session: "psycopg.AsyncConnection[Any] | psycopg.AsyncCursor[Any]",
    job: Payload | EncodedPayload,
    *,
    tenant: str = DEFAULT_TENANT,
    run_at: datetime | None = None,
    idempotency_key: str | None = None,
    limits: Limits | None = None,
) -> UUID:
    """As `enqueue_in_transaction`, awaited."""
    payload, parameters = _prepare(job, tenant, run_at, idempotency_key, limits)
    connection = session if isinstance(session, psycopg.AsyncConnection) else session.connection
    with enqueueing([payload], current_cause()) as cause:
        statement, parameters = caused(_ENQUEUE, parameters, cause)
        async with connection.cursor(row_factory=tuple_row) as cursor:
            try:
                row = await (await cursor.execute(statement.encode(), parameters)).fetchone()
            except psycopg.errors.UniqueViolation:
                raise _conflict(payload) from None
        return _id_of(row)


def enqueue_many_in_transaction(
    session: "psycopg.Connection[Any] | psycopg.Cursor[Any]",
    jobs: Sequence[JobToEnqueue],
    *,
    limits: Limits | None = None,
) -> list[UUID]:
    """Enqueue jobs in the caller's transaction as `enqueue_in_transaction` does, all of them by one statement.

    They go to their queues in this order. All payloads are in memory at once, so a few thousand are enough for a call.

    Returns:
        The jobs' ids, in their order.

    Raises:
        InvalidInputError: before anything is sent to PostgreSQL.
        ConflictError: where a key is known with another payload; none of them is enqueued.
        psycopg.Error: as any statement.
    """
    if not jobs:
        return []
    prepared = [_prepare(one.job, one.tenant, one.run_at, one.idempotency_key, limits) for one in jobs]
    columns = [list(column) for column in zip(*(parameters for _, parameters in prepared), strict=True)]
    kinds, bodies, run_ats, keys, tenants, queues, versions = columns
    connection = session if isinstance(session, psycopg.Connection) else session.connection
    with (
        enqueueing([payload for payload, _ in prepared], current_cause()) as cause,
        connection.cursor(row_factory=tuple_row) as cursor,
    ):
        arrays = (kinds, bodies, run_ats, keys, tenants, queues, versions)
        statement, parameters = caused(_ENQUEUE_MANY, arrays, cause)
        try:
            row = cursor.execute(statement.encode(), parameters).fetchone()
        except psycopg.errors.UniqueViolation as error:
            raise _conflict(prepared[_place_of(error)][0]) from None
    found: list[UUID] = [] if row is None else row[0]
    return found


def _place_of(error: psycopg.errors.UniqueViolation) -> int:
    """Which of many jobs is in conflict, from 0: the function tells it as the detail."""
    return int(error.diag.message_detail or "1") - 1


def _prepare(
    job: Payload | EncodedPayload, tenant: str, run_at: datetime | None, key: str | None, limits: Limits | None
) -> tuple[EncodedPayload, tuple[Any, ...]]:
    require_name(tenant, Code.REQUEST_TENANT_INVALID, "a tenant")
    if key is not None:
        require_name(key, Code.REQUEST_USAGE, "an idempotency key")
    if run_at is not None and run_at.tzinfo is None:
        raise InvalidInputError(Code.REQUEST_USAGE, "run_at wants an aware datetime: give it a time zone")
    payload = job if isinstance(job, EncodedPayload) else job.encode(limits or Limits())
    key = payload.idempotency_key if key is None else key
    return payload, (payload.kind, payload.body, run_at, key, tenant, str(payload.queue), payload.payload_version)


def _conflict(payload: EncodedPayload) -> ConflictError:
    return ConflictError(payload.conflict_code, f"the job of kind {payload.kind!r} is known with another payload")


def _id_of(row: tuple[Any, ...] | None) -> UUID:
    if row is None:
        raise TypeError("a function without a row")
    found: UUID = row[0]
    return found


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A job in the outbox.

    `queue` is None where its kind is to tell; `run_at` is None for at once. `revives` is the death from which an
    operator called the job back; None for one that a producer enqueued. `trace`, `request_id` and `follows` are what
    its message is to say of its cause.
    """

    id: int
    job_id: UUID
    kind: str
    queue: str | None
    tenant: str
    payload_version: int
    payload: bytes = field(repr=False)
    idempotency_key: str | None
    run_at: datetime | None
    created_at: datetime
    revives: datetime | None = None
    trace: str | None = None
    request_id: str | None = None
    follows: str | None = None

    @property
    def cause(self) -> Cause:
        """What the job was enqueued for."""
        return Cause(self.trace, self.request_id, self.follows)


class Waiting(StrEnum):
    """Which of the waiting rows to claim."""

    #: Those to be relayed at once.
    NOW = "now"
    #: Those whose time comes soon.
    LATER = "later"
    #: Those that could not be relayed when they were looked at last.
    HELD = "held"


_WHICH = {
    Waiting.NOW: "checked_at IS NULL AND run_at IS NULL ORDER BY id",
    Waiting.LATER: "checked_at IS NULL AND run_at < now() + %(span)s ORDER BY run_at, id",
    Waiting.HELD: "checked_at < now() - %(span)s ORDER BY checked_at",
}
OUTBOX_COLUMNS = (
    "o.id, o.job_id, o.kind, o.queue, o.tenant, o.payload_version, o.payload, o.idempotency_key, o.run_at,"
    " o.created_at, o.revives, o.trace, o.request_id, o.follows"
)

# How large a payload is stands beside it, so those that are too much for this round are not read.
_CLAIM = """
WITH claimed AS (
    SELECT id, octet_length(payload) AS bytes FROM penstock.outbox WHERE state = 'waiting' AND {which}
     LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), sized AS (SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS bytes_before FROM claimed)
SELECT {columns} FROM sized JOIN penstock.outbox o USING (id) WHERE bytes_before < %(bytes)s ORDER BY o.id
"""


def claim_waiting(
    connection: psycopg.Connection, which: Waiting, span: timedelta, *, limit: int, bytes_limit: int
) -> list[OutboxRow]:
    """Lock waiting rows that nobody else has locked, in the order of enqueueing, until the transaction ends.

    With LATER `span` is how far ahead of its time a job goes to its queue, with HELD how long a row is left alone.
    It stops after `limit` rows, or the row that reaches `bytes_limit` bytes of payload.
    """
    statement = _CLAIM.format(which=_WHICH[which], columns=OUTBOX_COLUMNS)
    with connection.cursor(row_factory=class_row(OutboxRow)) as cursor:
        parameters = {"span": span, "limit": limit, "bytes": bytes_limit}
        return cursor.execute(statement.encode(), parameters).fetchall()


def mark_relayed(connection: psycopg.Connection, ids: Sequence[int], last_code: Code | None = None) -> None:
    """Note that the queue has the jobs of these rows now."""
    if ids:
        connection.execute(
            """
            UPDATE penstock.outbox
               SET state = 'relayed', relayed_at = now(), checked_at = now(), times_relayed = times_relayed + 1,
                   last_code = %s
             WHERE id = ANY(%s)
            """,
            (last_code, list(ids)),
        )


def mark_looked_at(connection: psycopg.Connection, ids: Sequence[int], state: str, last_code: Code | None) -> None:
    """Note that these rows could not be relayed now, and why: `waiting`, `dead` or `conflict`."""
    if ids:
        connection.execute(
            "UPDATE penstock.outbox SET state = %s, checked_at = now(), last_code = %s WHERE id = ANY(%s)",
            (state, last_code, list(ids)),
        )
