"""What a process has measured, as a file that the sidecar of its machine reads.

Each process publishes its registry every second as `<kind>-<boot>.json` in a private folder, and holds a lock on
`<kind>-<boot>.alive`, which the kernel lets go however the process ends. docs/decisions/0015 says why.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import msgspec
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from penstock.workers.telemetry.metrics import SHARED
from penstock.workers.telemetry.process import measure_process
from penstock.workers.telemetry.snapshots_folder import MetricsFolder

_log = logging.getLogger(__name__)

PUBLISH_EVERY = timedelta(seconds=1)
#: Raised when the files change so that an earlier release can't read them.
FORMAT = 1
#: Python's and the client library's own, which say nothing once they are summed over processes.
_LEFT_OUT = ("python_", "process_")


class SnapshotSample(msgspec.Struct, array_like=True, frozen=True):
    """One number: its name, labels as pairs in the order of their names, value, and an exemplar where it has one.

    The exemplar is its labels as pairs, its value, and when it was (seconds since 1970).
    """

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float
    exemplar: tuple[tuple[tuple[str, str], ...], float, float] | None = None


class Family(msgspec.Struct, frozen=True):
    """A metric with all its samples. `type` is that of the exposition: counter, gauge or histogram."""

    name: str
    type: str
    told: str
    samples: list[SnapshotSample]


class Snapshot(msgspec.Struct, frozen=True):
    """What one process (or all that have ended) has measured. `at` is when, in seconds since 1970."""

    process: str
    at: float
    families: list[Family]
    #: Of the file of ended processes: the files that it holds already.
    folded: list[str] = []
    format: int = FORMAT


def take_snapshot(process: str, registry: Collector = REGISTRY, clock: Callable[[], float] = time.time) -> Snapshot:
    """What a registry holds now, without what the sidecar reads from the shared servers."""
    families = [_family(metric) for metric in registry.collect() if _is_published(metric)]
    return Snapshot(process, clock(), families)


class Publisher:
    """Publishes a process's registry until it is closed, and once more then.

    Metrics never stop a process: where the folder can't be used, that is logged once, and nothing is published.

    Args:
        folder: PENSTOCK_METRICS_DIR.
        process: what kind of process this is: worker, scheduler, gateway or sidecar.
    """

    def __init__(self, folder: Path, process: str, registry: Collector = REGISTRY) -> None:
        self._folder = MetricsFolder(folder)
        self._process = process
        self._registry = registry
        self.name = f"{process}-{uuid.uuid4().hex}"
        self._ended = threading.Event()
        self._failed = False
        self._lock: int | None = None
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="penstock-metrics", daemon=True)

    def start(self) -> None:
        """Begin, in the background."""
        with self._telling_failure():
            self._folder.make()
            self._lock = self._folder.take_life(self.name)
        self._thread.start()

    def publish(self) -> None:
        """Write a snapshot now. Never raises."""
        with self._writing, self._telling_failure():
            if self._lock is not None:
                snapshot = take_snapshot(self._process, self._registry)
                self._folder.write(self.name, msgspec.json.encode(snapshot))

    def close(self) -> None:
        """Write the last snapshot; what it counts is the sidecar's from now on."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(PUBLISH_EVERY.total_seconds())
        self.publish()
        with self._writing:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _run(self) -> None:
        while True:
            self.publish()
            if self._ended.wait(PUBLISH_EVERY.total_seconds()):
                return

    @contextmanager
    def _telling_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self._failed:
                _log.warning("the metrics of this process can't be published (%s)", type(error).__name__)
            self._failed = True
        else:
            self._failed = False


@contextmanager
def published_metrics(folder: Path, process: str) -> Iterator[Publisher]:
    """Publish this process's metrics within the block, its memory and processor time among them.

    Those of processes that have ended are added up first, so that their files don't gather where no sidecar runs.
    """
    # It reads what is written here.
    from penstock.workers.telemetry.exposition_reading import read_processes  # noqa: PLC0415

    with suppress(OSError):  # the publisher tells of it
        read_processes(folder)
    with measure_process(process):
        publisher = Publisher(folder, process)
        publisher.start()
        try:
            yield publisher
        finally:
            publisher.close()


def _is_published(metric: Metric) -> bool:
    return not metric.name.startswith(_LEFT_OUT) and metric.name not in SHARED


def _family(metric: Metric) -> Family:
    return Family(metric.name, metric.type, metric.documentation, [*_samples(metric.samples)])


def _samples(samples: Iterable[Sample]) -> Iterator[SnapshotSample]:
    for sample in samples:
        if sample.name.endswith("_created"):
            continue
        exemplar = sample.exemplar
        told = exemplar and (tuple(sorted(exemplar.labels.items())), exemplar.value, float(exemplar.timestamp or 0.0))
        yield SnapshotSample(sample.name, tuple(sorted(sample.labels.items())), float(sample.value), told or None)
