"""Rows of a batch whose people were erased after it was enqueued: they are counted, and never stored."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg

from penstock.schemas.person_data import SubjectKind
from penstock.workers.erasures.declared import DeclaredForm, declared_forms, undeclared_form
from penstock.workers.erasures.subjects import Subject, spelled_email
from penstock.workers.erasures.tombstones import erased_among, origin_of
from penstock.workers.submissions.accepted import Accepted
from penstock.workers.submissions.rows import Rejected
from penstock.workers.submissions.store import PreparedBatch

_MEMBERS = frozenset({"id", "submitted_at", "answers", "position"})
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
#: What looks like an e-mail address, where not even quotes pair.
_ADDRESS = re.compile(r"[^\s\"'<>(){},;:]+@[^\s\"'<>(){},;:]+")


def without_erased(
    connection: psycopg.Connection[Any], batch: PreparedBatch, token_keys: str | None, received_at: datetime
) -> PreparedBatch:
    """The batch without rows of people whose data was erased after it was enqueued; mostly the same one.

    Args:
        connection: within the transaction that has claimed the batch.
        batch: whose tenant has a mark that may concern it.
        token_keys: the setting whose keys the marks were made with.
        received_at: when the batch was enqueued; a requeued one is as old as its letter.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the marks can't be compared; nothing may be stored then.
    """
    origin = origin_of(connection, batch.tenant, batch.job_id, received_at)
    accepted = list(batch.accepted)
    by_row: list[tuple[Accepted | Rejected, list[Subject]]] = []

    def name() -> Iterator[Subject]:
        form = declared_forms(connection, batch.tenant, [batch.form_id]).get(batch.form_id)
        form = form or undeclared_form(batch.tenant, batch.form_id)
        by_row.extend((row, list(_subjects(form, row))) for row in accepted)
        by_row.extend((row, list(_subjects(form, row))) for row in batch.rejected)
        return (subject for _, subjects in by_row for subject in subjects)

    erased = erased_among(connection, token_keys, batch.tenant, origin, name)
    gone = {id(row) for row, subjects in by_row if not erased.isdisjoint(subjects)}
    if not gone:
        return batch
    return replace(
        batch,
        accepted=[row for row in accepted if id(row) not in gone],
        rejected=[row for row in batch.rejected if id(row) not in gone],
        erased=batch.erased + len(gone),
    )


def _subjects(form: DeclaredForm, row: Accepted | Rejected) -> Iterator[Subject]:
    if isinstance(row, Accepted):
        yield from form.subjects(row.external_id, row.submission_id, json.loads(row.answers))
        return
    content = row.content if row.content is not None else (row.content_bytes or b"").decode(errors="replace")
    yield from content_subjects(form, content, row.external_id)


def content_subjects(form: DeclaredForm, content: str, row_id: str | None = None) -> Iterator[Subject]:
    """Everybody that a row names that was never judged good, by its text as it was sent.

    Of a row that is not what rows are, each text may be the answer that names somebody.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    members = found if isinstance(found, dict) else {}
    given = row_id if row_id is not None else members.get("id")
    answers = members.get("answers")
    yield from form.subjects(given if isinstance(given, str) and given else None, None, answers)
    if not isinstance(answers, dict) or not members.keys() <= _MEMBERS:
        yield from form.loose_subjects(_texts(content))


def _texts(content: str) -> Iterator[str]:
    for written in _TEXT.findall(content):
        try:
            yield str(json.loads(written))
        except ValueError:
            yield written[1:-1]
    yield from _ADDRESS.findall(content)


def addresses_in(text: str) -> Iterator[Subject]:
    """Everybody whose e-mail address stands somewhere in a text that nobody can read."""
    for found in _ADDRESS.findall(text):
        yield Subject(SubjectKind.EMAIL, spelled_email(found))
