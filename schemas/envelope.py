r"""A job on the wire: one line of JSON that tells what it is, a newline, and the payload.

```
{"v":1,"id":"…","kind":"submission_batch.write","queue":"submissions","tenant":"default","enqueued_at":"…"}\n
{"form_id":"strikes","batch_id":"b-0001","submissions":[…]}
```

The payload is JSON; with `"encoding":"zstd"` it is a zstd frame of that JSON. Any language can read and write
it: find the first newline. It is never a pickle, and never JSON within JSON.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import DEFAULT_TENANT, Name
from penstock.schemas.trace import RequestId, Trace


class EnvelopeHeader(BaseModel):
    """The first line of a job on the wire."""

    # A later release may add members; an earlier one must still read the job during a rolling deploy.
    model_config = ConfigDict(extra="ignore", frozen=True)

    v: Literal[1] = 1
    id: UUID
    kind: Annotated[str, Field(min_length=1, max_length=200)]
    queue: Annotated[str, Field(min_length=1, max_length=200)]
    tenant: Name = DEFAULT_TENANT
    enqueued_at: AwareDatetime = Field(description="when the producer enqueued the job, by its clock")
    payload_version: Annotated[int, Field(ge=1)] = 1
    encoding: Literal["zstd"] | None = None
    idempotency_key: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="what makes two enqueues the same job; its id derives from it"
    )
    trace: Trace = Field(default=None, description="W3C traceparent of what the job was enqueued for")
    request_id: RequestId = Field(default=None, description="the request that the job was enqueued for")
    follows: Trace = Field(
        default=None, description="W3C traceparent of the job's life that ended before this one, as a dead letter"
    )
    state: dict[str, Any] = Field(default_factory=dict, description="the queue's own notes on the job (attempts…)")


def encode_envelope(header: EnvelopeHeader, payload: bytes) -> bytes:
    """Join a header and an encoded payload."""
    return header.model_dump_json(exclude_none=True).encode() + b"\n" + payload


def decode_envelope(data: bytes) -> tuple[EnvelopeHeader, bytes]:
    """Part a message into its header and its payload as it was sent (still compressed where it was).

    Raises:
        InvalidInputError: `JOB_PAYLOAD_INVALID` where the header is not what it should be.
    """
    line, separator, payload = data.partition(b"\n")
    if not separator:
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "the message has no header line")
    try:
        return EnvelopeHeader.model_validate_json(line), payload
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'header'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, f"the message's header is not usable: {told}") from None
