"""Memory and processor time of this process, read when somebody asks."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from penstock.workers.telemetry.allowance import memory_limit_bytes, processor_limit_cores

_STATM = Path("/proc/self/statm")
_DESCRIPTORS = Path("/proc/self/fd")


class _ProcessCollector(Collector):
    def __init__(self, process: str) -> None:
        self._process = process
        self._started_at = time.time()
        self._memory_limit = memory_limit_bytes()
        self._cpu_limit = processor_limit_cores()

    def collect(self) -> Iterator[Metric]:
        memory = float(_resident_bytes())
        spent = resource.getrusage(resource.RUSAGE_SELF)
        yield self._gauge("resident_memory_bytes", "Memory that processes of a kind hold", memory)
        yield self._gauge("largest_resident_memory_bytes", "Memory that the largest process of a kind holds", memory)
        told = "Memory that a process of a kind may hold: its control group's limit, or the machine's memory"
        yield self._gauge("memory_limit_bytes", told, self._memory_limit)
        yield self._gauge("cpu_limit_cores", "Processors that a process of a kind may keep busy", self._cpu_limit)
        yield self._gauge("open_fds", "Files and connections that processes of a kind have open", _open_descriptors())
        yield self._gauge("started_timestamp_seconds", "When the youngest process of a kind began", self._started_at)
        family = CounterMetricFamily(
            "penstock_process_cpu_seconds", "Processor time that processes of a kind have spent", labels=["process"]
        )
        family.add_metric([self._process], spent.ru_utime + spent.ru_stime)
        yield family

    def _gauge(self, name: str, told: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"penstock_process_{name}", told, labels=["process"])
        family.add_metric([self._process], value)
        return family


def _resident_bytes() -> int:
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no /proc: the most that it ever had, in KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _open_descriptors() -> float:
    try:
        # Closed at once, whatever is raised; and less the one that the look itself takes.
        with os.scandir(_DESCRIPTORS) as found:
            return float(sum(1 for _ in found) - 1)
    except OSError:
        return 0.0


@contextmanager
def measure_process(process: str, registry: CollectorRegistry = REGISTRY) -> Iterator[None]:
    """Tell memory and processor time as metrics with the label `process` within the block."""
    collector = _ProcessCollector(process)
    registry.register(collector)
    try:
        yield
    finally:
        registry.unregister(collector)
