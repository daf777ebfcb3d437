"""The smoke test: a real batch on the way that every batch takes, sent twice, stored once."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Protocol

from penstock.producers import Producer
from penstock.producers.batches import SubmitOptions
from penstock.producers.http_client import HttpProducer
from penstock.producers.queue.records import JobState
from penstock.producers.storage.forms import apply_form
from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, UnavailableError
from penstock.schemas.forms import parse_form
from penstock.schemas.identity import job_id
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.verify.probe import FORM, FORM_ID, ROWS, TENANT, Probe
from penstock.workers.verify.result import Result
from penstock.workers.verify.target import Target

_PAUSE_SECONDS = 0.1
_REMEDY = f"See penstock queue list, the workers' log, and: penstock batch show {{}} --tenant {TENANT}"


class Way(Protocol):
    """How a batch gets in, and where it is asked for. `named` tells it in words."""

    named: str

    def apply(self) -> None:
        """Have the probe form there."""

    def send(self, probe: Probe) -> None:
        """Send the batch; the same one again is the same work."""

    def state(self, probe: Probe) -> str:
        """Where its job stands: a state of jobs, or `unknown`."""


class Direct:
    """Into Redis, as services do that reach it."""

    named = "into Redis"

    def __init__(self, target: Target, producer: Producer) -> None:
        self._target = target
        self._producer = producer

    def apply(self) -> None:
        """As `penstock forms apply`."""
        with self._target.database() as connection, connection.transaction():
            apply_form(connection, self._producer.tenant, FORM_ID, parse_form(compact_json(dict(FORM))))

    def send(self, probe: Probe) -> None:
        """As any producer."""
        self._producer.submit(FORM_ID, probe.rows, batch_id=probe.base_batch_id, options=_AT_ONCE)

    def state(self, probe: Probe) -> str:
        """By the job's record."""
        found = self._producer.job(job_id(self._producer.tenant, WriteSubmissionBatch.kind, probe.batch_id))
        return "unknown" if found is None else str(found.state)


class ThroughGateway:
    """Over HTTP, as services do that reach no Redis."""

    named = "through the gateway"

    def __init__(self, producer: HttpProducer) -> None:
        self._producer = producer

    def apply(self) -> None:
        """As any client."""
        self._producer.put_form(FORM_ID, FORM)

    def send(self, probe: Probe) -> None:
        """As any client: the id of the batch is the request's idempotency key."""
        self._producer.submit(FORM_ID, probe.rows, batch_id=probe.base_batch_id)

    def state(self, probe: Probe) -> str:
        """By the batch's status."""
        found = self._producer.batch(probe.batch_id)
        return "unknown" if found is None else found.state


_AT_ONCE = SubmitOptions(on_full="raise")


def check_smoke(target: Target, limit: timedelta, way: Way, probe: Probe) -> Iterator[Result]:
    """Send, wait, send again, count; then remove what was stored.

    Args:
        target: the deployment.
        limit: how long the batch may take until it is done.
        way: how it gets in.
        probe: the run.

    Raises:
        PenstockError: that of the step that failed; `REQUEST_TIMEOUT` where the batch is not done in time.
    """
    begun = time.monotonic()
    ends_at = begun + limit.total_seconds()
    way.apply()
    # Twice at once, and once more when it is done: whoever has no answer sends again, early or late.
    way.send(probe)
    way.send(probe)
    if _end_of(way, probe, ends_at) == JobState.DEAD:
        told = f"the probe's batch {probe.batch_id} is a dead letter"
        yield Result.fail("smoke", told, f"See why: penstock dead list --tenant {TENANT}")
        return
    took = time.monotonic() - begun
    way.send(probe)
    _end_of(way, probe, ends_at)
    with target.database() as connection:
        rows, batches = probe.count(connection)
        if (rows, batches) == (ROWS, 1):
            probe.forget(connection, timedelta(seconds=target.settings.idempotency_seconds))
    told = f"{rows} of {ROWS} rows stored, {batches} of 1 batch in the ledger"
    if (rows, batches) != (ROWS, 1):
        yield Result.fail("smoke", f"sent three times {way.named}: {told}", _REMEDY.format(probe.batch_id))
        return
    yield Result.ok(
        "smoke", f"sent three times {way.named}, done once after {took:.1f} s: {told}; the rows are removed again"
    )


def _end_of(way: Way, probe: Probe, ends_at: float) -> str:
    """Wait until it is done or dead, which is the answer."""
    while (found := way.state(probe)) not in {JobState.DONE, JobState.DEAD}:
        if time.monotonic() >= ends_at:
            told = f"the probe's batch is {found}, and not done in time"
            raise UnavailableError(Code.REQUEST_TIMEOUT, told, remedy=_REMEDY.format(probe.batch_id))
        time.sleep(_PAUSE_SECONDS)
    return found
