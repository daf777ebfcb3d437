"""How an attempt's outcome ends its job's lease."""

import os
import platform
import random
import sysconfig
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.broker.delivery import Delivery, OpenedJob
from penstock.workers.broker.leases import LeasedJob, Settlement, Verb
from penstock.workers.job import Dead, Done, Outcome, Postpone, Retry
from penstock.workers.protection.retry import Failure, Verdict
from penstock.workers.registry import Policy
from penstock.workers.telemetry.sentry import new_event_id

_MILLISECOND = timedelta(milliseconds=1)
#: Frames of a traceback that the history keeps, and errors that led to the one that is told.
_FRAMES = 25
_CAUSES = 5
#: Where libraries are. Penstock's own modules are no library's, even there.
_LIBRARIES = (f"{sysconfig.get_path('stdlib')}/", "<frozen")
_PACKAGES = ("/site-packages/", "/dist-packages/")
_OWN_PACKAGE = "penstock"


def full_jitter(policy: Policy, retry: int) -> timedelta:
    """The wait before the `retry`-th retry (from 1): anything up to an exponential bound, so that none coincide."""
    bound: timedelta = min(policy.backoff_cap, policy.backoff_base * 2 ** min(retry - 1, 30))
    return bound * random.random()  # noqa: S311  no secret hangs on it


class Settlements:
    """Makes settlements of outcomes. `worker` (its boot id), `release` and the process are noted of each attempt."""

    def __init__(self, worker: str, release: str) -> None:
        self._worker = worker
        self._release = release
        self._host = platform.node()
        self._pid = os.getpid()

    def of_outcome(self, job: LeasedJob, outcome: Outcome, policy: Policy, seconds: float) -> Settlement:
        """How an actor's outcome ends the lease."""
        # By far the most frequent one.
        if isinstance(outcome, Done):
            return Settlement(job, Verb.ACK)
        match outcome:
            case Postpone(delay=delay, blocked_by=blocked_by):
                return self._postpone(job, delay, blocked_by, policy)
            case Retry(code=code, message=message, delay=delay):
                return self.of_failure(job, Failure(Verdict.RETRY, code, message, delay), policy, seconds)
            case Dead(code=code, message=message):
                return self.of_failure(job, Failure(Verdict.PERMANENT, code, message), policy, seconds)

    def of_failure(
        self, job: LeasedJob, failure: Failure, policy: Policy, seconds: float, error: BaseException | None = None
    ) -> Settlement:
        """How a failed attempt ends the lease. What is not the job's fault costs it no attempt and has no end."""
        if failure.verdict is Verdict.WAIT:
            delay = _named(failure) + full_jitter(policy, job.postpones + 1)
            blocked_by = failure.blocked_by or _family(failure.code)
            told = {"code": failure.code, "told": failure.message, "blocked_by": blocked_by}
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
            entry = self._entry(job, "retried", _failure_of_message(delivery.error), 0.0, delivery.error)
            return Settlement(job, Verb.RETRY, {"delay": delay_ms or 0, "entry": entry}, message)
        error = delivery.error
        # Where an actor failed and no middleware made a retry of it or gave it up, dramatiq would hold it for done.
        if not delivery.failed and error is None:
            return Settlement(job, Verb.ACK)
        failure = _failure_of_message(error)
        entry = self._entry(job, "dead", failure, 0.0, error)
        detail = {"code": failure.code, "told": failure.message, "entry": entry, "attempted": True}
        return Settlement(job, Verb.BURY, detail)

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
            "host": self._host,
            "pid": self._pid,
            "release": self._release,
            "seconds": round(seconds, 4),
        }
        event = new_event_id() if outcome == "dead" else None
        if event is not None:
            entry["sentry"] = event
        return compact_json(entry | _told_of(error)).decode()


def _told_of(error: BaseException | None) -> dict[str, Any]:
    """Frames and types, never the text: it can quote an answer. `own` are the places of frames that no library has."""
    if error is None:
        return {}
    walked = list(traceback.walk_tb(error.__traceback__))[-_FRAMES:]
    frames = [(frame.f_code, line, str(frame.f_globals.get("__name__", ""))) for frame, line in walked]
    told: dict[str, Any] = {
        "error": _name_of(error),
        "traceback": [f"{code.co_filename}:{line} in {code.co_name}" for code, line, _ in frames],
        "own": [place for place, (code, _, module) in enumerate(frames) if _is_own(code.co_filename, module)],
    }
    causes = _causes_of(error)
    return told | {"causes": causes} if causes else told


def _is_own(file: str, module: str) -> bool:
    is_library = file.startswith(_LIBRARIES) or any(folder in file for folder in _PACKAGES)
    return module.partition(".")[0] == _OWN_PACKAGE or not is_library


def _name_of(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _causes_of(error: BaseException) -> list[str]:
    """The errors that led to this one, the nearest first."""
    causes: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and len(causes) <= _CAUSES:
        causes.append(found)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return [_name_of(cause) for cause in causes[1:]]


def _failure_of_message(error: BaseException | None) -> Failure:
    """Why a plain message failed. The text of an error that is none of ours may quote what it was given."""
    if isinstance(error, PenstockError):
        return Failure(Verdict.PERMANENT, error.code, error.message)
    told = f"the actor raised {type(error).__name__}" if error is not None else "a middleware rejected it"
    return Failure(Verdict.PERMANENT, Code.INTERNAL_ERROR, told)


def _named(failure: Failure) -> timedelta:
    """The wait that another side asked for; the jitter comes on top, so that not all come at that moment."""
    return failure.delay if failure.delay is not None else timedelta(0)


def _family(code: Code) -> str:
    """What a job waits for where no gate is known, by the family of the code: `storage`, `queue`, `platform`..."""
    return str(code).partition("_")[0].lower()
