"""What the comparison is to show: each goal's figure, from the results, its floor and whether it is met."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.compared.figures import Figure, Values, best, median, ratio

#: By part: `values` by who was measured.
Parts = Mapping[str, Mapping[str, Any]]
#: Systems that lose nothing when a worker is killed.
AT_LEAST_ONCE = ("dramatiq", "celery", "rq", "arq", "saq", "taskiq", "procrastinate")
_AT_LEAST_ONCE_TINY = (*AT_LEAST_ONCE, "dramatiq_4", "rq_bulk", "procrastinate_bulk")


@dataclass(frozen=True, slots=True)
class Goal:
    """One of them. `figure` is None where what it needs was not measured; `most` where less is better."""

    text: str
    figure: Callable[[Parts], Figure | None]
    floor: float
    goal: float
    most: bool = False

    def verdict(self, found: Figure) -> str:
        """How the figure compares."""
        if self._reached(found.value, self.goal):
            return "goal met"
        return "floor met" if self._reached(found.value, self.floor) else "missed"

    def _reached(self, value: float, bar: float) -> bool:
        return value <= bar if self.most else value >= bar


def _values(parts: Parts, part: str) -> Values:
    found: Values = parts.get(part, {}).get("values", {})
    return found


def _against(part: str, own: str, other: str) -> Callable[[Parts], Figure | None]:
    def find(parts: Parts) -> Figure | None:
        values = _values(parts, part)
        return ratio(values[own], values[other]) if values.get(own) and values.get(other) else None

    return find


def _against_best(part: str, own: str, names: tuple[str, ...]) -> Callable[[Parts], Figure | None]:
    def find(parts: Parts) -> Figure | None:
        values = _values(parts, part)
        found = best(values, names)
        return ratio(values[own], values[found]) if found and values.get(own) else None

    return find


def _pick_up(which: Callable[[Figure], float]) -> Callable[[Parts], Figure | None]:
    def find(parts: Parts) -> Figure | None:
        values = _values(parts, "e").get("penstock")
        if not values:
            return None
        found = median(values)
        return Figure(which(found), found.low, found.high)

    return find


GOALS = (
    Goal("(a) rows/s ÷ COPY in text, one connection", _against("a", "penstock", "copy_text"), 1.0, 1.25),
    Goal("(a) rows/s ÷ COPY in text, two connections", _against("a", "penstock", "copy_text_2"), 0.6, 0.75),
    Goal("(a) rows/s ÷ plain dramatiq, same SQL", _against("a", "penstock", "dramatiq"), 1.5, 1.9),
    Goal("(a) rows/s ÷ best at-least-once system", _against_best("a", "penstock", AT_LEAST_ONCE), 1.35, 1.7),
    Goal("(a) rows/s ÷ Celery", _against("a", "penstock", "celery"), 2.7, 3.5),
    Goal("(a) rows/s ÷ dramatiq as most people write it", _against("a", "penstock", "usual"), 3, 4),
    Goal("(b) tiny jobs in bulk ÷ plain dramatiq", _against("b", "penstock_bulk", "dramatiq"), 6, 10),
    Goal(
        "(b) tiny jobs in bulk ÷ best at-least-once system",
        _against_best("b", "penstock_bulk", _AT_LEAST_ONCE_TINY),
        8,
        15,
    ),
    Goal("(b) tiny jobs one by one ÷ plain dramatiq", _against("b", "penstock", "dramatiq"), 2, 3),
    Goal("(d) `enqueue_many` of 100 ÷ plain sends of dramatiq", _against("d", "penstock_bulk", "dramatiq"), 8, 15),
    Goal("(e) pick-up on an idle queue, median, ms", _pick_up(lambda found: found.value), 5, 2, most=True),
    Goal("(e) pick-up on an idle queue, longest, ms", _pick_up(lambda found: found.high), 20, 10, most=True),
    Goal("(f) gateway ÷ (a) in the same round", _against("f", "gateway", "penstock"), 0.6, 0.8),
    Goal("bytes in Redis a row ÷ JSON in plain dramatiq", _against("bytes", "penstock", "usual"), 0.25, 0.2, most=True),
)


def judged(parts: Parts) -> list[dict[str, Any]]:
    """Every goal with its figure, as the results' file keeps it."""
    rows = []
    for goal in GOALS:
        found = goal.figure(parts)
        row: dict[str, Any] = {"goal": goal.text, "floor": goal.floor, "aim": goal.goal, "most": goal.most}
        if found is not None:
            row |= {"figure": found.value, "low": found.low, "high": found.high, "verdict": goal.verdict(found)}
        rows.append(row)
    return rows
