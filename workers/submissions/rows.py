"""The rows of a batch: decoded once, judged by the form's rules, given their identity."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from penstock.schemas.errors import Code
from penstock.schemas.faults import Fault
from penstock.workers.forms.cache import FormVersion
from penstock.workers.submissions.identities import Identities, Identity, Settled, WireRow, as_column
from penstock.workers.submissions.json_pieces import UncuttableError, list_pieces, object_pieces

#: What msgspec raises for bytes that are not what they should be.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A row to be stored. `submitted_us` counts microseconds since 1970.

    A Struct, since a dataclass takes ten times as long to make, and there is one for each row.
    """

    submission_id: bytes
    submitted_us: int
    external_id: str | None
    answers: bytes
    position: int | None = None

    def __repr__(self) -> str:
        return f"<row {self.submission_id.hex()}>"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that breaks rules, whole, as it was sent. `content` is JSON text; else the bytes are not even that."""

    index: int
    external_id: str | None
    submitted_at: str | None
    content: str | None = field(repr=False)
    content_bytes: bytes | None = field(repr=False)
    faults: tuple[Fault, ...] = ()


_decode_rows = msgspec.json.Decoder(list[WireRow]).decode
_decode_row = msgspec.json.Decoder(WireRow).decode
_decode_raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode

_UNDECODABLE = Fault(None, Code.SUBMISSION_UNDECODABLE, "the row must be UTF-8 JSON")
_NO_OBJECT = Fault(None, Code.SUBMISSION_INVALID, "a row must be an object {id?, submitted_at?, answers}")
_NO_ANSWERS = Fault(None, Code.SUBMISSION_INVALID, "a row must have answers")


class UndecodableRowsError(ValueError):
    """Raised when a batch's `submissions` is not a list, so that there are no rows to speak of."""


def judge_rows(submissions: bytes, form: FormVersion, identity: Identity) -> tuple[list[Accepted], list[Rejected], int]:
    """Judge each row by itself; the number is of rows that were taken out at a person's demand.

    Raises:
        UndecodableRowsError: where the bytes are not a list at all.
    """
    judge = _Judge(form, identity)
    try:
        rows = _decode_rows(submissions)
    except UNDECODABLE:
        # Some row is not what rows are: find which, and spare the others.
        for index, content in enumerate(raw_rows(submissions)):
            judge.content(index, bytes(content))
        return judge.accepted, judge.rejected, judge.erased
    faulty = judge.rows(rows)
    if faulty:
        raws = raw_rows(submissions)
        for index, faults in faulty:
            judge.reject(index, bytes(raws[index]), rows[index], faults)
    return judge.accepted, judge.rejected, judge.erased


def raw_rows(submissions: bytes) -> Sequence[msgspec.Raw] | Sequence[bytes]:
    """The rows of a batch as they were sent, whatever they hold.

    Raises:
        UndecodableRowsError: where the bytes are not a list at all.
    """
    try:
        return _decode_raw_rows(submissions)
    except UNDECODABLE:
        pass
    try:
        return list_pieces(submissions)
    except UncuttableError:
        raise UndecodableRowsError from None


