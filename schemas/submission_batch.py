"""The job kind `submission_batch.write`: answers to one form, to be stored exactly once."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.job import EncodedPayload, Payload, encoded_payload
from penstock.schemas.limits import Limits
from penstock.schemas.names import Name, Queue
from penstock.schemas.sensitive import Sensitive


class Submission(BaseModel):
    """One row: a person's answers to a form, as the producer sends them.

    Each row is judged by itself: one that breaks a rule becomes a rejection, and the others are stored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: Annotated[dict[str, Any], Sensitive()] = Field(
        description="question id -> answer; docs/answers.md tells what each type accepts"
    )
    id: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="a UUID, or any other text of the producer's; derived from the position if absent",
    )
    submitted_at: str | None = Field(
        default=None, description="RFC 3339 with offset; must be there beside an id that is not a UUIDv7"
    )
    position: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="in a replay of rejections: the rejected row's position in its batch, from 0",
    )
    erased: bool | None = Field(
        default=None,
        description="true in the place of a row that was taken out at a person's demand: it is counted, not stored",
    )


#: What stands in a payload for a row that was taken out: the ids of others derive from their places.
ERASED_ROW = b'{"answers":{},"erased":true}'


class WriteSubmissionBatch(Payload, kind="submission_batch.write", queue=Queue.SUBMISSIONS):
    """Check each row by the form's rules, store the good ones, keep the rest as rejections: once."""

    conflict_code: ClassVar[Code] = Code.BATCH_CONFLICT
    subjects: ClassVar[Mapping[str, str]] = {"form": "form_id"}

    form_id: Name
    batch_id: Name = Field(description="with the tenant, the batch's identity: the same id is the same work")
    submissions: Annotated[tuple[Submission, ...], Field(min_length=1)]
    form_version: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="absent: the latest version when the batch is first processed"
    )
    base_batch_id: Name | None = Field(default=None, description="the file that this batch is a part of")
    batch_size: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="rows in each part of the file but the last"
    )
    first_position: Annotated[int, Field(ge=0)] = Field(
        default=0, description="the position of the first row in the whole file, from 0"
    )
    replays: Name | None = Field(default=None, description="the batch whose rejected rows these rows correct")

    def encode(self, limits: Limits) -> EncodedPayload:
        """The batch as it goes on the wire; see `encode_batch`."""
        rows = [
            encode_row(position, row.model_dump(exclude_none=True), limits)
            for position, row in enumerate(self.submissions)
        ]
        head = self.model_dump(mode="json", exclude_none=True, exclude={"submissions"})
        return encode_batch(head, rows, limits)

    def idempotency_key(self) -> str:
        """The batch id: sending a batch again is the same job."""
        return self.batch_id


def part_id(base_batch_id: str, part: int) -> str:
    """The batch id of the `part`-th piece (from 1) of a file: `ID-0001`, `ID-0002` and so on."""
    return f"{base_batch_id}-{part:04d}"


def encode_row(position: int, row: Mapping[str, Any] | bytes, limits: Limits) -> bytes:
    """One row as compact JSON. `row` is a mapping, or JSON that its owner has encoded already.

    Raises:
        InvalidInputError: naming the row by its position (from 0): `SUBMISSION_INVALID` where it can't be JSON,
            `SUBMISSION_TOO_LARGE` where it is over `limits.row_bytes`.
    """
    try:
        encoded = row if isinstance(row, bytes) else compact_json(row)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            Code.SUBMISSION_INVALID,
            f"row {position} can't be written as JSON: {error}",
            details={"row": position},
        ) from None
    if len(encoded) > limits.row_bytes:
        raise InvalidInputError(
            Code.SUBMISSION_TOO_LARGE,
            f"row {position} has {len(encoded):,} bytes; the limit is {limits.row_bytes:,}",
            details={"row": position},
        )
    return encoded


def encode_batch(head: Mapping[str, Any], rows: Sequence[bytes], limits: Limits) -> EncodedPayload:
    """Join a batch's members other than `submissions` and its encoded rows.

    Raises:
        InvalidInputError: `BATCH_EMPTY`, or `BATCH_TOO_LARGE` naming the first row over the limit.
    """
    batch_id = str(head["batch_id"])
    if not rows:
        raise InvalidInputError(Code.BATCH_EMPTY, f"the batch {batch_id!r} holds no row")
    if len(rows) > limits.batch_size:
        raise InvalidInputError(
            Code.BATCH_TOO_LARGE,
            f"the batch {batch_id!r} has {len(rows):,} rows; row {limits.batch_size} is the first over the limit"
            f" of {limits.batch_size:,}",
            details={"row": limits.batch_size},
        )
    body = compact_json(head)[:-1] + b',"submissions":[' + b",".join(rows) + b"]}"
    return encoded_payload(WriteSubmissionBatch, body, batch_id, limits)


def batch_digest(form_id: str, submissions: bytes) -> bytes:
    """What tells a resend from another content under the same batch id: 32 bytes of SHA-256.

    It covers what the producer said and nothing that Penstock stamps: the form and the rows (ids, instants,
    answers). `submissions` is the JSON array of the rows without insignificant white space.
    """
    digest = hashlib.sha256(b"penstock.submission_batch.1\n")
    digest.update(form_id.encode() + b"\n")
    digest.update(submissions)
    return digest.digest()
