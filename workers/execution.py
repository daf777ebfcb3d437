"""One delivery: leased jobs of one kind, run in one transaction, each given an outcome."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from pydantic import ValidationError

from penstock.producers.queue.compression import decompress
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.upcasting import present_version
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.job import Dead, Done, Header, Job, Outcome, Retry
from penstock.workers.registry import Actor, Registration

_log = logging.getLogger(__name__)


class Execution:
    """Runs deliveries. Safe to share between threads.

    Args:
        actors: the actor of each kind.
        registrations: the declaration of each kind.
        transactions: begins and commits.
        message_bytes_limit: the largest payload that is unpacked.
        clock: now, aware.
    """

    def __init__(
        self,
        actors: Mapping[str, Actor],
        registrations: Mapping[str, Registration],
        transactions: Transactions,
        message_bytes_limit: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._actors = actors
        self.registrations = registrations
        self._transactions = transactions
        self._message_bytes_limit = message_bytes_limit
        self._clock = clock

    def now(self) -> datetime:
        """The time, for the jobs of one delivery to be unpacked by."""
        return self._clock()

    def unpack(
        self, header: Header, payload: bytes, attempt: int, holder: str = "", now: datetime | None = None
    ) -> Job:
        """Make the job of a message; `holder` is what `Job.holder` is to be.

        Raises:
            InvalidInputError: `JOB_UNKNOWN_KIND`, `JOB_PAYLOAD_INVALID` or `BATCH_TOO_LARGE`.
        """
        registration = self.registrations.get(header.kind)
        if registration is None:
            raise InvalidInputError(Code.JOB_UNKNOWN_KIND, f"this worker has no actor for {header.kind!r}")
        if header.payload_version > registration.payload.payload_version:
            raise InvalidInputError(
                Code.JOB_PAYLOAD_INVALID,
                f"the payload has version {header.payload_version}; this worker reads"
                f" {registration.payload.payload_version} and earlier",
            )
        body = decompress(payload, header.encoding, self._message_bytes_limit)
        if header.payload_version < registration.payload.payload_version:
            # Actors read the present version alone where their kind tells how an earlier one becomes it.
            body, _ = present_version(registration.payload, header.payload_version, body)
        return Job(
            job_id=header.id,
            kind=header.kind,
            tenant=header.tenant,
            # A producer's clock may be ahead; nothing may be stamped with a time that has not come.
            enqueued_at=min(header.enqueued_at, now or self._clock()),
            attempt=attempt,
            payload=body,
            holder=holder,
        )

    def run(self, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """Run jobs of one kind in one transaction, and commit it.

        Raises:
            PenstockError: of the `STORAGE_` family, and whatever the actor raises: nothing was committed, and each
                job is to be judged by itself.
        """
        actor = self._actors[jobs[0].kind]

        def work(transaction: Transaction) -> Sequence[Outcome]:
            with self._payload_errors(jobs[0].kind):
                outcomes = actor(jobs, transaction)
            if len(outcomes) != len(jobs):
                # Before the commit: afterwards nobody could say which jobs it was for.
                raise RuntimeError(f"the actor of {jobs[0].kind!r} gave {len(outcomes)} outcomes for {len(jobs)} jobs")
            return outcomes

        started = time.perf_counter()
        outcomes = self._transactions.run(work)
        seconds = time.perf_counter() - started
        if _log.isEnabledFor(logging.INFO):
            told = list(zip(jobs, outcomes, strict=True))
        else:
            told = [one for one in zip(jobs, outcomes, strict=True) if isinstance(one[1], (Dead, Retry))]
        for job, outcome in told:
            _tell(job, outcome, seconds)
        return outcomes

    @contextmanager
    def _payload_errors(self, kind: str) -> Iterator[None]:
        """Tell a payload that breaks its kind's schema from an answer of some other service that breaks another one."""
        try:
            yield
        except ValidationError as error:
            if error.title != self.registrations[kind].payload.__name__:
                raise
            faults = error.errors(include_input=False, include_url=False, include_context=False)
            told = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'payload'}: {fault['msg']}" for fault in faults[:10]
            )
            raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, f"the payload is not usable: {told}") from None


def _tell(job: Job, outcome: Outcome, seconds: float) -> None:
    context = {
        "job_id": job.job_id,
        "kind": job.kind,
        "tenant": job.tenant,
        "attempt": job.attempt,
        "outcome": type(outcome).__name__.lower(),
        "seconds": round(seconds, 4),
    }
    match outcome:
        case Done(repeated=True):
            _log.info("the job's effect was committed before", extra=context)
        case Done(counts=counts):
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            _log.info("the job is done: %s", told, extra=context)
        case Dead(code=code, message=message) | Retry(code=code, message=message):
            _log.warning("%s", message, extra=context | {"code": code})
        case _:
            _log.info("the job is postponed", extra=context)
