"""How many seconds of work could run now, and how many workers that wants. docs/metrics.md defines each word."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import redis

from penstock.producers.queue.tallies import JobGroup, Runnable, Tallies, Tally
from penstock.schemas.names import Queue
from penstock.workers.protection.limits import tenant_use
from penstock.workers.protection.limits_view import LimitState, LimitView
from penstock.workers.protection.pauses import Pauses
from penstock.workers.queues.trend_points import TrendLog
from penstock.workers.settings import WorkerSettings

#: Jobs that are due this soon count as ready, and so much of a limit comes back meanwhile.
HORIZON = timedelta(seconds=10)
#: Minutes over which the mean time of a job is taken, and the attempts that it takes.
RECENT_MINUTES = 10
ENOUGH_ATTEMPTS = 10
#: What a job is taken to need where none has run yet.
UNKNOWN_SECONDS = 0.1
#: Seconds in which a fleet of the right size has worked its backlog off.
TARGET_SECONDS = 30.0

Source = Literal["recent", "all", "assumed"]
_Kinds = dict[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class QueueBacklog:
    """The work of a queue that could run now.

    Attributes:
        runnable_jobs: an estimate where lists are long.
        held_by_pauses, held_by_limits: jobs that are ready and left out, and why.
        leased: jobs that workers have already; they are not in the backlog.
        seconds_per_job: of a worker thread; `seconds_from` says by which jobs: of the last ten minutes, of all that
            ever ran, or assumed.
    """

    runnable_jobs: float
    held_by_pauses: float
    held_by_limits: float
    leased: int
    workers: int
    paused: bool
    seconds_per_job: float
    seconds_from: Source
    runnable_backlog_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


class Autoscale:
    """Reckons the runnable backlog. Safe to share between threads; each look costs a few round trips a queue."""

    def __init__(self, client: redis.Redis, settings: WorkerSettings) -> None:
        self._trends = TrendLog(client, settings.namespace)
        self._tallies = Tallies(client, settings.namespace)
        self._limits = LimitView(client, settings.namespace)
        self._pauses = Pauses(client, settings.namespace)
        self._tenant_limit = (settings.tenant_limit, settings.tenant_window)

    def read(self) -> dict[str, QueueBacklog]:
        """The runnable backlog of each queue.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        paused = {pause.key for pause in self._pauses.list()}
        return {str(queue): self._of_queue(queue, paused) for queue in Queue}

    def _of_queue(self, queue: Queue, paused: set[str]) -> QueueBacklog:
        found = self._tallies.runnable(queue, HORIZON)
        seconds, source = self._seconds_per_job(queue, found.tally)
        kinds, unknown = estimate(found.groups)
        total = sum(kinds.values()) + unknown
        if found.paused:
            return _backlog(found, 0.0, total, 0.0, seconds, source)
        free = {key: jobs for key, jobs in kinds.items() if not {f"tenant:{key[0]}", f"kind:{key[1]}"} & paused}
        runnable = self._within_limits(free)
        held_by_limits = sum(free.values()) - runnable
        held_by_pauses = total - unknown - sum(free.values())
        return _backlog(found, runnable + unknown, held_by_pauses, held_by_limits, seconds, source)

    def _within_limits(self, kinds: _Kinds) -> float:
        limit, window = self._tenant_limit
        uses = {tenant_use(tenant, kind, limit, window).key: jobs for (tenant, kind), jobs in kinds.items()}
        states = {state.key: state for state in self._limits.look([*uses])}
        now = datetime.now(UTC)
        return sum(min(jobs, self._room(states.get(key), now)) for key, jobs in uses.items())

    def _room(self, state: LimitState | None, now: datetime) -> float:
        """Jobs that a limit lets run within the horizon."""
        if state is None:
            limit, window = self._tenant_limit
            return limit * (1 + HORIZON / window) if limit else math.inf
        if state.blocked is not None and (state.blocked.until is None or state.blocked.until > now + HORIZON):
            return 0.0
        if state.limit is None or state.remaining is None:
            return math.inf
        return state.remaining + state.limit * (HORIZON / state.window)

    def _seconds_per_job(self, queue: str, tally: Tally) -> tuple[float, Source]:
        points = self._trends.read(queue, RECENT_MINUTES)
        before = Tally.of(points[0].get("tally") or {}) if points else tally
        known = Tally(done=before.done, retried=before.retried, died=before.died, busy_ms=before.busy_ms)
        recent = tally.since(known)
        if recent.ran >= ENOUGH_ATTEMPTS and recent.busy_ms:
            return recent.busy_ms / 1_000 / recent.ran, "recent"
        if tally.ran and tally.busy_ms:
            return tally.busy_ms / 1_000 / tally.ran, "all"
        return UNKNOWN_SECONDS, "assumed"


def estimate(groups: Sequence[JobGroup]) -> tuple[_Kinds, float]:
    """Jobs by tenant and kind, reckoned from samples of each list; and those of lists that nobody looked at."""
    kinds: _Kinds = {}
    unknown = 0.0
    for group in groups:
        if not group.looked_at:
            unknown += group.jobs
            continue
        for key, count in group.by_kind.items():
            kinds[key] = kinds.get(key, 0.0) + group.jobs * count / group.looked_at
    return kinds, unknown


def desired_workers(backlogs: Mapping[str, QueueBacklog], threads: int, target_seconds: float = TARGET_SECONDS) -> int:
    """Workers of so many threads that work the backlog off in so many seconds; at least 1 while there is any work."""
    seconds = sum(backlog.runnable_backlog_seconds for backlog in backlogs.values())
    any_work = any(backlog.leased or backlog.runnable_jobs for backlog in backlogs.values())
    return max(math.ceil(seconds / (target_seconds * threads)), int(any_work))


def _backlog(
    found: Runnable, runnable: float, by_pauses: float, by_limits: float, seconds: float, source: Source
) -> QueueBacklog:
    return QueueBacklog(
        runnable_jobs=runnable,
        held_by_pauses=by_pauses,
        held_by_limits=by_limits,
        leased=found.leased,
        workers=found.workers,
        paused=found.paused,
        seconds_per_job=seconds,
        seconds_from=source,
        runnable_backlog_seconds=runnable * seconds,
    )
