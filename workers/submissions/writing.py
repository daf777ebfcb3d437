"""Batches into PostgreSQL: claim, write. Several in one transaction share a COPY; each has its own ledger row."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from penstock.schemas.errors import Code, ConflictError, NotFoundError, PenstockError
from penstock.workers.submissions import store
from penstock.workers.submissions.accepted import Accepted
from penstock.workers.submissions.erased import without_erased
from penstock.workers.submissions.store import Claim, PreparedBatch


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What writing a batch did. `repeated`: it was committed before, and nothing has changed."""

    stored: int = 0
    rejected: int = 0
    duplicates: int = 0
    repeated: bool = False
    #: Rows of people whose data was erased after the batch was enqueued.
    erased: int = 0


def write_new_batches(connection: psycopg.Connection, batches: Sequence[PreparedBatch]) -> list[WriteResult] | None:
    """Write batches within the caller's transaction, with one COPY for all of their rows.

    Returns:
        What was done for each; or None, and nothing is written, where one of them is not simply new: its id or its
        file's is known, a row of it is stored already, people of its tenant were erased, or it is a replay. Each is
        to be written by itself then.
    """
    with connection.pipeline():
        connection.execute("SAVEPOINT batches")
        claims = store.claim(connection, batches)
    if not all(map(_is_new, claims, batches)) or not _copy(connection, batches):
        connection.execute("ROLLBACK TO SAVEPOINT batches; RELEASE SAVEPOINT batches")
        return None
    for batch in batches:
        if batch.rejected:
            store.insert_rejections(connection, batch)
    return [WriteResult(len(batch.accepted), len(batch.rejected), erased=batch.erased) for batch in batches]


def _is_new(claim: Claim, batch: PreparedBatch) -> bool:
    concerned = claim.watch is not None and claim.watch.concerns(batch.received_at)
    return claim.known is None and claim.cut == _cut_of(batch) and batch.replays is None and not concerned


def _copy(connection: psycopg.Connection, batches: Sequence[PreparedBatch]) -> bool:
    try:
        store.copy_rows(connection, [(batch, batch.accepted) for batch in batches])
    except psycopg.errors.UniqueViolation:
        return False
    return True


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
    (claim,) = store.claim(connection, [judged])
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
    if claim.cut != _cut_of(batch):
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


def _cut_of(batch: PreparedBatch) -> tuple[int, int | None]:
    return batch.form_key, batch.batch_size


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
        store.copy_rows(connection, [(batch, rows)])
    except psycopg.errors.UniqueViolation:
        connection.execute("ROLLBACK TO SAVEPOINT rows")
        return store.insert_new_rows(connection, batch, rows)
    return len(rows)
