"""All that is stored of one person as a zip archive: a JSONL file a place, the forms, and a manifest with digests.

No more than a slice is in memory. The archive has its name once it is whole, and is its owner's alone.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.person_data import SubjectKind
from penstock.workers.compliance import letters, outbox, posts, rejections, submissions
from penstock.workers.compliance.person import Person
from penstock.workers.compliance.requests import PersonRequest
from penstock.workers.database.transaction import Transactions

_T = TypeVar("_T")
_Record = dict[str, Any]

_FORMS = """
SELECT f.form_id, v.version, v.created_at, v.definition ->> 'title', v.definition ->> 'purpose',
       v.definition ->> 'legal_basis'
  FROM penstock.form_versions v JOIN penstock.forms f USING (form_key)
 WHERE v.form_key = ANY(%s) ORDER BY f.form_id, v.version
"""
_ACCOUNTS = """
SELECT account_id, platform, external_id, name, state, created_at FROM penstock.social_accounts
 WHERE tenant = %s AND lower(owner) = %s ORDER BY account_id
"""
_README = """All that Penstock holds of one person, as asked for by the request in manifest.json.
Each .jsonl file is one place, one JSON object a line. What waits in queues is not in it: it is stored shortly.
"""


def export(transactions: Transactions, request: PersonRequest, person: Person, path: Path) -> dict[str, Any]:
    """Write the archive; returns its manifest.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where the file is there already or can't be written.
        PenstockError: of the family `STORAGE_`; no file is left then.
    """
    places: Mapping[str, Callable[[], Iterator[_Record]]] = {
        "submissions": lambda: _submissions(transactions, person),
        "rejections": lambda: _rejections(transactions, person),
        "dead_letters": lambda: _letters(transactions, person),
        "outbox": lambda: _outbox(transactions, request, person),
        "posts": lambda: _posts(transactions, person),
        "accounts": lambda: _accounts(transactions, person),
        "forms": lambda: _forms(transactions, person),
    }
    with _private_archive(path) as archive:
        archive.writestr("README.txt", _README)
        files = {f"{name}.jsonl": _write(archive, f"{name}.jsonl", records()) for name, records in places.items()}
        manifest = {
            "request_id": str(request.request_id),
            "tenant": request.tenant,
            "by": request.subject_kind,
            "form_id": request.form_id,
            "question_id": request.question_id,
            "digest": request.digest.hex(),
            "made_at": datetime.now(UTC).isoformat(),
            "files": files,
        }
        archive.writestr("manifest.json", json.dumps(manifest, indent=2))
    return manifest


@contextmanager
def _private_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    part = path.with_name(f"{path.name}.part")
    try:
        if path.exists():
            raise FileExistsError(17, "is there already")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise InvalidInputError(
            Code.REQUEST_USAGE, f"{path} can't be written: {error.strerror}", remedy="Name a new file."
        ) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            # What an earlier run left behind keeps its mode.
            os.fchmod(file.fileno(), 0o600)
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                yield archive
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def _write(archive: zipfile.ZipFile, name: str, records: Iterator[_Record]) -> dict[str, Any]:
    digest, count = hashlib.sha256(), 0
    # zip64: nobody knows how long it becomes.
    with archive.open(name, "w", force_zip64=True) as file:
        for record in records:
            line = json.dumps(record, default=str).encode() + b"\n"
            digest.update(line)
            file.write(line)
            count += 1
    return {"records": count, "sha256": digest.hexdigest()}


def _submissions(transactions: Transactions, person: Person) -> Iterator[_Record]:
    place: dict[str, Any] | None = {} if person.has_rows else None
    while place is not None:
        found = _read(transactions, submissions.look, person, place)
        for row in found.rows:
            yield {
                "form_id": row.form_id,
                "submission_id": str(row.submission_id),
                "external_id": row.external_id,
                "submitted_at": row.submitted_at.isoformat(),
                "batch_id": row.batch_id,
                "answers": json.loads(row.answers),
            }
        place = found.place


def _rejections(transactions: Transactions, person: Person) -> Iterator[_Record]:
    place: tuple[str, int] | None = ("", -1) if person.has_rows else None
    while place is not None:
        found = _read(transactions, rejections.look, person, place)
        for row in found.rows:
            yield {
                "form_id": row.form_id,
                "batch_id": row.batch_id,
                "position": row.position,
                "content": row.content,
                "faults": json.loads(row.faults),
            }
        place = found.place


def _letters(transactions: Transactions, person: Person) -> Iterator[_Record]:
    place: UUID | None = UUID(int=0)
    while place is not None:
        found = _read(transactions, letters.look, person, place, lock=False)
        for letter in found.letters:
            yield {"dead_id": str(letter.dead_id), "kind": letter.kind, "content": list(letter.taken)}
        place = found.place


def _outbox(transactions: Transactions, request: PersonRequest, person: Person) -> Iterator[_Record]:
    place: int | None = 0
    while place is not None:
        found = _read(transactions, outbox.look, person, place, request.asked_at)
        for job in found.jobs:
            yield {"kind": job.kind, "content": list(job.taken)}
        place = found.place


def _posts(transactions: Transactions, person: Person) -> Iterator[_Record]:
    if person.subject.kind is not SubjectKind.OWNER:
        return
    for owner in _read(transactions, posts.owners, person):
        place: UUID | None = UUID(int=0)
        while place is not None:
            found = _read(transactions, posts.look, person, owner, place)
            yield from found.posts
            place = found.place


def _accounts(transactions: Transactions, person: Person) -> Iterator[_Record]:
    if person.subject.kind is SubjectKind.OWNER:
        names = ("account_id", "platform", "external_id", "name", "state", "created_at")
        rows = _read(transactions, _rows, _ACCOUNTS, (person.tenant, person.subject.value))
        yield from (dict(zip(names, row, strict=True)) for row in rows)


def _forms(transactions: Transactions, person: Person) -> Iterator[_Record]:
    """What the answers were asked for, version by version."""
    names = ("form_id", "version", "created_at", "title", "purpose", "legal_basis")
    rows = _read(transactions, _rows, _FORMS, (person.form_keys,))
    yield from (dict(zip(names, row, strict=True)) for row in rows)


def _rows(connection: psycopg.Connection[Any], statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    return connection.execute(statement.encode(), values).fetchall()


def _read(transactions: Transactions, look: Callable[..., _T], *values: Any, **named: Any) -> _T:
    """What `look` gives in a transaction of its own."""
    return transactions.run(lambda transaction: look(transaction.connection, *values, **named))
