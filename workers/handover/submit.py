"""Hands a file over: check, compare, send, wait."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import psycopg

from penstock.migrations.runner import require_current
from penstock.producers import Enqueued, Producer
from penstock.producers.batches import Batch, Progress, SubmitOptions, cut, send
from penstock.producers.patience import Waiting, patience_of, patiently
from penstock.producers.queue.records import JobState
from penstock.producers.storage.batches import StoredBatch, find_base, find_batches
from penstock.producers.storage.forms import find_form
from penstock.schemas.errors import Code, NotFoundError
from penstock.schemas.job import EncodedPayload
from penstock.workers.handover.files import SubmissionFile, open_submissions
from penstock.workers.handover.outcome import Tally, Waiter
from penstock.workers.handover.plan import Plan, check_known, plan

#: Batches that one look at the ledger asks for.
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Order:
    """What a user asked for."""

    form_id: str
    path: Path
    batch_id: str
    options: SubmitOptions
    #: How long to wait for the outcome; None waits until it is there.
    limit: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Reports:
    """Who is told of progress: rows sent, and rows settled."""

    planned: Callable[[Plan], None]
    sent: Callable[[Progress], None]
    settled: Callable[[Tally], None]
    #: That a batch waits for room in a full queue; called by several threads.
    waiting: Callable[[Waiting], None] | None = None


class Handover:
    """Hands files over on one producer, and one connection to PostgreSQL where there is one."""

    def __init__(self, producer: Producer, connection: psycopg.Connection | None) -> None:
        self._producer = producer
        self._connection = connection

    def send(self, order: Order, reports: Reports) -> tuple[Plan, dict[str, StoredBatch]]:
        """Send a file's batches, except those that are committed already; returns the plan and those.

        Nothing is sent unless the whole file can be.

        Raises:
            PenstockError: for the file, a conflict, a form that is not there, or a server that is away.
        """
        with ExitStack() as stack:
            file = stack.enter_context(open_submissions(order.path, self._producer.limits))
            made = plan(order.form_id, order.batch_id, file.rows(), order.options, self._producer.limits)
            known = self._compare(made)
            reports.planned(made)
            options = _telling(order.options, reports)
            patiently(
                lambda: self._producer.claim_base(made.base_batch_id, made.form_id, made.batch_size),
                patience_of(options.on_full),
            )
            send(self._batches(file, order, known), self._enqueue, options, reports.sent)
        return made, known

    def wait(self, made: Plan, known: dict[str, StoredBatch], order: Order, reports: Reports) -> Tally:
        """Wait until each batch is committed or dead. Needs the connection.

        Raises:
            PenstockError: `REQUEST_TIMEOUT`, or of the `STORAGE_` or `QUEUE_` family.
        """
        if self._connection is None:
            raise TypeError("waiting needs a connection to PostgreSQL")
        tally = Tally(batches=len(made.parts))
        for part in made.parts:
            if part.batch_id in known:
                tally.count_known(part)
        waiting = [part for part in made.parts if part.batch_id not in known]
        Waiter(self._connection, self._producer).wait(waiting, tally, order.limit, reports.settled)
        return tally

    def _enqueue(self, payload: EncodedPayload) -> Enqueued:
        # Whoever hands a file over again wants it done. What the ledger does not have is not done, whatever Redis says.
        revive = {JobState.DEAD} if self._connection is None else {JobState.DEAD, JobState.DONE}
        return self._producer.enqueue(payload, revive=revive)

    def _compare(self, made: Plan) -> dict[str, StoredBatch]:
        if self._connection is None:
            return {}
        require_current(self._connection)
        tenant = self._producer.tenant
        if find_form(self._connection, tenant, made.form_id) is None:
            raise NotFoundError(Code.FORM_NOT_FOUND, f"the tenant {tenant!r} has no form {made.form_id!r}")
        ids = [part.batch_id for part in made.parts]
        known: dict[str, StoredBatch] = {}
        for start in range(0, len(ids), _PAGE):
            known |= find_batches(self._connection, tenant, ids[start : start + _PAGE])
        check_known(made, known, find_base(self._connection, tenant, made.base_batch_id))
        return known

    def _batches(self, file: SubmissionFile, order: Order, known: dict[str, StoredBatch]) -> Iterator[Batch]:
        for batch in cut(order.form_id, file.rows(), order.batch_id, order.options, self._producer.limits):
            if batch.batch_id not in known:
                yield batch


def _telling(options: SubmitOptions, reports: Reports) -> SubmitOptions:
    patience = patience_of(options.on_full)
    return replace(options, on_full=replace(patience, on_wait=reports.waiting)) if patience else options


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._started
