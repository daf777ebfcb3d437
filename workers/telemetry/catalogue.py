"""The table of all metrics, as the documentation shows it."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase

from penstock.workers.telemetry import metrics
from penstock.workers.telemetry.exposition import process_families
from penstock.workers.telemetry.exposition_reading import Processes
from penstock.workers.telemetry.metrics import GAUGE_RULES, SHARED, Rule
from penstock.workers.telemetry.pool import measure_pool
from penstock.workers.telemetry.process import measure_process
from penstock.workers.telemetry.snapshots import Snapshot


def metric_rows() -> list[str]:
    """A row of Markdown for each metric, by name: name, labels, type, what becomes of several processes', meaning."""
    rows = {name: _row(name, shared.labels, shared.type, "shared", shared.told) for name, shared in SHARED.items()}
    for metric, labels in _of_processes():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        if name not in rows:
            rows[name] = _row(name, labels, metric.type, _together(metric), metric.documentation)
    return [row for _, row in sorted(rows.items())]


def _of_processes() -> Iterator[tuple[Metric, tuple[str, ...]]]:
    for found in vars(metrics).values():
        if isinstance(found, MetricWrapperBase):
            (described,) = found.describe()
            yield described, tuple(found._labelnames)  # noqa: SLF001  told nowhere else
    registry = CollectorRegistry()
    end = measure_pool(_NoPool(), registry)
    with measure_process("worker", registry):
        for metric in registry.collect():
            yield metric, tuple(metric.samples[0].labels)
    end()
    for metric in process_families(Processes([Snapshot("worker", 0.0, [])], None), 0.0):
        yield metric, tuple(metric.samples[0].labels)


class _NoPool:
    def get_stats(self) -> dict[str, int]:
        return {}


def _together(metric: Metric) -> str:
    return str(GAUGE_RULES.get(metric.name, Rule.SUM)) if metric.type == "gauge" else "sum"


def _row(name: str, labels: Any, kind: str, together: str, told: str) -> str:
    shown = ", ".join(f"`{label}`" for label in labels)
    return f"| `{name}` | {shown} | {kind} | {together} | {told} |"
