"""Letters on their way from Redis to PostgreSQL, without people who were erased while the jobs were in the queue."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from penstock.producers.queue.compression import decompress
from penstock.schemas.errors import PenstockError
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.compliance.letters import record_left
from penstock.workers.compliance.payloads import named_in
from penstock.workers.compliance.person import Person
from penstock.workers.dead_letters.projection import read_payload
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.store import PAYLOAD_BYTES_LIMIT
from penstock.workers.erasures.declared import DeclaredForm, declared_forms, undeclared_form
from penstock.workers.erasures.subjects import Subject
from penstock.workers.erasures.tombstones import erased_among, origin_of, watches_of
from penstock.workers.submissions.erased import addresses_in


@dataclass(frozen=True, slots=True)
class WithoutErased:
    """Takes erased people out of letters, in the transaction that inserts them.

    Args:
        token_keys: the setting whose keys people's digests are made with; needed once somebody was erased.
    """

    token_keys: str | None = field(repr=False)

    def __call__(self, connection: psycopg.Connection[Any], letters: Sequence[LetterRecord]) -> list[LetterRecord]:
        """The letters as they may be kept.

        Raises:
            InvalidInputError: `CONFIG_INVALID` where marks can't be compared: the letters stay in Redis.
        """
        watches = watches_of(connection, {letter.tenant for letter in letters})
        if not watches:
            return list(letters)
        kept = []
        for letter in letters:
            watch = watches.get(letter.tenant)
            if watch is not None and watch.concerns(letter.enqueued_at):
                letter = self._left(connection, letter)  # noqa: PLW2901  what follows is about the one or the other
            kept.append(letter)
        return kept

    def _left(self, connection: psycopg.Connection[Any], letter: LetterRecord) -> LetterRecord:
        forms: dict[str, DeclaredForm] = {}

        def name() -> Iterator[Subject]:
            forms.update(_forms_of(connection, letter))
            return _named(letter, forms)

        origin = origin_of(connection, letter.tenant, letter.job_id, letter.enqueued_at)
        for subject in erased_among(connection, self.token_keys, letter.tenant, origin, name):
            letter = record_left(letter, Person(letter.tenant, subject, forms))
        return letter


def _forms_of(connection: psycopg.Connection[Any], letter: LetterRecord) -> Mapping[str, DeclaredForm]:
    if letter.kind != WriteSubmissionBatch.kind or not letter.header_ok:
        return {}
    payload = read_payload(letter.body, letter.encoding, PAYLOAD_BYTES_LIMIT)
    form_id = payload.get("form_id") if isinstance(payload, dict) else None
    return declared_forms(connection, letter.tenant, [form_id]) if isinstance(form_id, str) else {}


def _named(letter: LetterRecord, forms: Mapping[str, DeclaredForm]) -> Iterator[Subject]:
    if not letter.header_ok:
        yield from _addresses([letter.raw or b""])
        return
    try:
        payload = decompress(letter.body, "zstd" if letter.encoding == "zstd" else None, PAYLOAD_BYTES_LIMIT)
    except PenstockError:
        return
    yield from named_in(
        letter.kind, payload, lambda form_id: forms.get(form_id) or undeclared_form(letter.tenant, form_id)
    )


def _addresses(messages: Iterable[bytes]) -> Iterator[Subject]:
    for message in messages:
        yield from addresses_in(message.decode(errors="replace"))
