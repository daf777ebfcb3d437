"""One submission's answers put right: judged by the form version that judged them first."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from penstock.producers.queue.audit import audit_entry
from penstock.producers.storage.forms import find_form
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.workers.answers.form_rules import FormRules
from penstock.workers.compliance.requests import require_no_erasure
from penstock.workers.database.operator_actions import record_actions, require_reason
from penstock.workers.erasures.subjects import submission_id_of

# The row is locked: two who correct it do so one after the other.
_FIND = """
SELECT s.form_key, s.submission_id, s.submitted_at, s.answers::text, b.form_version
  FROM penstock.submissions s
  JOIN penstock.forms f ON f.form_key = s.form_key
  LEFT JOIN penstock.submission_batches b ON b.tenant = f.tenant AND b.batch_id = s.batch_id
 WHERE f.tenant = %(tenant)s AND f.form_id = %(form_id)s AND s.submission_id = %(submission_id)s
   AND (%(at)s::timestamptz IS NULL OR s.submitted_at = %(at)s)
   FOR UPDATE OF s
"""
_CORRECT = """
UPDATE penstock.submissions SET answers = %s::jsonb WHERE form_key = %s AND submission_id = %s AND submitted_at = %s
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One answer before and after; None for no answer."""

    question_id: str
    before: Any = field(repr=False)
    after: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Correction:
    """What a correction does to a submission. `answers` is the canonical JSON of all answers."""

    tenant: str
    form_id: str
    form_version: int
    form_key: int
    submission_id: UUID
    submitted_at: datetime
    changes: Sequence[Change]
    answers: bytes = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """What was corrected, without values."""
        return {
            "form_id": self.form_id,
            "form_version": self.form_version,
            "submission_id": str(self.submission_id),
            "submitted_at": self.submitted_at.isoformat(),
            "questions": [change.question_id for change in self.changes],
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose answers are to be what. `answers`: by question id; None takes an answer away, others stay.

    Attributes:
        given_id: of the submission: its UUID, or what its producer calls it.
        submitted_at: needed where several have the id.
    """

    tenant: str
    form_id: str
    given_id: str
    answers: Mapping[str, Any] = field(repr=False)
    submitted_at: datetime | None = None


def plan(connection: psycopg.Connection[Any], wanted: Wanted) -> Correction:
    """What a correction would do, in a transaction of the owner's, which holds the row from here on.

    Raises:
        NotFoundError: `SUBMISSION_NOT_FOUND`.
        InvalidInputError: `SUBMISSION_CORRECTION_INVALID` where several have the id, nothing changes, or the form's
            rules refuse the answers; `details["faults"]` says which and why.
        ConflictError: `SUBMISSION_ERASURE_RUNNING`: an erasure must meet each row where it stood at its beginning.
    """
    require_no_erasure(connection, wanted.tenant)
    form_key, submission_id, submitted_at, stored, version = _one(connection, wanted)
    form = find_form(connection, wanted.tenant, wanted.form_id, version)
    if form is None:
        raise NotFoundError(Code.FORM_VERSION_NOT_FOUND, f"the form {wanted.form_id!r} has no version {version}")
    before = json.loads(stored)
    merged = {name: value for name, value in {**before, **wanted.answers}.items() if value is not None}
    definition = form.parse()
    judged = FormRules(definition).judge(json.dumps(merged, ensure_ascii=False).encode())
    if isinstance(judged, tuple):
        faults = [fault.as_dict() for fault in judged]
        told = "; ".join(f"{fault['question_id']}: {fault['message']}" for fault in faults)
        raise InvalidInputError(
            Code.SUBMISSION_CORRECTION_INVALID, f"the form refuses it: {told}", details={"faults": faults}
        )
    after = json.loads(judged)
    names = [question.id for question in definition.questions]
    changes = [Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
    if not changes:
        raise InvalidInputError(
            Code.SUBMISSION_CORRECTION_INVALID, "the answers are that already", remedy="There is nothing to correct."
        )
    return Correction(
        wanted.tenant, wanted.form_id, form.version, form_key, submission_id, submitted_at, changes, judged
    )


def correct(connection: psycopg.Connection[Any], correction: Correction, by: str, reason: str) -> None:
    """Store a correction and its audit, which names questions and no values, in the transaction that planned it.

    Raises:
        InvalidInputError: `REQUEST_USAGE` without name or reason.
    """
    by, reason = require_reason(by, reason)
    key = (correction.form_key, correction.submission_id, correction.submitted_at)
    connection.execute(_CORRECT, (correction.answers.decode(), *key))
    details = {"tenant": correction.tenant, **correction.as_dict()}
    entry = audit_entry(by, "person_data.correct", str(correction.submission_id), reason, details)
    record_actions(connection, [entry])


def _one(connection: psycopg.Connection[Any], wanted: Wanted) -> tuple[Any, ...]:
    values = {
        "tenant": wanted.tenant,
        "form_id": wanted.form_id,
        "submission_id": submission_id_of(wanted.tenant, wanted.form_id, wanted.given_id),
        "at": wanted.submitted_at,
    }
    found = connection.execute(_FIND, values).fetchall()
    if not found:
        raise NotFoundError(Code.SUBMISSION_NOT_FOUND, f"the form {wanted.form_id!r} has no such submission")
    if len(found) > 1:
        instants = ", ".join(sorted(row[2].isoformat() for row in found))
        raise InvalidInputError(
            Code.SUBMISSION_CORRECTION_INVALID,
            f"{len(found)} submissions have that id, at {instants}",
            remedy="Say which by --submitted-at.",
        )
    (row,) = found
    return tuple(row)
