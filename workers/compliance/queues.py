"""Jobs in Redis that hold something of a person: they are found and awaited, and never changed.

What they would store of the person is dropped when they run, and taken out of their letters when they die: so nothing
is lost by letting them be, while a payload that is changed under a lease could be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import redis

from penstock.producers.queue.compression import decompress
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.envelope import decode_envelope
from penstock.schemas.errors import InvalidInputError
from penstock.schemas.names import Queue
from penstock.workers.compliance.payloads import without_person
from penstock.workers.compliance.person import Person
from penstock.workers.dead_letters.store import PAYLOAD_BYTES_LIMIT

#: Keys that one step looks at.
PAGE = 1_000
#: Jobs that are remembered by name; where there are more, these are awaited first.
AWAITED = 1_000
#: By how much clocks of producers, Redis and PostgreSQL may differ for a job to be looked at.
_CLOCKS = timedelta(hours=1)
_FIELDS = ("tenant", "accepted_at", "died_before")


@dataclass(frozen=True, slots=True)
class Page:
    """What one step found: keys of jobs that hold something of the person, and where the next step goes on.

    Attributes:
        place: the queue's number and Redis's cursor; None at the end.
    """

    keys: Sequence[str]
    place: tuple[int, int] | None


class WaitingJobs:
    """Looks into all queues of a namespace."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._bases = [QueueKeys(namespace, queue).job("") for queue in Queue]

    def look(self, person: Person, before: datetime, place: tuple[int, int]) -> Page:
        """Look at the next jobs, of those that were enqueued before that instant or have a new life.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        number, cursor = place
        with redis_errors("looking for a person's jobs"):
            cursor, keys = cast(
                "tuple[int, list[bytes]]",
                self._client.scan(cursor, match=f"{_literal(self._bases[number])}*", count=PAGE),
            )
            found = [key.decode() for key in self._candidates(keys, person, before) if self._holds(key, person, before)]
        if cursor == 0:
            number += 1
        return Page(found, None if number == len(self._bases) else (number, cursor))

    def still_there(self, keys: Sequence[str]) -> list[str]:
        """Those of the jobs whose content Redis still has.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        with redis_errors("awaiting a person's jobs"), self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hexists(key, "message")
            return [key for key, is_there in zip(keys, pipeline.execute(), strict=True) if is_there]

    def _candidates(self, keys: Sequence[bytes], person: Person, before: datetime) -> Iterator[bytes]:
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hmget(key, _FIELDS)
            told = pipeline.execute() if keys else []
        latest = (before + _CLOCKS).timestamp() * 1_000
        for key, (tenant, accepted_at, died_before) in zip(keys, told, strict=True):
            is_old = died_before is not None or int(accepted_at or 0) < latest
            if tenant == person.tenant.encode() and is_old:
                yield key

    def _holds(self, key: bytes, person: Person, before: datetime) -> bool:
        message, died_before = cast("list[Any]", self._client.hmget(key, ["message", "died_before"]))
        if message is None:
            return False
        try:
            header, payload = decode_envelope(message)
            if header.enqueued_at >= before and died_before is None:
                return False
            return (
                without_person(header.kind, decompress(payload, header.encoding, PAYLOAD_BYTES_LIMIT), person)
                is not None
            )
        except InvalidInputError:
            # Nobody can run it: it dies, and its letter is looked into.
            return person.is_mentioned(message.decode(errors="replace"))


def _literal(text: str) -> str:
    """`text` as a pattern that matches nothing else."""
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in text)
