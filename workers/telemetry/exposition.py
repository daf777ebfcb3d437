"""The metrics of all processes of a machine together, as Prometheus reads them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from penstock.workers.telemetry.exposition_merge import Merged, merge
from penstock.workers.telemetry.exposition_reading import Processes


@dataclass(frozen=True, slots=True)
class _Families(Collector):
    families: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


def process_families(processes: Processes, now: float) -> Iterator[Metric]:
    """The metrics of processes that live and of those that have ended, and how many live and how old their word is.

    Args:
        processes: as they were read.
        now: seconds since 1970.
    """
    ended = [processes.ended] if processes.ended else []
    for family in merge(processes.living, ended):
        yield _metric(family)
    living = GaugeMetricFamily("penstock_processes", "Processes of this machine that live, by kind", labels=["process"])
    age = GaugeMetricFamily(
        "penstock_process_snapshot_age_seconds",
        "Age of the oldest word of a living process; more than some seconds where it is frozen",
        labels=["process"],
    )
    kinds = sorted({snapshot.process for snapshot in processes.living})
    for kind in kinds:
        told = [snapshot.at for snapshot in processes.living if snapshot.process == kind]
        living.add_metric([kind], len(told))
        age.add_metric([kind], max(0.0, now - min(told)))
    unreadable = GaugeMetricFamily(
        "penstock_process_snapshots_unreadable",
        "Files of processes that this release can't read",
        value=processes.unreadable,
    )
    yield from (living, age, unreadable)


def render(families: Iterable[Metric], accept: str | None) -> tuple[bytes, str]:
    """The text of an answer to `Accept`, OpenMetrics where that is asked for, and its Content-Type."""
    encode, content_type = choose_encoder(accept or "")
    return encode(_Families(sorted(families, key=lambda family: family.name))), content_type


def _metric(family: Merged) -> Metric:
    metric = Metric(family.name, family.told, family.type)
    for (name, labels), (value, exemplar) in family.in_order():
        told = exemplar and Exemplar(dict(exemplar[0]), exemplar[1], exemplar[2] or None)
        metric.samples.append(Sample(name, dict(labels), value, None, told or None))
    return metric
