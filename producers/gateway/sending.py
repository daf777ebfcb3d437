"""The batches of one request on their way to the queue: one at a time, while the next one comes in."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from penstock.producers.client import Producer
from penstock.producers.enqueued import Enqueued
from penstock.producers.gateway.cutting import Part
from penstock.producers.gateway.keyed import KeyedStreams, Whole, other_rows
from penstock.producers.gateway.threads import Threads
from penstock.producers.queue.records import JobState
from penstock.producers.storage.database import Database
from penstock.producers.storage.outbox import enqueue_in_transaction
from penstock.schemas.errors import PenstockError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.submission_batch import encode_batch, part_id

#: Batches that an answer names; the others are known by their numbers.
NAMED = 1_000
#: A mark of a stream is renewed this often: well within its life.
_KEEP_SECONDS = 5.0

REDIS, POSTGRES = "redis", "postgres"


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for.

    Attributes:
        key: the idempotency key, the asker's or a new one.
        base: what the batches are named by.
        given: the asker brought the key, so it may have been used before.
        durability: `redis` or `postgres`.
    """

    tenant: str
    form_id: str
    form_version: int | None
    key: str
    base: str
    given: bool
    durability: str


@dataclass(frozen=True, slots=True)
class Servers:
    """What a sending needs."""

    producer: Producer
    database: Database
    keyed: KeyedStreams
    threads: Threads


