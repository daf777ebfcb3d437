"""The connection pool's own statistics as metrics, read when somebody asks."""

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

#: psycopg_pool's names for what is now, and what the metric says. Units: connections, or clients that wait.
_NOW = {
    "pool_min": "Connections that are kept open",
    "pool_max": "Connections at the most",
    "pool_size": "Connections that there are",
    "pool_available": "Connections that are free",
    "requests_waiting": "Clients that wait for a connection",
}
#: What is counted since the pool was opened.
_SINCE = {
    "requests_num": "Connections that were asked for",
    "requests_queued": "Requests that had to wait",
    "requests_wait_ms": "Seconds that requests have waited",
    "requests_errors": "Requests that got no connection",
    "connections_num": "Attempts to connect",
    "connections_errors": "Attempts to connect that failed",
    "connections_lost": "Connections that were found broken",
}


class Measurable(Protocol):
    """A pool that tells its statistics, as psycopg_pool's do."""

    def get_stats(self) -> dict[str, int]:
        """Numbers by name; one that is zero may be missing."""


class _PoolCollector(Collector):
    def __init__(self, pool: Measurable) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        stats = self._pool.get_stats()
        for name, told in _NOW.items():
            yield GaugeMetricFamily(_metric(name), told, value=stats.get(name, 0))
        for name, told in _SINCE.items():
            value = stats.get(name, 0)
            yield CounterMetricFamily(_metric(name), told, value=value / 1000 if name.endswith("_ms") else value)


def _metric(name: str) -> str:
    # Metrics have base units.
    name = name.removesuffix("_ms") + "_seconds" if name.endswith("_ms") else name
    return f"penstock_db_pool_{name.removeprefix('pool_')}"


def measure_pool(pool: Measurable, registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Tell the pool's statistics as metrics; returns what ends it."""
    collector = _PoolCollector(pool)
    registry.register(collector)
    return lambda: registry.unregister(collector)
