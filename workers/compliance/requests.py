"""`penstock.person_data_requests`: who asked for what of whom, how far it is, and the receipt.

Whom a request names is there encrypted until it has ended, and then as a keyed digest alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from penstock.producers.queue.audit import audit_entry
from penstock.producers.storage.outbox import enqueue_in_transaction
from penstock.schemas.errors import Code, ConflictError, InvalidInputError, NotFoundError
from penstock.schemas.person_data import ErasePersonData, ExportPersonData, SubjectKind
from penstock.workers.database.operator_actions import record_actions, require_reason
from penstock.workers.erasures.digests import SubjectKeys
from penstock.workers.erasures.subjects import Subject, spelled
from penstock.workers.erasures.tombstones import put_tombstone

Kind = Literal["export", "erase"]

#: A shorter value stands in any text by chance.
_TELLING = 4

_COLUMNS = """request_id, kind, tenant, subject_kind, form_id, question_id, digest, key_id, asked_by, reason, asked_at,
    state, progress, receipt, started_at, ended_at"""
_ADD = f"""
INSERT INTO penstock.person_data_requests
       (request_id, kind, tenant, subject_kind, form_id, question_id, digest, key_id, subject_ciphertext, asked_by,
        reason, asked_at)
VALUES (%(request_id)s, %(kind)s, %(tenant)s, %(subject_kind)s, %(form_id)s, %(question_id)s, %(digest)s, %(key_id)s,
        %(ciphertext)s, %(asked_by)s, %(reason)s, clock_timestamp())
RETURNING {_COLUMNS}
"""
_FIND = f"SELECT {_COLUMNS} FROM penstock.person_data_requests WHERE request_id = %s"
_LIST = f"""
SELECT {_COLUMNS} FROM penstock.person_data_requests
 WHERE tenant = %(tenant)s AND (%(at)s::timestamptz IS NULL OR (asked_at, request_id) < (%(at)s, %(id)s))
 ORDER BY asked_at DESC, request_id DESC LIMIT %(limit)s
"""
_SEALED = "SELECT subject_ciphertext FROM penstock.person_data_requests WHERE request_id = %s AND ended_at IS NULL"
_LOCK = "SELECT ended_at IS NULL FROM penstock.person_data_requests WHERE request_id = %s FOR UPDATE"
_PROGRESS = """
UPDATE penstock.person_data_requests
   SET state = 'running', progress = %s, started_at = coalesce(started_at, now())
 WHERE request_id = %s AND ended_at IS NULL