class _Judge:
    def __init__(self, form: FormVersion, identity: Identity) -> None:
        self._check = form.rules.check
        self._identities = Identities(form.submission_ids, identity)
        self._identity = identity
        self.accepted: list[Accepted] = []
        self.rejected: list[Rejected] = []
        self.erased = 0

    def rows(self, rows: list[WireRow]) -> list[tuple[int, tuple[Fault, ...]]]:
        """Accept the good rows; returns the index and the faults of each of the others."""
        check, accept, received_us = self._check, self.accepted.append, self._identity.received_us
        in_place = not self._identity.is_replay
        # The first row shows what the others are like; for those that it misjudges this is only slower.
        ids = self._identities.all_derived(len(rows)) if in_place and rows and rows[0].id is None else ()
        first, id_at = self._identity.first_position, self._identities.id_at
        faulty = []
        for index, row in enumerate(rows):
            answers = check(bytes(row.answers))
            is_plain = in_place and row.id is None and row.submitted_at is None and row.position is None
            if is_plain and type(answers) is bytes:
                # Nearly every row: its place is its identity, and the batch's instant its own.
                accept(Accepted(ids[index] if ids else id_at(first + index), received_us, None, answers))
            elif faults := self._settle(index, row, answers):
                faulty.append((index, faults))
        return faulty

    def content(self, index: int, content: bytes) -> None:
        """Accept or reject one row of a batch in which some are not what rows are."""
        row: WireRow | None
        try:
            row = _decode_row(content)
            faults = self._settle(index, row, self._check(bytes(row.answers)))
        except UNDECODABLE:
            row, faults = self._member_by_member(index, content)
        if faults:
            self.reject(index, content, row, faults)

    def _member_by_member(self, index: int, content: bytes) -> tuple[WireRow | None, tuple[Fault, ...]]:
        """Accept a row that is not what rows are, or say all that is wrong with what can be read of it."""
        if _json_text(content) is None:
            return None, (_UNDECODABLE,)
        try:
            members = object_pieces(content)
        except UncuttableError:
            return None, (_NO_OBJECT,)
        if members.get("erased") == b"true":
            # It keeps the place of what an erasure took out of a dead letter, or of a job that waited.
            self.erased += 1
            return None, ()
        row = WireRow(
            answers=msgspec.Raw(),
            id=_text(members.get("id")),
            submitted_at=_text(members.get("submitted_at")),
            position=_whole_number(members.get("position")),
        )
        sent = members.get("answers")
        unknown = len(members.keys() - set(WireRow.__struct_fields__))
        return row, self._settle(
            index,
            row,
            (_NO_ANSWERS,) if sent is None else self._check(sent),
            (_unknown_members(unknown),) if unknown else (),
        )

    def _settle(
        self, index: int, row: WireRow, answers: bytes | tuple[Fault, ...], found: tuple[Fault, ...] = ()
    ) -> tuple[Fault, ...]:
        """Accept the row if nothing is wrong with it; else say all that is (`found` is what was seen before)."""
        settled = self._identities.settle(index, row)
        faults = found if isinstance(settled, Settled) else found + settled
        if isinstance(answers, tuple):
            return faults + answers
        if not faults and isinstance(settled, Settled):
            self.accepted.append(
                Accepted(settled.submission_id, settled.submitted_us, settled.external_id, answers, row.position)
            )
        return faults

    def reject(self, index: int, content: bytes, row: WireRow | None, faults: tuple[Fault, ...]) -> None:
        """Keep the row as it was sent, with all its faults."""
        text = _json_text(content)
        self.rejected.append(
            Rejected(
                index=index,
                external_id=as_column(row.id) if row else None,
                submitted_at=as_column(row.submitted_at) if row else None,
                content=text,
                content_bytes=content if text is None else None,
                faults=faults,
            )
        )


def _unknown_members(count: int) -> Fault:
    return Fault(None, Code.SUBMISSION_INVALID, f"a row has only id, submitted_at and answers; {count} more")


def _text(member: bytes | None) -> str | None:
    """A text member; the empty text, which is a fault in all of them, for what is no text."""
    if member is None or member == b"null":
        return None
    return str(json.loads(member.decode())) if member.startswith(b'"') else ""


def _whole_number(member: bytes | None) -> int | None:
    """A position; -1, which none can be, for what is no whole number or has more digits than one can have."""
    if member is None or member == b"null":
        return None
    return int(member) if member.isdigit() and len(member) <= 10 else -1


def _json_text(content: bytes) -> str | None:
    """The row as text that PostgreSQL's `json` takes; None where it is not UTF-8 JSON."""
    try:
        text = content.decode()
        json.loads(text, parse_constant=_no_constant, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return text


def _no_constant(name: str) -> None:
    raise ValueError(name)
