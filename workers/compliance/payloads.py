"""A job's payload without a person: of a batch their rows are taken out, and the others keep their places."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from penstock.schemas.encoding import compact_json
from penstock.schemas.person_data import SubjectKind
from penstock.schemas.scheduled_post import PublishPost, SchedulePost
from penstock.schemas.submission_batch import ERASED_ROW, WriteSubmissionBatch
from penstock.workers.compliance.person import Person
from penstock.workers.erasures.declared import DeclaredForm, submission_ids
from penstock.workers.erasures.subjects import Subject, spelled
from penstock.workers.submissions.erased import content_subjects
from penstock.workers.submissions.json_pieces import UncuttableError, object_pieces
from penstock.workers.submissions.rows import UndecodableRowsError, raw_rows

#: What becomes of a value that names the person in a payload of another kind.
ERASED_TEXT = "[erased]"
#: What becomes of a payload nothing of which can be told apart.
ERASED_PAYLOAD = b'{"erased":true}'
#: Of these a payload is one person's as a whole.
_OF_AN_OWNER = (SchedulePost.kind, PublishPost.kind)


@dataclass(frozen=True, slots=True)
class Redacted:
    """A payload without the person.

    Attributes:
        taken: the rows, or the whole payload, that were theirs, as they were.
    """

    payload: bytes = field(repr=False)
    taken: tuple[str, ...] = field(repr=False)


def without_person(kind: str, payload: bytes, person: Person) -> Redacted | None:
    """The payload of a job of the person's tenant without them; None where nothing of it is theirs."""
    if kind == WriteSubmissionBatch.kind:
        return _of_batch(payload, person) if person.has_rows else None
    if person.subject.kind is SubjectKind.OWNER:
        return _of_owner(kind, payload, person)
    if person.subject.kind is not SubjectKind.EMAIL or person.subject.form_id is not None:
        return None
    return _of_other(payload, person)


def named_in(kind: str, payload: bytes, forms: Callable[[str], DeclaredForm | None]) -> Iterator[Subject]:
    """Everybody whom a payload names, for whoever knows only digests of those who were erased."""
    if kind == WriteSubmissionBatch.kind:
        batch = _read_batch(payload)
        form = None if batch is None else forms(batch.form_id)
        if batch is not None and form is not None:
            for place, row in enumerate(batch.rows):
                yield from content_subjects(form, _told(row), None)
                yield from _by_place(form, batch, place)
        return
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return
    owner = found.get("owner") if isinstance(found, dict) and kind in _OF_AN_OWNER else None
    if isinstance(owner, str):
        yield Subject(SubjectKind.OWNER, spelled(owner))
    yield from (Subject(SubjectKind.EMAIL, spelled(text)) for text in _texts(found) if "@" in text)


@dataclass(frozen=True, slots=True)
class _Batch:
    form_id: str
    members: dict[str, bytes]
    rows: list[bytes]
    base: str
    first: int


def _read_batch(payload: bytes) -> _Batch | None:
    try:
        members = object_pieces(payload)
        rows = [bytes(row) for row in raw_rows(members["submissions"])]
        form_id, batch_id = str(json.loads(members["form_id"])), str(json.loads(members["batch_id"]))
        base = str(json.loads(members.get("base_batch_id", b"null")) or batch_id)
        return _Batch(form_id, members, rows, base, int(json.loads(members.get("first_position", b"0"))))
    except (UncuttableError, UndecodableRowsError, KeyError, ValueError, TypeError, RecursionError):
        return None


def _of_batch(payload: bytes, person: Person) -> Redacted | None:
    batch = _read_batch(payload)
    if batch is None:
        return _unreadable(payload, person)
    form = person.form(batch.form_id)
    if form is None:
        return None
    taken = {place for place in range(len(batch.rows)) if _is_theirs(person, form, batch, place)}
    if not taken:
        return None
    kept = [ERASED_ROW if place in taken else row for place, row in enumerate(batch.rows)]
    members = batch.members | {"submissions": b"[" + b",".join(kept) + b"]"}
    body = b",".join(compact_json(name) + b":" + value for name, value in members.items())
    return Redacted(b"{" + body + b"}", tuple(_told(batch.rows[place]) for place in sorted(taken)))


def _is_theirs(person: Person, form: DeclaredForm, batch: _Batch, place: int) -> bool:
    if person.is_among(content_subjects(form, _told(batch.rows[place]))):
        return True
    return person.subject.kind is SubjectKind.SUBMISSION and person.is_among(_by_place(form, batch, place))


def _by_place(form: DeclaredForm, batch: _Batch, place: int) -> Iterator[Subject]:
    """The submission that a row without an id becomes: its id derives from its place in the whole file."""
    if b'"id"' not in batch.rows[place]:
        derived = submission_ids(form).of_positions(batch.base)(batch.first + place)
        yield Subject(SubjectKind.SUBMISSION, derived.hex(), form.form_id)


def _of_owner(kind: str, payload: bytes, person: Person) -> Redacted | None:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    owner = found.get("owner") if isinstance(found, dict) else None
    if kind not in _OF_AN_OWNER or not isinstance(owner, str) or spelled(owner) != person.subject.value:
        return None
    # No post may go out without its text: what is left is no payload of the kind.
    return Redacted(ERASED_PAYLOAD, (_told(payload),))


def _of_other(payload: bytes, person: Person) -> Redacted | None:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return _unreadable(payload, person)
    if not any(spelled(text) == person.subject.value for text in _texts(found)):
        return None
    return Redacted(compact_json(_without_value(found, person.subject)), (_told(payload),))


def _unreadable(payload: bytes, person: Person) -> Redacted | None:
    """Nobody can tell whose is which part: all of it goes where the person stands in it."""
    text = _told(payload)
    return Redacted(ERASED_PAYLOAD, (text,)) if person.is_mentioned(text) else None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _without_value(value: Any, subject: Subject) -> Any:
    if isinstance(value, str):
        return ERASED_TEXT if spelled(value) == subject.value else value
    if isinstance(value, list):
        return [_without_value(inner, subject) for inner in value]
    if isinstance(value, dict):
        return {name: _without_value(inner, subject) for name, inner in value.items()}
    return value


def _told(content: bytes) -> str:
    return content.decode(errors="replace")
