"""Dead letters that hold something of a person: their payload is changed, and the letter stays as it was decided."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import psycopg

from penstock.producers.queue.compression import compress, decompress
from penstock.schemas.errors import PenstockError
from penstock.workers.compliance.payloads import ERASED_PAYLOAD, Redacted, without_person
from penstock.workers.compliance.person import Person
from penstock.workers.dead_letters.projection import project
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.store import PAYLOAD_BYTES_LIMIT
from penstock.workers.telemetry.queries import timed_query

#: Letters of one step: as many as these bytes hold, and the first one in any case.
SLICE_LETTERS, SLICE_BYTES = 200, 16 * 1024 * 1024

_IDS = """
SELECT dead_id, octet_length(body) + coalesce(octet_length(raw), 0) FROM penstock.dead_letters
 WHERE tenant = %s AND dead_id > %s ORDER BY dead_id LIMIT %s
"""
# Locked in order, as everybody who changes several letters: who requeues one meanwhile has it before or after.
_LETTERS = """
SELECT dead_id, kind, body, encoding, header_ok, raw FROM penstock.dead_letters
 WHERE dead_id = ANY(%s) ORDER BY dead_id
"""
_ERASE = "SELECT penstock.erase_in_letter(%s, %s, %b, %s, %b, %s::jsonb)"


@dataclass(frozen=True, slots=True)
class Content:
    """What a letter holds: its payload as it was sent, or a whole message that could not be read."""

    kind: str
    body: bytes = field(repr=False)
    encoding: str | None
    header_ok: bool
    raw: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """A letter that holds something of the person: what, and the content that it is left with."""

    dead_id: UUID
    kind: str
    taken: Sequence[str] = field(repr=False)
    left: Content = field(repr=False)


@dataclass(frozen=True, slots=True)
class Slice:
    """What one look found, and behind which letter the next one begins; None behind the last."""

    letters: Sequence[FoundLetter]
    place: UUID | None


def look(connection: psycopg.Connection[Any], person: Person, place: UUID, *, lock: bool) -> Slice:
    """Look into the next letters behind `place`; `lock` where they are about to be changed."""
    with timed_query("select", "dead_letters"):
        sizes = connection.execute(_IDS, (person.tenant, place, SLICE_LETTERS)).fetchall()
        ids = list(_that_fit(sizes))
        statement = _LETTERS + (" FOR UPDATE" if lock else "")
        rows = connection.execute(statement.encode(), (ids,)).fetchall()
    found = (_found(dead_id, _content(*rest), person) for dead_id, *rest in rows)
    is_last = len(ids) == len(sizes) < SLICE_LETTERS
    return Slice([letter for letter in found if letter is not None], None if is_last else ids[-1])


def erase(connection: psycopg.Connection[Any], request_id: UUID, letters: Sequence[FoundLetter]) -> int:
    """Give letters what they are left with; returns how many."""
    with timed_query("update", "dead_letters"):
        for letter in letters:
            left = letter.left
            values = (request_id, letter.dead_id, left.body, left.encoding, left.raw, _projection(left))
            connection.execute(_ERASE, values)
    return len(letters)


def left_of(content: Content, person: Person) -> tuple[Content, Sequence[str]] | None:
    """The content without the person, and what was theirs; None where nothing was."""
    if not content.header_ok:
        raw = content.raw or b""
        return (replace(content, raw=ERASED_PAYLOAD), [_told(raw)]) if person.is_mentioned(_told(raw)) else None
    redacted = _redacted(content, person)
    if redacted is None:
        return None
    body, encoding = compress(redacted.payload)
    return replace(content, body=body, encoding=encoding), redacted.taken


def record_left(letter: LetterRecord, person: Person) -> LetterRecord:
    """A letter that is about to be archived without the person."""
    content = Content(letter.kind, letter.body, letter.encoding, letter.header_ok, letter.raw)
    found = left_of(content, person)
    if found is None:
        return letter
    left, _ = found
    return replace(letter, body=left.body, encoding=left.encoding, raw=left.raw)


def _redacted(content: Content, person: Person) -> Redacted | None:
    try:
        payload = decompress(content.body, _known(content.encoding), PAYLOAD_BYTES_LIMIT)
    except (PenstockError, ValueError):
        # Bytes that nobody can unpack name nobody.
        return None
    return without_person(content.kind, payload, person)


def _known(encoding: str | None) -> Any:
    if encoding not in {None, "zstd"}:
        raise ValueError("an encoding that is unknown")
    return encoding


def _projection(left: Content) -> str | None:
    if not left.header_ok:
        return None
    payload = decompress(left.body, _known(left.encoding), PAYLOAD_BYTES_LIMIT)
    try:
        projected = project(json.loads(payload))
    except (ValueError, RecursionError):
        return None
    return None if projected is None else projected.decode()


def _that_fit(sizes: Sequence[tuple[UUID, int]]) -> Iterator[UUID]:
    room = SLICE_BYTES
    for number, (dead_id, size) in enumerate(sizes):
        room -= size
        if room < 0 and number:
            return
        yield dead_id


def _content(kind: str, body: bytes, encoding: str | None, header_ok: bool, raw: bytes | None) -> Content:
    return Content(kind, bytes(body), encoding, header_ok, None if raw is None else bytes(raw))


def _found(dead_id: UUID, content: Content, person: Person) -> FoundLetter | None:
    found = left_of(content, person)
    if found is None:
        return None
    left, taken = found
    return FoundLetter(dead_id, content.kind, taken, left)


def _told(content: bytes) -> str:
    return content.decode(errors="replace")
