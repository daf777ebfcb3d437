"""Corrected rows of a batch's rejections, sent again: only those rows, each at most once."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import psycopg

from penstock.producers.storage.batches import StoredBatch, find_base, find_batches, rejected_positions
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.limits import Limits
from penstock.schemas.names import require_name
from penstock.schemas.submission_batch import batch_digest, encode_batch
from penstock.workers.handover.plan import Part

_MEMBERS = frozenset({"batch_id", "position", "id", "submitted_at", "answers"})
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Replay:
    """One batch of corrected rows: what to send, and what to wait for."""

    part: Part
    payload: EncodedPayload


def plan_replay(
    connection: psycopg.Connection, tenant: str, batch_id: str, rows: Iterable[bytes], limits: Limits
) -> list[Replay]:
    """Make the batches that replay `rows`: `{"position", "batch_id"?, "id"?, "submitted_at"?, "answers"}` each.

    `batch_id` names the rows' batch where a row does not. The same rows give the same batches, so that sending
    them twice is one work.

    Raises:
        InvalidInputError: `REQUEST_FILE_INVALID` for a row that names no rejection.
        NotFoundError: `BATCH_NOT_FOUND`.
    """
    by_batch: dict[str, dict[int, bytes]] = defaultdict(dict)
    for number, row in enumerate(rows, 1):
        replayed, position, wire = _read(number, row, batch_id)
        if position in by_batch[replayed]:
            raise _fault(number, f"position {position} of {replayed!r} is there twice")
        by_batch[replayed][position] = wire
    if not by_batch:
        raise InvalidInputError(Code.BATCH_EMPTY, "the file holds no row")
    batches = find_batches(connection, tenant, list(by_batch))
    return [
        replay
        for replayed, wires in sorted(by_batch.items())
        for replay in _of_batch(connection, _known(batches, replayed), wires, limits)
    ]


def _read(number: int, row: bytes, batch_id: str) -> tuple[str, int, bytes]:
    members = _decode(row)
    if unknown := sorted(set(members) - _MEMBERS):
        raise _fault(number, f"a corrected row has no member {unknown[0]!r}")
    replayed = json.loads(bytes(members.pop("batch_id"))) if "batch_id" in members else batch_id
    position = json.loads(bytes(members.get("position", msgspec.Raw(b"null"))))
    if type(position) is not int or position < 0 or not isinstance(replayed, str):
        raise _fault(number, "a corrected row needs the `position` of its rejection, a whole number from 0")
    return replayed, position, msgspec.json.encode(members)


def _known(batches: dict[str, StoredBatch], batch_id: str) -> StoredBatch:
    if batch_id not in batches:
        raise NotFoundError(Code.BATCH_NOT_FOUND, f"there is no committed batch {batch_id!r} to replay")
    return batches[batch_id]


def _of_batch(
    connection: psycopg.Connection, batch: StoredBatch, wires: dict[int, bytes], limits: Limits
) -> Iterable[Replay]:
    missing = sorted(set(wires) - rejected_positions(connection, batch.tenant, batch.batch_id))
    if missing:
        raise InvalidInputError(
            Code.REQUEST_FILE_INVALID, f"the batch {batch.batch_id!r} has no rejection at position {missing[0]}"
        )
    base = find_base(connection, batch.tenant, batch.base_batch_id)
    ordered = [wires[position] for position in sorted(wires)]
    for start in range(0, len(ordered), limits.batch_size):
        yield _replay(batch, base[1] if base else None, ordered[start : start + limits.batch_size], limits)


def _replay(batch: StoredBatch, batch_size: int | None, rows: list[bytes], limits: Limits) -> Replay:
    content = b"[" + b",".join(rows) + b"]"
    replay_id = f"{batch.batch_id}.replay-{hashlib.sha256(content).hexdigest()[:12]}"
    head = {
        "form_id": batch.form_id,
        "batch_id": require_name(replay_id, Code.BATCH_ID_INVALID, "a replay's batch id"),
        "base_batch_id": batch.base_batch_id,
        "first_position": batch.first_position,
        "replays": batch.batch_id,
    }
    if batch_size is not None:
        head["batch_size"] = batch_size
    digest = batch_digest(batch.form_id, content)
    return Replay(Part(replay_id, len(rows), digest), encode_batch(head, rows, limits))


def _fault(number: int, told: str) -> InvalidInputError:
    return InvalidInputError(Code.REQUEST_FILE_INVALID, f"row {number}: {told}", details={"row": number})
