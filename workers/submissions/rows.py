"""The rows of a batch: decoded once, judged by the form's rules, given their identity."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from penstock.schemas.errors import Code
from penstock.schemas.faults import Fault
from penstock.schemas.identity import parse_uuid, uuid7_unix_ms
from penstock.workers.forms.cache import FormVersion
from penstock.workers.submissions.instants import parse_instant, within_bounds

_MEMBERS = ("id", "submitted_at", "answers", "position")
_ID_CHARACTERS = 200


class WireRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A row as nearly all of them are: the answers stay the bytes that they are."""

    answers: msgspec.Raw
    id: str | None = None
    submitted_at: str | None = None
    position: int | None = None


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


@dataclass(frozen=True, slots=True)
class Identity:
    """What the rows of one batch have in common when their ids and instants are settled."""

    base_batch_id: str
    first_position: int
    #: When the batch was enqueued: the instant of rows that bring none. Microseconds since 1970.
    received_us: int
    #: A replay's rows say which rejected row each corrects, and keep that row's identity.
    is_replay: bool = False


_decode_rows = msgspec.json.Decoder(list[WireRow]).decode
_decode_raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class UndecodableRowsError(ValueError):
    """Raised when a batch's `submissions` is not a list, so that there are no rows to speak of."""


def judge_rows(submissions: bytes, form: FormVersion, identity: Identity) -> tuple[list[Accepted], list[Rejected]]:
    """Judge each row by itself.

    Raises:
        UndecodableRowsError: where the bytes are not a JSON list at all.
    """
    judge = _Judge(form, identity)
    try:
        rows = _decode_rows(submissions)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Some row is not what rows are: find which, and spare the others.
        judge.each(_raw_rows(submissions))
        return judge.accepted, judge.rejected
    raw: list[msgspec.Raw] | None = None
    for index, row in enumerate(rows):
        faults = judge.judge(index, row)
        if faults:
            raw = raw if raw is not None else _decode_raw_rows(submissions)
            judge.reject(index, bytes(raw[index]), row.id, row.submitted_at, faults)
    return judge.accepted, judge.rejected


