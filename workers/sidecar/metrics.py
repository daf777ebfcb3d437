"""`/metrics`: what the processes of this machine have measured, and what the shared servers tell."""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from penstock.producers.queue.tallies import Tallies
from penstock.schemas.errors import PenstockError
from penstock.workers.database.failures import storage_errors
from penstock.workers.sidecar.post_readings import read_posts
from penstock.workers.sidecar.scheduler_readings import read_schedulers
from penstock.workers.sidecar.services import Services
from penstock.workers.sidecar.shared_readings import (
    Samples,
    read_backlog,
    read_gates,
    read_postgresql,
    read_queues,
    read_redis_itself,
)
from penstock.workers.telemetry.exposition import process_families, render
from penstock.workers.telemetry.exposition_reading import Processes, read_processes
from penstock.workers.telemetry.metrics import SHARED, Shared
from penstock.workers.telemetry.snapshots import take_snapshot

_log = logging.getLogger(__name__)

#: Scrapers that come together share an answer.
FRESH_FOR = timedelta(milliseconds=500)
#: For each server: a scrape is answered within 2 s though both are silent.
PATIENCE = timedelta(milliseconds=800)


def answer_scrape(services: Services, accept: str | None) -> tuple[bytes, str]:
    """The text for a scrape and its Content-Type. Never fails for a server that is away: what is known is told."""
    families = [*process_families(_processes(services), time.time()), *shared_families(services)]
    return render(families, accept)


def shared_families(services: Services) -> Iterator[Metric]:
    """The metrics of the shared servers, all that are declared, with what is known of them."""
    samples: Samples = {}
    for server, read in (("redis", _redis), ("postgresql", _postgresql)):
        samples = _with(samples, _reading(services, server, read))
    for shared in SHARED.values():
        family = _family(shared)
        for labels, value in samples.get(shared.name, ()):
            family.add_metric(labels, value)
        yield family


def _reading(services: Services, server: str, read: Callable[[Services], Samples]) -> Samples:
    up = f"penstock_{server}_up"
    try:
        answer = services.known.read(
            ("metrics", server), lambda: read(services), fresh_for=FRESH_FOR, patience=PATIENCE
        )
    except PenstockError:
        return {up: [((), 0.0)]}
    return {
        **answer.value,
        up: [((), 0.0 if answer.stale else 1.0)],
        "penstock_reading_age_seconds": [((server,), answer.age.total_seconds())],
    }


def _with(samples: Samples, more: Samples) -> Samples:
    return samples | {name: [*samples.get(name, ()), *told] for name, told in more.items()}


def _redis(services: Services) -> Samples:
    tallies = Tallies(services.client, services.settings.namespace)
    return {
        **read_redis_itself(services.client),
        **read_queues(services.queues, tallies),
        **read_gates(services.circuits, services.limits),
        **read_backlog(services.autoscale),
        **read_schedulers(services.client, services.settings.namespace),
    }


def _postgresql(services: Services) -> Samples:
    # The pool, too, tells of a server that is away.
    with storage_errors(), services.pool.connection() as connection:
        return {**read_postgresql(connection), **read_posts(connection)}


def _processes(services: Services) -> Processes:
    """The processes of this machine; this one alone where their folder can't be read."""
    try:
        return read_processes(services.settings.metrics_folder)
    except OSError as error:
        _log.warning("the metrics of other processes can't be read (%s)", type(error).__name__)
        return Processes([take_snapshot("sidecar")], None)


def _family(shared: Shared) -> GaugeMetricFamily | CounterMetricFamily:
    made = CounterMetricFamily if shared.type == "counter" else GaugeMetricFamily
    return made(shared.name, shared.told, labels=shared.labels)
