"""Penstock, by its producer for services."""

import os
from collections.abc import Sequence
from functools import cache
from uuid import UUID

from benchmarks.compared.kinds.noop import BenchNoop
from benchmarks.compared.kinds.note import BenchNote
from benchmarks.compared.kinds.tiny import BenchTiny
from benchmarks.compared.senders import Arguments
from penstock.producers import Producer
from penstock.schemas.job import Payload
from penstock.workers.demo import FORM_ID


class PenstockSender:
    """Singly with `enqueue`, several at a time with `enqueue_many`, rows with `submit`."""

    def __init__(self) -> None:
        self._producer = Producer(os.environ["REDIS_URL"])

    def send(self, name: str, jobs: Sequence[Arguments]) -> None:
        """Enqueue jobs one by one."""
        for job in jobs:
            self._producer.enqueue(_payload(name, *job))

    def send_many(self, name: str, jobs: Sequence[Arguments]) -> None:
        """Enqueue jobs in one call."""
        self._producer.enqueue_many(_payload(name, *job) for job in jobs)

    def submit(self, base: str, rows: Sequence[bytes]) -> None:
        """Enqueue rows in batches."""
        self._producer.submit(FORM_ID, rows, batch_id=base)

    def close(self) -> None:
        """Let go of connections."""
        self._producer.close()


@cache
def _noop() -> BenchNoop:
    return BenchNoop()


def _payload(name: str, *args: object) -> Payload:
    match name, *args:
        case "tiny", str(effect_id):
            return BenchTiny(effect_id=UUID(effect_id))
        case "note", int(number):
            return BenchNote(number=number)
        case "noop", *_:
            return _noop()
        case _:
            raise ValueError(name)


def make_sender() -> PenstockSender:
    """The producer of this process."""
    return PenstockSender()
