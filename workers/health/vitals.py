"""What the processes of this machine tell of themselves in their metrics, over the last minutes."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from prometheus_client.core import Metric

from penstock.workers.telemetry.exposition import process_families
from penstock.workers.telemetry.exposition_reading import read_processes

WINDOW = timedelta(minutes=5)
#: Fewer events than this say nothing.
_LEAST_EVENTS = 20.0
_READ_EVERY_SECONDS = 5.0

_FINISHED, _CACHE = "penstock_jobs_finished_total", "penstock_cache_requests_total"
_DONE, _DIED, _HITS, _MISSES = "done", "died", "hits", "misses"


@dataclass(frozen=True, slots=True)
class Vitals:
    """None where nothing is known.

    Attributes:
        error_share: of the jobs that ended in the window, those that died.
        cache_hit_share: of the look-ups in it.
        memory_bytes: of the largest process.
        pool_share: of the fullest kind of pool, how much is taken.
    """

    error_share: float | None = None
    cache_hit_share: float | None = None
    memory_bytes: float | None = None
    pool_share: float | None = None


class ReadVitals:
    """Reads the metrics' folder at most every 5 s. Safe to share between threads that don't read at once."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._counts: deque[tuple[float, Mapping[str, float]]] = deque()
        self._known = Vitals()
        self._read_at = 0.0

    def __call__(self) -> Vitals:
        """The figures of now.

        Raises:
            OSError: the folder can't be read.
        """
        now = self._clock()
        if now - self._read_at >= _READ_EVERY_SECONDS:
            self._known = self._of(list(process_families(read_processes(self._folder, self._clock), now)), now)
            self._read_at = now
        return self._known

    def _of(self, families: Iterable[Metric], now: float) -> Vitals:
        values = _Values(families)
        self._counts.append((now, values.counts()))
        while now - self._counts[0][0] > WINDOW.total_seconds():
            self._counts.popleft()
        before, after = self._counts[0][1], self._counts[-1][1]
        grown = {name: after[name] - before.get(name, 0.0) for name in after}
        return Vitals(
            error_share=_share(grown[_DIED], grown[_DONE]),
            cache_hit_share=_share(grown[_HITS], grown[_MISSES]),
            memory_bytes=values.largest("penstock_process_largest_resident_memory_bytes"),
            pool_share=values.pool_share(),
        )


class _Values:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._samples = [sample for family in families for sample in family.samples]

    def counts(self) -> Mapping[str, float]:
        return {
            _DONE: self._sum(_FINISHED, "outcome", {"done"}),
            _DIED: self._sum(_FINISHED, "outcome", {"dead"}),
            _HITS: self._sum(_CACHE, "result", {"hit"}),
            _MISSES: self._sum(_CACHE, "result", {"miss"}),
        }

    def largest(self, name: str) -> float | None:
        return max((sample.value for sample in self._samples if sample.name == name), default=None)

    def pool_share(self) -> float | None:
        size, free = self.largest("penstock_db_pool_max"), self.largest("penstock_db_pool_available")
        made = self.largest("penstock_db_pool_size")
        if not size or made is None or free is None:
            return None
        return max(0.0, made - free) / size

    def _sum(self, name: str, label: str, wanted: set[str]) -> float:
        return sum(
            sample.value for sample in self._samples if sample.name == name and sample.labels.get(label) in wanted
        )


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest >= _LEAST_EVENTS else None
