"""A batch from its payload to PostgreSQL: decode, judge, claim, write."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import msgspec
import psycopg

from penstock.schemas.errors import Code, ConflictError, InvalidInputError, NotFoundError, PenstockError
from penstock.schemas.names import require_name
from penstock.schemas.submission_batch import batch_digest
from penstock.workers.forms.cache import FormCache, FormVersion
from penstock.workers.job import Job
from penstock.workers.submissions import store
from penstock.workers.submissions.erased import without_erased
from penstock.workers.submissions.identities import Identity
from penstock.workers.submissions.instants import unix_microseconds
from penstock.workers.submissions.json_pieces import UncuttableError, object_pieces
from penstock.workers.submissions.rows import (
    UNDECODABLE,
    Accepted,
    Rejected,
    UndecodableRowsError,
    judge_rows,
    raw_rows,
)
from penstock.workers.submissions.store import Claim, PreparedBatch


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


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What writing a batch did. `repeated`: it was committed before, and nothing has changed."""

    stored: int = 0
    rejected: int = 0
    duplicates: int = 0
    repeated: bool = False
    #: Rows of people whose data was erased after the batch was enqueued.
    erased: int = 0


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
        wire = _decode_payload(job.payload)
        form = self._forms.get(job.tenant, wire.form_id, wire.form_version)
        # A producer whose clock has not been set may live before 1970; its rows lie within bounds all the same.
        received_us = max(0, unix_microseconds(job.enqueued_at))
        base = wire.base_batch_id or wire.batch_id
        sent = bytes(wire.submissions)
        accepted, rejected, erased = _judge(
            sent, form, Identity(base, wire.first_position, received_us, wire.replays is not None)
        )
        rows = len(accepted) + len(rejected) + erased
        if rows == 0:
            raise InvalidInputError(Code.BATCH_EMPTY, f"the batch {wire.batch_id!r} holds no row")
        if rows > self._batch_size_limit:
            raise InvalidInputError(
                Code.BATCH_TOO_LARGE,
                f"the batch {wire.batch_id!r} has {rows:,} rows; the limit is {self._batch_size_limit:,}",
            )
        # In one order: two transactions that meet the same rows then wait instead of deadlocking. The instant comes
        # first since COPY writes partition by partition; rows of one instant are in the order of the index.
        accepted.sort(key=_BY_ID if len({row.submitted_us for row in accepted}) == 1 else _BY_INSTANT)
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
            accepted=accepted,
            rejected=rejected,
            erased=erased,
        )


def _decode_payload(payload: bytes) -> _Wire:
    wire = _decode_wire(payload)
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
    return wire


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


def _judge(sent: bytes, form: FormVersion, identity: Identity) -> tuple[list[Accepted], list[Rejected], int]:
    try:
        return judge_rows(sent, form, identity)
    except UndecodableRowsError:
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "the payload's submissions are not a list") from None


def write_batch(connection: psycopg.Connection, batch: PreparedBatch, token_keys: str | None = None) -> WriteResult:
    """Write one batch within the caller's transaction, as if in one of its own: all of it or nothing.

    `token_keys` is the setting with whose keys people are named whose data was erased; it is needed where some were.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where it is needed and is not there: nobody may be brought back unseen.
        ConflictError: `BATCH_CONFLICT`; nothing of the batch is written.
        NotFoundError: `BATCH_NOT_FOUND` where it replays rejections of a batch that is not there.
    """
    connection.execute("SAVEPOINT batch")
    try:
        result = _write(connection, batch, token_keys)
    except PenstockError:
        connection.execute("ROLLBACK TO SAVEPOINT batch; RELEASE SAVEPOINT batch")
        raise
    connection.execute("RELEASE SAVEPOINT batch")
    return result


def _write(connection: psycopg.Connection, judged: PreparedBatch, token_keys: str | None) -> WriteResult:
    claim = store.claim(connection, judged)
    if _is_repeated(claim, judged):
        return WriteResult(repeated=True)
    batch = judged
    if claim.watch is not None and claim.watch.concerns(judged.received_at):
        batch = without_erased(connection, judged, token_keys, judged.received_at)
    rows = batch.accepted if batch.replays is None else _unresolved(connection, batch, batch.replays)
    stored = _write_rows(connection, batch, rows)
    duplicates = len(batch.accepted) - stored
    if duplicates or batch.erased != judged.erased:
        store.correct_counts(connection, batch, stored, duplicates)
    if batch.rejected:
        store.insert_rejections(connection, batch)
    return WriteResult(stored, len(batch.rejected), duplicates, erased=batch.erased)


def _is_repeated(claim: Claim, batch: PreparedBatch) -> bool:
    """True where the batch's effect is there already.

    Raises:
        ConflictError: `BATCH_CONFLICT` where its id, or its file's, stands for other work.
    """
    if claim.cut != (batch.form_key, batch.batch_size):
        raise ConflictError(
            Code.BATCH_CONFLICT,
            f"{batch.base_batch_id!r} is known with another form or batch size (or as a single batch)",
        )
    known = claim.known
    if known is None:
        return False
    if known.form_key != batch.form_key:
        raise ConflictError(Code.BATCH_CONFLICT, f"the batch {batch.batch_id!r} is known with another form")
    if (known.digest, known.base_batch_id, known.replays) != (batch.digest, batch.base_batch_id, batch.replays):
        raise ConflictError(Code.BATCH_CONFLICT, f"the batch {batch.batch_id!r} is known with other content")
    if batch.version_named and known.form_version != batch.form_version:
        raise ConflictError(
            Code.BATCH_CONFLICT,
            f"the batch {batch.batch_id!r} was judged by version {known.form_version} of the form,"
            f" and the job names version {batch.form_version}",
        )
    return True


def _unresolved(connection: psycopg.Connection, batch: PreparedBatch, replayed: str) -> list[Accepted]:
    """Of a replay's rows, those whose rejection no earlier replay has resolved; marks them as resolved."""
    known = store.find_replayed(connection, batch.tenant, replayed)
    if known is None or known.form_key != batch.form_key:
        raise NotFoundError(Code.BATCH_NOT_FOUND, f"the form {batch.form_id!r} has no batch {replayed!r} to replay")
    by_position = {row.position: row for row in batch.accepted if row.position is not None}
    open_positions = store.resolve(connection, batch, sorted(by_position))
    return [row for row in by_position.values() if row.position in open_positions]


def _write_rows(connection: psycopg.Connection, batch: PreparedBatch, rows: Sequence[Accepted]) -> int:
    if not rows:
        return 0
    connection.execute("SAVEPOINT rows")
    try:
        store.copy_rows(connection, batch, rows)
    except psycopg.errors.UniqueViolation:
        connection.execute("ROLLBACK TO SAVEPOINT rows")
        return store.insert_new_rows(connection, batch, rows)
    return len(rows)