def _raw_rows(submissions: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_raw_rows(submissions)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UndecodableRowsError from None


class _Judge:
    def __init__(self, form: FormVersion, identity: Identity) -> None:
        self._check: Callable[[bytes], bytes | tuple[Fault, ...]] = form.rules.check
        self._ids = form.submission_ids
        self._id_at = form.submission_ids.of_positions(identity.base_batch_id)
        self._identity = identity
        self.accepted: list[Accepted] = []
        self.rejected: list[Rejected] = []

    def judge(self, index: int, row: WireRow, found: tuple[Fault, ...] = ()) -> tuple[Fault, ...]:
        """Accept the row, or say all that is wrong with it (`found` is what was seen before)."""
        answers = self._check(bytes(row.answers))
        identity = self._identity
        if row.id is None and row.submitted_at is None and row.position is None and not identity.is_replay:
            # Nearly every row: its place is its identity, and the batch's instant its own.
            if type(answers) is bytes and not found:
                submission_id = self._id_at(identity.first_position + index)
                self.accepted.append(Accepted(submission_id, identity.received_us, None, answers))
                return ()
            return found if isinstance(answers, bytes) else found + answers
        return self._judge_identified(index, row, answers, found)

    def _judge_identified(
        self, index: int, row: WireRow, answers: bytes | tuple[Fault, ...], faults: tuple[Fault, ...]
    ) -> tuple[Fault, ...]:
        if self._identity.is_replay != (row.position is not None):
            faults += (Fault(None, Code.SUBMISSION_INVALID, "a row has a position in a replay, and only there"),)
        settled = self._settle(index, row)
        if isinstance(settled, Fault):
            faults += (settled,)
        if isinstance(answers, tuple):
            faults += answers
        if faults or isinstance(settled, Fault) or isinstance(answers, tuple):
            return faults
        submission_id, submitted_us, external_id = settled
        self.accepted.append(Accepted(submission_id, submitted_us, external_id, answers, row.position))
        return ()

    def each(self, raws: list[msgspec.Raw]) -> None:
        """Judge rows of which some are not what rows are."""
        for index, raw in enumerate(raws):
            content = bytes(raw)
            row, faults = _parse_row(content)
            if row is not None:
                faults = self.judge(index, row, faults)
                if not faults:
                    continue
                self.reject(index, content, row.id, row.submitted_at, faults)
            else:
                self.reject(index, content, None, None, faults)

    def reject(
        self, index: int, content: bytes, row_id: str | None, submitted_at: str | None, faults: tuple[Fault, ...]
    ) -> None:
        """Keep the row as it was sent, with all its faults."""
        text = _json_text(content)
        self.rejected.append(
            Rejected(
                index=index,
                external_id=_storable(row_id),
                submitted_at=_storable(submitted_at),
                content=text,
                content_bytes=content if text is None else None,
                faults=faults,
            )
        )

    def _settle(self, index: int, row: WireRow) -> tuple[bytes, int, str | None] | Fault:
        """The row's id (16 bytes), instant, and its producer's own name for it."""
        submitted_us = self._identity.received_us
        if row.submitted_at is not None:
            parsed = parse_instant(row.submitted_at)
            if parsed is None:
                return Fault(
                    None, Code.SUBMISSION_TIME_INVALID, "submitted_at must be RFC 3339, as 2026-11-21T08:00:00Z"
                )
            submitted_us = parsed
        if row.id is None:
            submission_id, external_id = self._derived_id(index, row), None
        else:
            identified = self._identify(row.id, row.submitted_at is not None)
            if isinstance(identified, Fault):
                return identified
            submission_id, external_id, own_us = identified
            submitted_us = submitted_us if own_us is None else own_us
        return within_bounds(submitted_us, self._identity.received_us) or (submission_id, submitted_us, external_id)

    def _derived_id(self, index: int, row: WireRow) -> bytes:
        offset = index if row.position is None else row.position
        return self._id_at(self._identity.first_position + offset)

    def _identify(self, row_id: str, has_instant: bool) -> tuple[bytes, str | None, int | None] | Fault:
        if not 1 <= len(row_id) <= _ID_CHARACTERS or _storable(row_id) is None:
            return Fault(None, Code.SUBMISSION_ID_INVALID, "id must be a UUID or a text of 1 to 200 characters")
        value = parse_uuid(row_id)
        unix_ms = None if value is None else uuid7_unix_ms(value)
        if not has_instant and unix_ms is None:
            return Fault(
                None, Code.SUBMISSION_TIME_REQUIRED, "a row with an id needs submitted_at, or a UUIDv7 as its id"
            )
        own_us = None if has_instant or unix_ms is None else unix_ms * 1000
        if value is not None:
            return value.bytes, None, own_us
        return self._ids.of_external(row_id), row_id, own_us


def _parse_row(content: bytes) -> tuple[WireRow | None, tuple[Fault, ...]]:
    """Read a row member by member; None where nothing of it can be judged."""
    if _json_text(content) is None:
        return None, (Fault(None, Code.SUBMISSION_UNDECODABLE, "the row must be UTF-8 JSON"),)
    try:
        members: dict[str, msgspec.Raw] = _decode_members(content)
    except (msgspec.DecodeError, RecursionError):
        members = _members_by_json(content)
    if not members:
        return None, (Fault(None, Code.SUBMISSION_INVALID, "a row must be an object {id?, submitted_at?, answers}"),)
    faults = []
    if unknown := sorted(set(members) - set(_MEMBERS)):
        faults.append(
            Fault(None, Code.SUBMISSION_INVALID, f"a row has only id, submitted_at and answers; {len(unknown)} more")
        )
    row_id = _text_member(members, "id", Code.SUBMISSION_ID_INVALID, faults)
    submitted_at = _text_member(members, "submitted_at", Code.SUBMISSION_TIME_INVALID, faults)
    position = _position_member(members, faults)
    answers = members.get("answers")
    if answers is None:
        return None, (*faults, Fault(None, Code.SUBMISSION_INVALID, "a row must have answers"))
    return WireRow(answers=answers, id=row_id, submitted_at=submitted_at, position=position), tuple(faults)


def _members_by_json(content: bytes) -> dict[str, msgspec.Raw]:
    """The members of a row whose names hold what msgspec refuses (unpaired surrogates); none of what is no object."""
    parsed = json.loads(content)
    if not isinstance(parsed, dict):
        return {}
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in parsed.items()}


def _text_member(members: dict[str, msgspec.Raw], name: str, code: Code, faults: list[Fault]) -> str | None:
    if name not in members:
        return None
    value = json.loads(bytes(members[name]))
    if value is None or isinstance(value, str):
        return value
    faults.append(Fault(None, code, f"{name} must be a string"))
    return None


def _position_member(members: dict[str, msgspec.Raw], faults: list[Fault]) -> int | None:
    value = json.loads(bytes(members["position"])) if "position" in members else None
    if value is None or (type(value) is int and 0 <= value < 2**31):
        return value
    faults.append(Fault(None, Code.SUBMISSION_INVALID, "position must be a whole number from 0"))
    return None


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


def _storable(text: str | None) -> str | None:
    """`text` where a text column can hold it, else None; the row's content has it in any case."""
    if text is None or "\0" in text:
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return text[:_ID_CHARACTERS]
