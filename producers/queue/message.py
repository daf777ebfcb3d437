"""Our envelope as dramatiq's message, so that dramatiq's brokers carry jobs that any language can read."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import dramatiq
from dramatiq.encoder import Encoder

from penstock.producers.queue.compression import compress
from penstock.schemas.envelope import EnvelopeHeader, decode_envelope, encode_envelope
from penstock.schemas.job import EncodedPayload


class WirePayload(bytes):
    """A payload as it stands on the wire. Its repr hides the content, which loggers must not see."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<payload of {len(self)} bytes>"

    __str__ = __repr__


class EnvelopeEncoder(Encoder):
    """Writes dramatiq's message data as our envelope, and reads it back.

    What dramatiq and its middleware note in a message's options travels in the envelope's `state`.
    """

    def encode(self, data: dict[str, Any]) -> bytes:
        """Encode `Message.asdict()`."""
        state = dict(data["options"])
        # dramatiq's `Retries` notes it; an exception's text can quote an answer, and headers are shown to people.
        state.pop("traceback", None)
        header = EnvelopeHeader(
            id=UUID(data["message_id"]),
            kind=data["actor_name"],
            queue=data["queue_name"],
            tenant=state.pop("tenant"),
            enqueued_at=state.pop("enqueued_at"),
            payload_version=state.pop("payload_version"),
            encoding=state.pop("encoding", None),
            state=state,
        )
        return encode_envelope(header, data["args"][0])

    def decode(self, data: bytes) -> dict[str, Any]:
        """Decode into the arguments of `Message`.

        Raises:
            InvalidInputError: `JOB_PAYLOAD_INVALID`.
        """
        header, payload = decode_envelope(data)
        return {
            "queue_name": header.queue,
            "actor_name": header.kind,
            "args": (WirePayload(payload),),
            "kwargs": {},
            # dramatiq's Redis broker acknowledges a message by the name that it has in Redis, which its own producers
            # note in the state; others name a message by its job's id.
            "options": {"redis_message_id": str(header.id)}
            | header.state
            | {
                "tenant": header.tenant,
                "enqueued_at": header.enqueued_at.isoformat(),
                "payload_version": header.payload_version,
                "encoding": header.encoding,
            },
            "message_id": str(header.id),
            "message_timestamp": int(header.enqueued_at.timestamp() * 1000),
        }


_ENCODER = EnvelopeEncoder()


@dataclass(frozen=True)
class EnvelopeMessage(dramatiq.Message[None]):
    """A message that encodes itself as our envelope.

    dramatiq's encoder is global to the process; a service that runs dramatiq of its own must keep its own.
    """

    def encode(self) -> bytes:
        """Encode as our envelope."""
        return _ENCODER.encode(self.asdict())


def build_message(payload: EncodedPayload, job_id: UUID, tenant: str, enqueued_at: datetime) -> EnvelopeMessage:
    """Make the message of one job; compresses the payload."""
    wire, encoding = compress(payload.body)
    stamp = enqueued_at.astimezone(UTC)
    return EnvelopeMessage(
        queue_name=payload.queue,
        actor_name=payload.kind,
        args=(WirePayload(wire),),
        kwargs={},
        options={
            "tenant": tenant,
            "enqueued_at": stamp.isoformat(),
            "payload_version": payload.payload_version,
            "encoding": encoding,
        },
        message_id=str(job_id),
        message_timestamp=int(stamp.timestamp() * 1000),
    )
