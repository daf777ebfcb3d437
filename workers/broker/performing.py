"""Runs a delivery of a kind of ours: opens the payloads, has the actor run, and says how each lease ends."""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta

import redis
from dramatiq.middleware import Interrupt

from penstock.producers.queue.connection import redis_errors
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.broker.broker import PenstockBroker
from penstock.workers.broker.consumer import Tools
from penstock.workers.broker.delivery import OpenedJob, Work
from penstock.workers.broker.gating import Admit, admit_all
from penstock.workers.broker.leases import Settlement, Verb
from penstock.workers.broker.settlements import Settlements
from penstock.workers.broker.time_limits import ShutdownError, TimeLimitExceededError, TimeLimits
from penstock.workers.database.failures import is_doubtful
from penstock.workers.execution import Execution
from penstock.workers.job import Job
from penstock.workers.protection.retry import Failure, Verdict, judge_failure
from penstock.workers.registry import Policy

_log = logging.getLogger(__name__)

#: The answer of a dependency that may be away takes no longer, since it is asked with time-outs.
_ASKED_WITHIN = timedelta(seconds=10)
#: Of a group that failed no more jobs than these are run again alone, each as if it had been lost with a worker.
_RUN_ALONE = 8


class Performer:
    """What the actors of our kinds do in a worker thread. Safe to share between threads."""

    def __init__(
        self, execution: Execution, broker: PenstockBroker, limits: TimeLimits, admit: Admit = admit_all
    ) -> None:
        self._execution = execution
        self._broker = broker
        self._limits = limits
        self._admit = admit

    @property
    def _settlements(self) -> Settlements:
        return self._tools.settlements

    @property
    def _tools(self) -> Tools:
        return self._broker.tools

    def perform(self, work: Work) -> None:
        """Run a delivery and fill in its settlements. Raises nothing but what is no outcome of a job."""
        started = time.perf_counter()
        self._perform(work)
        busy = timedelta(seconds=time.perf_counter() - started) / len(work.jobs)
        for settlement in work.settlements:
            settlement.busy = busy

    def _perform(self, work: Work) -> None:
        if self._tools.held_up_by(work.jobs[0].leased.queue) is not None:
            # It waited for this thread while the outage began.
            work.settlements = self._settlements.given_back(work.jobs)
            return
        policy = self._execution.registrations[work.jobs[0].header.kind].policy
        # Of a group that failed, halves may have been committed before the rest is interrupted.
        ended = work.settlements = []
        started = time.perf_counter()
        try:
            with self._limits.within(policy.time_limit):
                self._run(work.jobs, policy, ended)
        except PenstockError as error:
            # Redis is away, so that a suspect could not be marked as started.
            seconds = time.perf_counter() - started
            ended += self._failed(_left(work), judge_failure(error), policy, seconds, error)
        except ShutdownError:
            # The interrupt is the deploy's doing, and no attempt of the job's.
            ended += [Settlement(job.leased, Verb.RELEASE) for job in _left(work)]
        except TimeLimitExceededError as error:
            seconds = time.perf_counter() - started
            ended += self._overran(_left(work), policy, seconds, error)

    def _overran(
        self, left: Sequence[OpenedJob], policy: Policy, seconds: float, error: TimeLimitExceededError
    ) -> list[Settlement]:
        if left and self._is_away(left, error):
            return self._settlements.given_back(left)
        failure = Failure(
            Verdict.RETRY, Code.JOB_TIME_LIMIT, f"the attempt took longer than {_words(policy.time_limit)}"
        )
        return self._failed(left, failure, policy, seconds, error)

    def _run(self, opened: Sequence[OpenedJob], policy: Policy, ended: list[Settlement]) -> None:
        """Run jobs of one kind; how each lease ends is appended to `ended` as soon as it is known."""
        ready: list[tuple[OpenedJob, Job]] = []
        unpack, now = self._execution.unpack, self._execution.now()
        for job in opened:
            if job.leased.suspect and not self._mark_started(job):
                continue
            leased = job.leased
            try:
                ready.append((job, unpack(job.header, job.payload, leased.attempts + 1, leased.holder, now)))
            except InvalidInputError as error:
                ended.append(self._settlements.unreadable(job.leased, error.code, error.message))
        admitted, refused = self._admit(ready)
        ended += refused
        # Where a large group fails its halves are run: that finds the bad one in a few transactions, and what is left
        # to run alone is a handful.
        waiting = [admitted] if admitted else []
        while waiting:
            group = waiting.pop()
            settlements = self._run_group(group, policy)
            if settlements is None:
                middle = len(group) // 2
                waiting += [group[middle:], group[:middle]]
            else:
                ended += settlements

    def _run_group(self, ready: Sequence[tuple[OpenedJob, Job]], policy: Policy) -> list[Settlement] | None:
        """Run jobs in one transaction; None where that failed, and its halves are worth another try."""
        started = time.perf_counter()
        try:
            outcomes = self._execution.run([job for _, job in ready])
        except Interrupt:
            raise
        except BaseException as error:  # an actor may even call sys.exit()
            seconds = time.perf_counter() - started
            failed = [opened for opened, _ in ready]
            if self._is_away(failed, error):
                _log.info("gave back %d job(s) that met an outage of PostgreSQL", len(failed))
                return self._settlements.given_back(failed)
            failure = judge_failure(error)
            if len(failed) > _RUN_ALONE and failure.verdict is not Verdict.WAIT:
                _log.info("a group of %d jobs failed (%s); its halves run again", len(failed), failure.code)
                return None
            return self._failed(failed, failure, policy, seconds, error)
        seconds = time.perf_counter() - started
        of_outcome = self._settlements.of_outcome
        return [
            of_outcome(opened.leased, outcome, policy, seconds)
            for (opened, _), outcome in zip(ready, outcomes, strict=True)
        ]

    def _failed(
        self,
        opened: Sequence[OpenedJob],
        failure: Failure,
        policy: Policy,
        seconds: float,
        error: BaseException,
    ) -> list[Settlement]:
        if len(opened) > 1 and failure.verdict is not Verdict.WAIT:
            # Nobody can say which of them it was: each runs again alone, and no attempt is spent.
            _log.warning("a group of %d jobs failed (%s); each runs again alone", len(opened), failure.code)
            return [Settlement(job.leased, Verb.RELEASE, {"alone": True}) for job in opened]
        for job in opened:
            _log.warning(
                "%s",
                failure.message,
                extra={"job_id": job.leased.job_id, "kind": job.header.kind, "code": failure.code},
            )
        return [self._settlements.of_failure(job.leased, failure, policy, seconds, error) for job in opened]

    def _is_away(self, opened: Sequence[OpenedJob], error: BaseException) -> bool:
        """Whether the failure is an outage that holds the whole queue up: then its jobs need not wait for an instant.

        Otherwise they are postponed, later each time: were they given back, they would be leased again at once, to fail
        again.
        """
        needed = self._tools.needed_by(opened[0].leased.queue)
        if needed is None or not (isinstance(error, TimeLimitExceededError) or is_doubtful(error)):
            return False
        return needed.is_away_after_asking(_ASKED_WITHIN)

    def _mark_started(self, job: OpenedJob) -> bool:
        """Mark a job that was lost with a worker, so that a second loss is known for its doing.

        Raises:
            UnavailableError: `QUEUE_UNAVAILABLE`, after tries that together last about as long as a restart of Redis.
        """
        for pause in (0.1, 0.3, 1.0, 2.0, 3.0, 4.0):
            try:
                return self._broker.tools.leases.start(job.leased)
            except (redis.RedisError, OSError):
                time.sleep(pause)
        with redis_errors("marking a job as started"):
            return self._broker.tools.leases.start(job.leased)


def _left(work: Work) -> list[OpenedJob]:
    """The jobs of which it is not known yet how their leases end."""
    told = {settlement.job.job_id for settlement in work.settlements}
    return [job for job in work.jobs if job.leased.job_id not in told]


def _words(limit: timedelta) -> str:
    return f"{limit.total_seconds():g} s"