class Sending:
    """Sends the batches of an order. Use it as an asynchronous context manager, in one task."""

    def __init__(self, servers: Servers, order: Order) -> None:
        self._servers = servers
        self.order = order
        self._producer = servers.producer.of_tenant(order.tenant)
        self._under_way: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._mark: str | None = None
        self._known_rows: int | None = None
        self._sent: list[dict[str, Any]] = []
        self._batches = 0
        self._rows = 0
        self._repeated = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            # The time is over, as where Redis is frozen. What is on its way may arrive all the same.
            self._abandon()
            return
        # Whoever is told something is told what is so: what is on its way is awaited first.
        with suppress(PenstockError):
            await self.settle()
        if self._mark is not None:
            with suppress(PenstockError):
                await self._call(self._servers.keyed.end, self.order.tenant, self.order.base, self._mark)

    @property
    def repeated(self) -> bool:
        """Whether every batch was known before."""
        return self._batches > 0 and self._repeated == self._batches

    async def begin(self) -> None:
        """Look what is known of the key.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        if self.order.given:
            with self._tolerant():
                found: Whole | None = await self._call(self._servers.keyed.whole, self.order.tenant, self.order.base)
                self._known_rows = found.rows if found is not None else None

    async def send(self, part: Part, *, last: bool) -> None:
        """Send a batch, once the one before is acknowledged; returns before this one is.

        Raises:
            PenstockError: what became of the one before; or of the key.
        """
        await self.settle()
        rows = part.first_position + len(part.rows)
        if self._known_rows is not None and (rows > self._known_rows or (last and rows != self._known_rows)):
            raise other_rows(self.order.base, self._known_rows)
        if not last and self._mark is None:
            await self._take_off()
        self._under_way = asyncio.create_task(self._send(part))

    async def settle(self) -> None:
        """Wait for what is on its way.

        Raises:
            PenstockError: what became of it.
        """
        task = self._under_way
        if task is None:
            return
        try:
            await asyncio.shield(task)
        finally:
            if task.done():
                # What became of it is told once.
                self._under_way = None

    async def complete(self) -> None:
        """Wait for the last batch, and note that this is the whole.

        Raises:
            PenstockError: what became of it; `BATCH_CONFLICT` where another whole is known.
        """
        await self.settle()
        if self.order.given or self._batches > 1:
            with self._tolerant():
                whole = Whole(self._rows, self._batches)
                await self._call(self._servers.keyed.complete, self.order.tenant, self.order.base, whole)

    def told(self) -> dict[str, Any]:
        """What was accepted, for an answer or a problem."""
        base = self.order.base
        return {
            "form_id": self.order.form_id,
            "idempotency_key": self.order.key,
            "base_batch_id": base,
            "durability": self.order.durability,
            "rows": self._rows,
            "batch_count": self._batches,
            "batches": self._sent,
            "status_url": self.status_url(),
        }

    def status_url(self) -> str | None:
        """Where the one batch, or the whole, can be asked for; None where nothing was accepted."""
        if not self._batches:
            return None
        name = part_id(self.order.base, 1) if self._batches == 1 else self.order.base
        return f"/v1/batches/{name}"

    def _abandon(self) -> None:
        if self._under_way is not None:
            # Somebody has to look at what becomes of a task.
            self._under_way.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _take_off(self) -> None:
        """Several batches: nobody else may send some under the same key now, and the cut is noted."""
        tenant, base = self.order.tenant, self.order.base
        with self._tolerant():
            await self._call(self._producer.claim_base, base, self.order.form_id, self._producer.limits.batch_size)
            self._mark = await self._call(self._servers.keyed.begin, tenant, base)
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while self._mark is not None:
            await asyncio.sleep(_KEEP_SECONDS)
            with suppress(PenstockError):
                await self._call(self._servers.keyed.keep, self.order.tenant, self.order.base, self._mark)

    async def _send(self, part: Part) -> None:
        batch_id = part_id(self.order.base, part.number)
        job_id, known = await self._enqueue(batch_id, part)
        self._batches += 1
        self._rows += len(part.rows)
        self._repeated += known
        if len(self._sent) < NAMED:
            named = {"batch_id": batch_id, "first_position": part.first_position, "rows": len(part.rows)}
            self._sent.append({**named, "job_id": str(job_id)})

    async def _enqueue(self, batch_id: str, part: Part) -> tuple[UUID, bool]:
        if self.order.durability == POSTGRES:
            payload = self._encode(batch_id, part)
            found = await self._servers.database.run(
                lambda connection: enqueue_in_transaction(
                    connection, payload, tenant=self.order.tenant, limits=self._producer.limits
                )
            )
            # The outbox does not tell whether it knew the job.
            return found, False
        told = await self._call(self._encode_and_enqueue, batch_id, part)
        return told.job_id, told.known

    def _encode_and_enqueue(self, batch_id: str, part: Part) -> Enqueued:
        # Whoever sends again wants it done, so a batch that is a dead letter gets a new life.
        return self._producer.enqueue(self._encode(batch_id, part), revive=(JobState.DEAD,))

    def _encode(self, batch_id: str, part: Part) -> EncodedPayload:
        head: dict[str, Any] = {
            "form_id": self.order.form_id,
            "batch_id": batch_id,
            "base_batch_id": self.order.base,
            "batch_size": self._producer.limits.batch_size,
            "first_position": part.first_position,
        }
        if self.order.form_version is not None:
            head["form_version"] = self.order.form_version
        return encode_batch(head, part.rows, self._producer.limits)

    def _tolerant(self) -> AbstractContextManager[None]:
        """What stands in Redis alone is no condition where PostgreSQL takes the batches."""
        return suppress(_RedisAwayError)

    async def _call(self, call: Any, *args: Any) -> Any:
        try:
            return await self._servers.threads.run(call, *args)
        except PenstockError as error:
            if self.order.durability == POSTGRES and error.code.startswith("QUEUE_"):
                raise _RedisAwayError(error.code, error.message) from error
            raise


class _RedisAwayError(PenstockError):
    """Redis's trouble, where it is no reason to refuse."""


def answer_of(sending: Sending) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Body and headers of the answer to an order that was accepted as a whole."""
    headers = {"Location": str(sending.status_url()), "Idempotency-Key": f'"{sending.order.key}"'}
    if sending.repeated:
        headers["Idempotency-Replayed"] = "true"
    return sending.told(), headers
