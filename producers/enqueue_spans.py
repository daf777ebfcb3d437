"""The span of an enqueue, which its jobs' messages name as what they were enqueued for."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

from penstock.producers.spans import Parent, is_tracing, start_span
from penstock.producers.tracing import Cause
from penstock.schemas.job import EncodedPayload

#: The convention's name of what carries the messages.
SYSTEM = "penstock"


def enqueueing(payloads: Sequence[EncodedPayload], cause: Cause) -> AbstractContextManager[Cause]:
    """Trace what is done within the block as enqueueing these jobs; gives the cause that their messages are to name."""
    # Without traces it should cost next to nothing, and a generator's frame is not that.
    return _traced(payloads, cause) if payloads and is_tracing() else nullcontext(cause)


@contextmanager
def _traced(payloads: Sequence[EncodedPayload], cause: Cause) -> Iterator[Cause]:
    queues = {str(payload.queue) for payload in payloads}
    attributes: dict[str, str | int] = {
        "messaging.system": SYSTEM,
        "messaging.operation.type": "send",
        "messaging.operation.name": "enqueue",
        "messaging.batch.message_count": len(payloads),
        "messaging.message.body.size": sum(len(payload.body) for payload in payloads),
    }
    name = "enqueue"
    if len(queues) == 1:
        (queue,) = queues
        name, attributes["messaging.destination.name"] = f"enqueue {queue}", queue
    with start_span(name, "producer", attributes, Parent.CURRENT if cause.trace is None else cause.trace) as made:
        yield replace(cause, trace=made.trace)
