"""A batch from its payload: decode, judge."""

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import require_name
from penstock.schemas.submission_batch import batch_digest
from penstock.workers.forms.cache import FormCache, FormVersion
from penstock.workers.job import Job
from penstock.workers.submissions.accepted import Accepted, PlainRows
from penstock.workers.submissions.identities import Identity
from penstock.workers.submissions.instants import unix_microseconds
from penstock.workers.submissions.json_pieces import UncuttableError, object_pieces
from penstock.workers.submissions.rows import (
    UNDECODABLE,
    Judged,
    UndecodableRowsError,
    judge_plain,
    judge_rows,
    plain_answers,
    raw_rows,
)
from penstock.workers.submissions.store import PreparedBatch


class _Wire(msgspec.Struct, gc=False):
    """The payload; its rows stay bytes until they are judged. Members of later releases are ignored."""

    form_id: str
    batch_id: str
    submissions: msgspec.Raw
    form_version: int | None = None
    base_batch_id: str | None = None
    batch_size: int | None = None
    first_position: int = 0
    replays: str | None = None


#: Where producers write the rows: behind all other members.
_BEFORE_ROWS = b',"submissions":['
_BY_INSTANT = attrgetter("submitted_us", "submission_id")
_BY_ID = attrgetter("submission_id")
_decode = msgspec.json.Decoder(_Wire).decode


class BatchReader:
    """Reads the payload of a job and judges its rows. Touches PostgreSQL only to load a form."""

    def __init__(self, forms: FormCache, batch_size_limit: int) -> None:
        self._forms = forms
        self._batch_size_limit = batch_size_limit

    def read(self, job: Job) -> PreparedBatch:
        """Decode the payload once, and judge each row.

        Raises:
            InvalidInputError: `JOB_PAYLOAD_INVALID`, `BATCH_TOO_LARGE`, `BATCH_EMPTY`.
            NotFoundError: `FORM_NOT_FOUND` or `FORM_VERSION_NOT_FOUND`.
        """
        wire, sent, plain = _decode_payload(job.payload)
        form = self._forms.get(job.tenant, wire.form_id, wire.form_version)
        # A producer whose clock has not been set may live before 1970; its rows lie within bounds all the same.
        received_us = max(0, unix_microseconds(job.enqueued_at))
        base = wire.base_batch_id or wire.batch_id
        identity = Identity(base, wire.first_position, received_us, wire.replays is not None)
        judged = _judge(sent, plain, form, identity)
        self._require_size(wire.batch_id, len(judged.accepted) + len(judged.rejected) + judged.erased)
        return PreparedBatch(
            tenant=job.tenant,
            batch_id=wire.batch_id,
            form_key=form.form_key,
            form_id=form.form_id,
            form_version=form.version,
            version_named=wire.form_version is not None,
            base_batch_id=base,
            batch_size=wire.batch_size,
            first_position=wire.first_position,
            digest=batch_digest(wire.form_id, _compact(sent)),
            job_id=job.job_id,
            replays=wire.replays,
            received_us=received_us,
            accepted=_in_order(judged.accepted),
            rejected=judged.rejected,
            erased=judged.erased,
        )

    def _require_size(self, batch_id: str, rows: int) -> None:
        if rows == 0:
            raise InvalidInputError(Code.BATCH_EMPTY, f"the batch {batch_id!r} holds no row")
        if rows > self._batch_size_limit:
            raise InvalidInputError(
                Code.BATCH_TOO_LARGE,
                f"the batch {batch_id!r} has {rows:,} rows; the limit is {self._batch_size_limit:,}",
            )


def _in_order(rows: Sequence[Accepted]) -> Sequence[Accepted]:
    """In one order: two transactions that meet the same rows then wait instead of deadlocking.

    The instant comes first since COPY writes partition by partition; rows of one instant are in the order of the index.
    """
    if isinstance(rows, PlainRows):
        return rows  # they are
    return sorted(rows, key=_BY_ID if len({row.submitted_us for row in rows}) == 1 else _BY_INSTANT)


def _decode_payload(payload: bytes) -> tuple[_Wire, bytes, list[bytes] | None]:
    """The payload, its rows as they were sent, and their answers where they bring nothing else."""
    cut = _cut(payload) or _decode_whole(payload)
    _require_sound(cut[0])
    return cut


def _decode_whole(payload: bytes) -> tuple[_Wire, bytes, list[bytes] | None]:
    wire = _decode_wire(payload)
    sent = bytes(wire.submissions)
    return wire, sent, plain_answers(sent)


def _cut(payload: bytes) -> tuple[_Wire, bytes, list[bytes] | None] | None:
    """What `_decode_payload` returns, where the rows are the last member, as producers write it; None for the others.

    A payload is read once, and nearly all of it is rows. What stands before them must be JSON but for its end, and what
    is taken for them a list of rows, so nothing is cut in the wrong place.
    """
    at = payload.find(_BEFORE_ROWS)
    if at < 0 or not payload.endswith(b"]}"):
        return None
    sent = payload[at + len(_BEFORE_ROWS) - 1 : -1]
    answers = plain_answers(sent)
    if answers is None:
        return None
    try:
        return _decode(payload[:at] + b',"submissions":0}'), sent, answers
    except UNDECODABLE:
        return None


def _require_sound(wire: _Wire) -> None:
    try:
        for name, code, what in (
            (wire.form_id, Code.FORM_ID_INVALID, "a form id"),
            (wire.batch_id, Code.BATCH_ID_INVALID, "a batch id"),
            (wire.base_batch_id or wire.batch_id, Code.BATCH_ID_INVALID, "a base batch id"),
            (wire.replays or wire.batch_id, Code.BATCH_ID_INVALID, "a replayed batch id"),
        ):
            require_name(name, code, what)
    except InvalidInputError as error:
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, error.message) from None
    numbers = (wire.form_version, wire.batch_size, wire.first_position + 1)
    if any(number is not None and not 1 <= number < 2**31 for number in numbers):
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "form_version, batch_size and first_position must be counts")


def _decode_wire(payload: bytes) -> _Wire:
    try:
        return _decode(payload)
    except UNDECODABLE:
        pass
    try:
        # A row may be the reason, or a member of a later release: neither is a fault of the batch's head.
        members = object_pieces(payload)
        rows = members.pop("submissions", b"null")
        head = (b'"%s":%s' % (name.encode(), members[name]) for name in _Wire.__struct_fields__ if name in members)
        wire = _decode(b"{" + b",".join([*head, b'"submissions":0']) + b"}")
    except (UncuttableError, *UNDECODABLE) as error:
        raise InvalidInputError(
            Code.JOB_PAYLOAD_INVALID, f"the payload is no submission batch ({type(error).__name__})"
        ) from None
    wire.submissions = msgspec.Raw(rows)
    return wire


def _compact(submissions: bytes) -> bytes:
    """The rows without insignificant white space; where some are not JSON, without any between the rows."""
    try:
        return msgspec.json.format(submissions, indent=-1)
    except UNDECODABLE:
        return b"[" + b",".join(raw_rows(submissions)) + b"]"


def _judge(sent: bytes, plain: list[bytes] | None, form: FormVersion, identity: Identity) -> Judged:
    if plain is not None and not identity.is_replay:
        return judge_plain(plain, sent, form, identity)
    try:
        return judge_rows(sent, form, identity)
    except UndecodableRowsError:
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "the payload's submissions are not a list") from None
