"""The rows of a batch: decoded once, judged by the form's rules, given their identity."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from penstock.schemas.errors import Code
from penstock.schemas.faults import Fault
from penstock.workers.forms.cache import FormVersion
from penstock.workers.submissions.accepted import Accepted, PlainRows
from penstock.workers.submissions.identities import Identities, Identity, Settled, WireRow, as_column
from penstock.workers.submissions.json_pieces import UncuttableError, list_pieces, object_pieces

#: What msgspec raises for bytes that are not what they should be.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that breaks rules, whole, as it was sent. `content` is JSON text; else the bytes are not even that."""

    index: int
    external_id: str | None
    submitted_at: str | None
    content: str | None = field(repr=False)
    content_bytes: bytes | None = field(repr=False)
    faults: tuple[Fault, ...] = ()


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A row that brings nothing but answers, as nearly all do."""

    answers: msgspec.Raw


_decode_plain_rows = msgspec.json.Decoder(list[_PlainRow]).decode
_decode_rows = msgspec.json.Decoder(list[WireRow]).decode
_decode_row = msgspec.json.Decoder(WireRow).decode
_decode_raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode

_UNDECODABLE = Fault(None, Code.SUBMISSION_UNDECODABLE, "the row must be UTF-8 JSON")
_NO_OBJECT = Fault(None, Code.SUBMISSION_INVALID, "a row must be an object {id?, submitted_at?, answers}")
_NO_ANSWERS = Fault(None, Code.SUBMISSION_INVALID, "a row must have answers")


class UndecodableRowsError(ValueError):
    """Raised when a batch's `submissions` is not a list, so that there are no rows to speak of."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The rows of a batch. Of `erased` ones, taken out at a person's demand, nothing is left but their number."""

    accepted: Sequence[Accepted]
    rejected: Sequence[Rejected]
    erased: int = 0


def plain_answers(submissions: bytes) -> list[bytes] | None:
    """The answers of each row of a batch whose rows bring nothing else; None for any other bytes."""
    try:
        return [bytes(row.answers) for row in _decode_plain_rows(submissions)]
    except UNDECODABLE:
        return None


def judge_plain(answers: list[bytes], submissions: bytes, form: FormVersion, identity: Identity) -> Judged:
    """Judge rows that bring nothing but answers: place and batch say all the rest. Not those of a replay."""
    checked = form.rules.check_all(answers)
    ids = Identities(form.submission_ids, identity).all_derived(len(answers))
    if checked is answers:
        return Judged(PlainRows.of(identity.received_us, dict(zip(ids, answers, strict=True))), ())
    judge, raws = _Judge(form, identity), raw_rows(submissions)
    accepted: dict[bytes, bytes] = {}
    for index, told in enumerate(checked):
        if isinstance(told, tuple):
            judge.reject(index, bytes(raws[index]), None, told)
        else:
            accepted[ids[index]] = told
    return Judged(PlainRows.of(identity.received_us, accepted), judge.rejected)


def judge_rows(submissions: bytes, form: FormVersion, identity: Identity) -> Judged:
    """Judge each row by itself, whatever it brings. What is accepted stands as it came.

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
        return Judged(judge.accepted, judge.rejected, judge.erased)
    faulty = judge.rows(rows)
    if faulty:
        raws = raw_rows(submissions)
        for index, faults in faulty:
            judge.reject(index, bytes(raws[index]), rows[index], faults)
    return Judged(judge.accepted, judge.rejected, judge.erased)


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
        self._check, self._check_all = form.rules.check, form.rules.check_all
        self._identities = Identities(form.submission_ids, identity)
        self.accepted: list[Accepted] = []
        self.rejected: list[Rejected] = []
        self.erased = 0

    def rows(self, rows: list[WireRow]) -> list[tuple[int, tuple[Fault, ...]]]:
        """Accept the good rows; returns the index and the faults of each of the others."""
        faulty = []
        checked = self._check_all([bytes(row.answers) for row in rows])
        for index, (row, answers) in enumerate(zip(rows, checked, strict=True)):
            faults = self._settle(index, row, answers)
            if faults:
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
