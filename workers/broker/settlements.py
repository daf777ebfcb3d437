"""How an attempt's outcome ends its job's lease."""

import random
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code
from penstock.workers.broker.delivery import Delivery, OpenedJob
from penstock.workers.broker.leases import LeasedJob, Settlement, Verb
from penstock.workers.job import Dead, Done, Outcome, Postpone, Retry
from penstock.workers.protection.retry import Failure, Verdict
from penstock.workers.registry import Policy

_MILLISECOND = timedelta(milliseconds=1)
#: Frames of a traceback that the history keeps.
_FRAMES = 25


def full_jitter(policy: Policy, retry: int) -> timedelta:
    """The wait before the `retry`-th retry (from 1): anything up to an exponential bound, so that none coincide."""
    bound: timedelta = min(policy.backoff_cap, policy.backoff_base * 2 ** min(retry - 1, 30))
    return bound * random.random()  # noqa: S311  no secret hangs on it


class Settlements:
    """Makes settlements of outcomes. `worker` and `release` are noted in each attempt's history."""

    def __init__(self, worker: str, release: str) -> None:
        self._worker = worker
        self._release = release

    def of_outcome(self, job: LeasedJob, outcome: Outcome, policy: Policy, seconds: float) -> Settlement:
        """How an actor's outcome ends the lease."""
        match outcome:
            case Done():
                return Settlement(job, Verb.ACK)
            case Postpone(delay=delay, blocked_by=blocked_by):
                return self._postpone(job, delay, blocked_by, policy)
            case Retry(code=code, message=message):
                return self.of_failure(job, Failure(Verdict.RETRY, code, message), policy, seconds)
            case Dead(code=code, message=message):
                return self.of_failure(job, Failure(Verdict.PERMANENT, code, message), policy, seconds)

    def of_failure(
        self, job: LeasedJob, failure: Failure, policy: Policy, seconds: float, error: BaseException | None = None
    ) -> Settlement:
        """How a failed attempt ends the lease. What is not the job's fault costs it no attempt and has no end."""
        if failure.verdict is Verdict.WAIT:
            delay = _named(failure) + full_jitter(policy, job.postpones + 1)
            told = {"code": failure.code, "told": failure.message, "blocked_by": _family(failure.code)}
            return Settlement(job, Verb.POSTPONE, {"delay": delay // _MILLISECOND} | told)
        again = failure.verdict is Verdict.RETRY and job.attempts < policy.max_retries
        outcome = "retried" if again else "dead"
        entry = self._entry(job, outcome, failure, seconds, error)
        detail: dict[str, Any] = {"code": failure.code, "told": failure.message, "entry": entry}
        if again:
            delay = _named(failure) + full_jitter(policy, job.attempts + 1)
            return Settlement(job, Verb.RETRY, detail | {"delay": delay // _MILLISECOND})
        return Settlement(job, Verb.BURY, detail | {"attempted": True})

    def given_back(self, jobs: Sequence[OpenedJob]) -> list[Settlement]:
        """Jobs that can't run here now and are ready for whoever can; a suspect stays one."""
        return [Settlement(job.leased, Verb.RELEASE, {"alone": True} if job.leased.suspect else {}) for job in jobs]

    def not_run(self, job: LeasedJob) -> Settlement:
        """A job that its delivery did not come to: somewhat later, so that it can't go round and round."""
        return Settlement(job, Verb.POSTPONE, {"delay": 1_000, "blocked_by": "worker"})

    def unreadable(self, job: LeasedJob, code: Code, message: str) -> Settlement:
        """A job that can't be run as it is: a dead letter without an attempt."""
        failure = Failure(Verdict.PERMANENT, code, message)
        entry = self._entry(job, "dead", failure, 0.0, None)
        return Settlement(job, Verb.BURY, {"code": code, "told": message, "entry": entry})

    def of_message(self, job: LeasedJob, delivery: Delivery) -> Settlement:
        """How the lease of a plain dramatiq message ends: as dramatiq's middleware left it."""
        if delivery.retry is not None:
            message, delay_ms = delivery.retry
            return Settlement(job, Verb.RETRY, {"delay": delay_ms or 0}, message)
        error = delivery.error
        # Where an actor failed and no middleware made a retry of it or gave it up, dramatiq would hold it for done.
        if not delivery.failed and error is None:
            return Settlement(job, Verb.ACK)
        told = f"the actor raised {type(error).__name__}" if error is not None else "a middleware rejected it"
        failure = Failure(Verdict.PERMANENT, Code.INTERNAL_ERROR, told)
        entry = self._entry(job, "dead", failure, 0.0, error)
        return Settlement(job, Verb.BURY, {"code": failure.code, "told": told, "entry": entry, "attempted": True})

    def _postpone(self, job: LeasedJob, delay: timedelta, blocked_by: str, policy: Policy) -> Settlement:
        waited = timedelta(milliseconds=job.leased_at - (job.postponed_at or job.leased_at))
        if waited > policy.patience:
            told = f"{blocked_by} held it for {waited}, longer than the {policy.patience} that its kind allows"
            return self.unreadable(job, Code.JOB_DEADLINE_EXCEEDED, told)
        detail = {"delay": delay // _MILLISECOND, "blocked_by": blocked_by, "limited": True}
        return Settlement(job, Verb.POSTPONE, detail)

    def _entry(
        self, job: LeasedJob, outcome: str, failure: Failure, seconds: float, error: BaseException | None
    ) -> str:
        entry: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "attempt": job.attempts + 1,
            "outcome": outcome,
            "code": failure.code,
            "message": failure.message,
            "worker": self._worker,
            "release": self._release,
            "seconds": round(seconds, 4),
        }
        if error is not None:
            # Frames and the type, never the text: it can quote an answer.
            frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
            entry["error"] = f"{type(error).__module__}.{type(error).__qualname__}"
            entry["traceback"] = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        return compact_json(entry).decode()


def _named(failure: Failure) -> timedelta:
    """The wait that another side asked for; the jitter comes on top, so that not all come at that moment."""
    return failure.delay if failure.delay is not None else timedelta(0)


def _family(code: Code) -> str:
    """What a job waits for, by the family of the code: `storage`, `queue`, `platform`..."""
    return str(code).partition("_")[0].lower()