"""
_END = "SELECT penstock.end_person_data_request(%s, %s)"
_RUNNING = "SELECT coalesce(sum(running), 0) FROM penstock.erasure_marks WHERE tenant = %s"


@dataclass(frozen=True, slots=True)
class PersonRequest:
    """One request. `digest` stands for the value; `receipt` is there once it has ended."""

    request_id: UUID
    kind: str
    tenant: str
    subject_kind: str
    form_id: str | None
    question_id: str | None
    digest: bytes = field(repr=False)
    key_id: str
    asked_by: str
    reason: str
    asked_at: datetime
    state: str
    progress: dict[str, Any] = field(repr=False)
    receipt: dict[str, Any] | None
    started_at: datetime | None
    ended_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The request as commands show it: digests and counts, and no value."""
        return {
            "request_id": str(self.request_id),
            "kind": self.kind,
            "tenant": self.tenant,
            "subject_kind": self.subject_kind,
            "form_id": self.form_id,
            "question_id": self.question_id,
            "digest": self.digest.hex(),
            "key_id": self.key_id,
            "asked_by": self.asked_by,
            "reason": self.reason,
            "asked_at": self.asked_at.isoformat(),
            "state": self.state,
            "phase": self.progress.get("phase"),
            "waiting_jobs": len(self.progress.get("awaited", ())),
            "counts": self.progress.get("counts", {}),
            "receipt": self.receipt,
            "started_at": _told(self.started_at),
            "ended_at": _told(self.ended_at),
        }

    def subject(self, value: str) -> Subject:
        """The subject that the request names, with its value."""
        return Subject(SubjectKind(self.subject_kind), value, self.form_id, self.question_id)


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for. `by_job`: a worker is to do it."""

    kind: Kind
    tenant: str
    subject: Subject
    by: str
    reason: str
    by_job: bool = True


def ask(connection: psycopg.Connection[Any], keys: SubjectKeys, asked: Asked) -> PersonRequest:
    """Write down a request with its audit, its job and, of an erasure, its mark: in the caller's transaction.

    The role needs to be the owner's: a worker does what was asked, and can't ask by itself.

    Raises:
        InvalidInputError: `REQUEST_USAGE` without name or reason, or with a reason that names the person.
        psycopg.Error: as any statement.
    """
    by, reason = require_reason(asked.by, asked.reason)
    subject, request_id = asked.subject, uuid4()
    if len(subject.value) >= _TELLING and subject.value in spelled(reason):
        raise InvalidInputError(
            Code.REQUEST_USAGE,
            "the reason names the person, and is kept for ever",
            remedy="Give the number of the person's request instead.",
        )
    digest = keys.digest(asked.tenant, subject)
    with connection.cursor(row_factory=class_row(PersonRequest)) as cursor:
        values = {
            "request_id": request_id,
            "kind": asked.kind,
            "tenant": asked.tenant,
            "subject_kind": subject.kind,
            "form_id": subject.form_id,
            "question_id": subject.question_id,
            "digest": digest,
            "key_id": keys.current,
            "ciphertext": keys.seal(request_id, subject.value),
            "asked_by": by,
            "reason": reason,
        }
        request = cursor.execute(_ADD, values).fetchone()
    if request is None:
        raise AssertionError("a row that was inserted is returned")
    if asked.kind == "erase":
        put_tombstone(connection, asked.tenant, keys.current, digest, request.asked_at, request_id)
    details = {"tenant": asked.tenant, "by": str(subject.kind), "digest": digest.hex()}
    details |= {name: value for name, value in _place_of(subject).items() if value is not None}
    entry = audit_entry(by, f"person_data.{asked.kind}", str(request_id), reason, details)
    record_actions(connection, [entry])
    if asked.by_job:
        job = ErasePersonData if asked.kind == "erase" else ExportPersonData
        enqueue_in_transaction(connection, job(request_id=request_id), tenant=asked.tenant)
    return request


def find_request(connection: psycopg.Connection[Any], request_id: UUID) -> PersonRequest:
    """One request.

    Raises:
        NotFoundError: `REQUEST_PERSON_NOT_FOUND`.
    """
    with connection.cursor(row_factory=class_row(PersonRequest)) as cursor:
        found = cursor.execute(_FIND, (request_id,)).fetchone()
    if found is None:
        raise NotFoundError(Code.REQUEST_PERSON_NOT_FOUND, f"there is no request {request_id} about a person's data")
    return found


def list_requests(
    connection: psycopg.Connection[Any], tenant: str, place: tuple[datetime, UUID] | None, limit: int
) -> list[PersonRequest]:
    """A tenant's requests, the newest first, those behind `place`."""
    at, request_id = place or (None, None)
    with connection.cursor(row_factory=class_row(PersonRequest)) as cursor:
        return cursor.execute(_LIST, {"tenant": tenant, "at": at, "id": request_id, "limit": limit}).fetchall()


def value_of(connection: psycopg.Connection[Any], keys: SubjectKeys, request: PersonRequest) -> str | None:
    """Whom a request names; None where it has ended.

    Raises:
        PenstockError: `CONFIG_INVALID` or `ACCOUNT_TOKEN_UNREADABLE`.
    """
    row = connection.execute(_SEALED, (request.request_id,)).fetchone()
    return None if row is None else keys.open(request.request_id, request.key_id, bytes(row[0]))


def is_open(connection: psycopg.Connection[Any], request_id: UUID) -> bool:
    """Whether a request has not ended. Who does something for it waits here for another one who does."""
    row = connection.execute(_LOCK, (request_id,)).fetchone()
    return row is not None and bool(row[0])


def save_progress(connection: psycopg.Connection[Any], request_id: UUID, progress: Mapping[str, Any]) -> None:
    """Note how far a request is, in the transaction that brought it there."""
    connection.execute(_PROGRESS, (Jsonb(dict(progress)), request_id))


def end_request(connection: psycopg.Connection[Any], request_id: UUID, receipt: Mapping[str, Any]) -> None:
    """End a request: from here on nothing tells whom it named."""
    connection.execute(_END, (request_id, Jsonb({"ended_at": datetime.now(UTC).isoformat(), **receipt})))


def require_no_erasure(connection: psycopg.Connection[Any], tenant: str) -> None:
    """See that nobody is being erased in a tenant.

    Raises:
        ConflictError: `SUBMISSION_ERASURE_RUNNING`.
    """
    row = connection.execute(_RUNNING, (tenant,)).fetchone()
    if row is not None and row[0]:
        raise ConflictError(Code.SUBMISSION_ERASURE_RUNNING, f"{row[0]} erasure(s) of the tenant {tenant!r} go on")


def _place_of(subject: Subject) -> dict[str, str | None]:
    return {"form_id": subject.form_id, "question_id": subject.question_id}


def _told(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
