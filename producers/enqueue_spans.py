"""The span of an enqueue, which its jobs' messages name as what they were enqueued for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from penstock.producers.spans import Parent, is_tracing, start_span
from penstock.producers.tracing import Cause
from penstock.schemas.job import EncodedPayload

#: The convention's name of what carries the messages.
SYSTEM = "penstock"


@contextmanager
def enqueueing(payloads: Sequence[EncodedPayload], cause: Cause) -> Iterator[Cause]:
    """Trace what is done within the block as enqueueing these jobs; gives the cause that their messages are to name."""
    if not is_tracing() or not payloads:
        yield cause
        return
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
