"""All checks at once, each in its own time; and the report that comes of them."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.workers.health.machine_checks import look_at_disk, look_at_processes
from penstock.workers.health.post_checks import look_at_posts
from penstock.workers.health.postgresql_checks import look_at_dead_letters, look_at_postgresql
from penstock.workers.health.redis_checks import look_at_circuits, look_at_queues, look_at_redis, look_at_schedulers
from penstock.workers.health.report import Check, HealthReport, Status, worst
from penstock.workers.health.sentence import sentence_of
from penstock.workers.health.sources import Sources

_log = logging.getLogger(__name__)

#: For all checks together, since they run at once: below what a probe of a platform waits.
LIMIT = timedelta(seconds=1)
#: A report is given to all who ask within this.
FRESH_FOR = timedelta(seconds=1)

Look = Callable[[Sources], Iterator[Check]]
#: Each look with the checks that it makes. The first of the two servers' own looks tell whether they are there.
LOOKS: Mapping[Look, Sequence[str]] = {
    look_at_postgresql: ("postgresql", "schema"),
    look_at_redis: ("redis",),
    look_at_queues: ("queues", "workers", "jobs_unaccounted"),
    look_at_schedulers: ("scheduler",),
    look_at_circuits: ("circuits",),
    look_at_dead_letters: ("dead_letters", "outbox", "audit"),
    look_at_posts: ("posts", "posts_unknown", "posts_held", "accounts"),
    look_at_processes: ("errors", "caches", "memory", "pool"),
    look_at_disk: ("disk",),
}
#: Without these nothing runs, and their checks are CRITICAL where they can't be made.
SERVERS = frozenset({"postgresql", "redis"})


class Health:
    """Examines the deployment. Safe to share between threads; those who ask at once share one examination."""

    def __init__(self, sources: Sources, clock: Callable[[], float] = time.monotonic, limit: timedelta = LIMIT) -> None:
        self._sources = sources
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._report: HealthReport | None = None
        self._made_at = 0.0
        self._known_waiting: int | None = None
        # A thread for each look: one that hangs keeps none of the others waiting, and is not begun again.
        self._threads = ThreadPoolExecutor(len(LOOKS), thread_name_prefix="penstock-health")
        self._flights: dict[Look, Future[list[Check]]] = {}

    def report(self) -> HealthReport:
        """The report, no older than a second; takes a little over a second at the most."""
        with self._lock:
            if self._report is None or self._clock() - self._made_at > FRESH_FOR.total_seconds():
                self._report = self._examine()
                self._made_at = self._clock()
            return self._report

    def ready(self) -> tuple[bool, dict[str, Status]]:
        """Whether both servers answer and the schema is ours; and how each of these is.

        What works, though not well, is ready.
        """
        report = self.report()
        found = {name: report.named(name) for name in ("postgresql", "schema", "redis")}
        statuses = {name: check.status if check is not None else Status.UNKNOWN for name, check in found.items()}
        return all(status in (Status.HEALTHY, Status.WARNING) for status in statuses.values()), statuses

    def close(self) -> None:
        """End the threads; looks that are under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _examine(self) -> HealthReport:
        started = self._clock()
        for look in LOOKS:
            if look not in self._flights or self._flights[look].done():
                self._flights[look] = self._threads.submit(self._look, look)
        done, _ = wait(self._flights.values(), timeout=self._limit.total_seconds())
        checks: list[Check] = []
        for look, names in LOOKS.items():
            flight = self._flights[look]
            checks += flight.result() if flight in done else _silent(names, self._clock() - started)
        queues = next((check for check in checks if check.name == "queues" and "waiting" in check.facts), None)
        if queues is not None:
            self._known_waiting = int(queues.facts["waiting"])
        return HealthReport(worst(checks), sentence_of(checks, self._away_since(), self._known_waiting), checks)

    def _away_since(self) -> dict[str, datetime | None]:
        return {"postgresql": self._sources.postgresql_away_since(), "redis": self._sources.redis_away_since()}

    def _look(self, look: Look) -> list[Check]:
        started = time.perf_counter()
        found: list[Check] = []
        try:
            with self._sources.bounded():
                found.extend(look(self._sources))
        except PenstockError as error:
            found += _failed(LOOKS[look][len(found) :], error, time.perf_counter() - started)
        except Exception as error:
            _log.warning("a look at %s failed: %s", ", ".join(LOOKS[look]), type(error).__name__)
            ours = PenstockError(Code.INTERNAL_ERROR, f"the look failed ({type(error).__name__})")
            found += _failed(LOOKS[look][len(found) :], ours, time.perf_counter() - started)
        return found


def _silent(names: Sequence[str], seconds: float) -> list[Check]:
    told = f"no answer within {seconds:.1f} s"
    return _failed(names, UnavailableError(Code.REQUEST_TIMEOUT, told, remedy="See the server that it asks."), seconds)


def _failed(names: Sequence[str], error: PenstockError, seconds: float) -> list[Check]:
    return [
        Check(
            name,
            Status.CRITICAL if _is_grave(name, error) else Status.UNKNOWN,
            error.message,
            seconds=seconds,
            code=str(error.code),
            remedy=error.remedy,
        )
        for name in names
    ]


def _is_grave(name: str, error: PenstockError) -> bool:
    """Whether the failure is this check's own, and not that of the server that it asks."""
    if name in SERVERS:
        return True
    passing = (Code.REQUEST_TIMEOUT, Code.INTERNAL_ERROR, Code.STORAGE_REFUSED, Code.STORAGE_TIMEOUT)
    return name in {"schema", "queues"} and not isinstance(error, UnavailableError) and error.code not in passing
