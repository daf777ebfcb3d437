"""Numbers of several processes made one: counters and histograms are summed, gauges go by their rule."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from penstock.workers.telemetry.metrics import GAUGE_RULES, Rule
from penstock.workers.telemetry.snapshots import Family, Snapshot, SnapshotSample

_log = logging.getLogger(__name__)

#: Series of one metric, buckets among them. Labels are few by design; this is for the one that is not.
SERIES_LIMIT = 5_000

Labels = tuple[tuple[str, str], ...]
_Exemplar = tuple[Labels, float, float]
#: What is only ever added to, so that it outlives its process.
_SUMMED = frozenset({"counter", "histogram"})


@dataclass(slots=True)
class Merged:
    """One metric of several processes: value and latest exemplar by name and labels of the sample."""

    name: str
    type: str
    told: str
    series: dict[tuple[str, Labels], tuple[float, _Exemplar | None]] = field(default_factory=dict)
    dropped: int = 0

    def add(self, sample: SnapshotSample, rule: Rule) -> None:
        """Add what one process says of a series."""
        key = (sample.name, sample.labels)
        known = self.series.get(key)
        if known is None:
            if len(self.series) >= SERIES_LIMIT:
                self.dropped += 1
                return
            self.series[key] = (sample.value, sample.exemplar)
            return
        value, exemplar = known
        if sample.exemplar is not None and (exemplar is None or sample.exemplar[2] >= exemplar[2]):
            exemplar = sample.exemplar
        self.series[key] = (_together(value, sample.value, rule), exemplar)

    def in_order(self) -> Iterator[tuple[tuple[str, Labels], tuple[float, _Exemplar | None]]]:
        """Series by their labels; of a histogram the buckets by their bounds, then count and sum."""
        yield from sorted(self.series.items(), key=lambda item: _order(*item[0]))

    def as_family(self) -> Family:
        """As a snapshot has it."""
        samples = [SnapshotSample(name, labels, *told) for (name, labels), told in self.in_order()]
        return Family(self.name, self.type, self.told, samples)


def merge(living: Sequence[Snapshot], ended: Sequence[Snapshot] = ()) -> list[Merged]:
    """Each metric of processes that live, and of what ended ones have counted."""
    merged: dict[str, Merged] = {}
    kept = [family for snapshot in ended for family in snapshot.families if family.type in _SUMMED]
    # The latest last: its word is that of gauges which go by the most recent.
    for snapshot in sorted(living, key=lambda one: one.at):
        kept += snapshot.families
    for family in kept:
        into = merged.setdefault(family.name, Merged(family.name, family.type, family.told))
        if into.type == family.type:  # another release may have changed its mind
            _add_all(into, family)
    for metric in merged.values():
        if metric.dropped:
            _log.error("%s has more than %d series; %d are left out", metric.name, SERIES_LIMIT, metric.dropped)
    return list(merged.values())


def fold(ended: Snapshot | None, gone: Iterable[Snapshot], names: list[str], at: float) -> Snapshot:
    """What ended processes have counted, with those that have ended since. `names` are the files of these."""
    all_of_them = [*([ended] if ended else []), *gone]
    families = [metric.as_family() for metric in merge((), all_of_them)]
    return Snapshot("ended", at, families, names)


def _add_all(into: Merged, family: Family) -> None:
    rule = Rule.SUM if family.type in _SUMMED else GAUGE_RULES.get(family.name, Rule.SUM)
    for sample in family.samples:
        into.add(sample, rule)


def _together(one: float, other: float, rule: Rule) -> float:
    if rule is Rule.MAX:
        return max(one, other)
    return other if rule is Rule.MOST_RECENT else one + other


def _order(name: str, labels: Labels) -> tuple[Labels, int, float, str]:
    bound = next((value for label, value in labels if label == "le"), None)
    if bound is None or not name.endswith("_bucket"):
        return labels, 1, 0.0, name
    others = tuple(pair for pair in labels if pair[0] != "le")
    return others, 0, float(bound), name
