"""Reads the envelope of a leased job, quickly where it is as Penstock's producers write it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from penstock.schemas.envelope import decode_envelope
from penstock.schemas.errors import InvalidInputError
from penstock.schemas.names import DEFAULT_TENANT, NAME_PATTERN
from penstock.schemas.trace import parse_trace, require_request
from penstock.workers.job import Header, JobHeader

#: What a header line may say and be read by the fast way; whatever is not of this form is left to the schema.
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Tenant = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN.removesuffix("$") + r"\Z")]


class _Line(JobHeader, frozen=True, gc=False):
    """A header line, with the bounds that `EnvelopeHeader` has."""

    id: UUID
    kind: _Name
    queue: _Name
    enqueued_at: Annotated[datetime, msgspec.Meta(tz=True)]
    tenant: _Tenant = DEFAULT_TENANT
    payload_version: Annotated[int, msgspec.Meta(ge=1)] = 1
    encoding: Literal["zstd"] | None = None
    trace: str | None = None
    request_id: str | None = None
    follows: str | None = None
    v: Literal[1] = 1
    idempotency_key: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    state: dict[str, Any] = msgspec.field(default_factory=dict)


_decode = msgspec.json.Decoder(_Line).decode


def open_envelope(data: bytes) -> tuple[Header, bytes]:
    """Part a message into its header and its payload as it was sent (still compressed where it was).

    It reads what `decode_envelope` reads, and refuses what that refuses: where the fast way can't, that is asked.

    Raises:
        InvalidInputError: `JOB_PAYLOAD_INVALID` where the header is not what it should be.
    """
    line, separator, payload = data.partition(b"\n")
    if not separator:
        return decode_envelope(data)
    try:
        header = _decode(line)
    except (ValueError, RecursionError):
        return decode_envelope(data)
    if header.trace is None and header.request_id is None and header.follows is None:
        return header, payload
    is_sound = _is_trace(header.trace) and _is_request(header.request_id) and _is_trace(header.follows)
    return (header, payload) if is_sound else decode_envelope(data)


def _is_trace(text: str | None) -> bool:
    return text is None or parse_trace(text) == text


def _is_request(text: str | None) -> bool:
    try:
        return text is None or bool(require_request(text))
    except InvalidInputError:
        return False
