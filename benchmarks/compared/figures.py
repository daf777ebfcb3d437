"""What is made of measurements: medians, ratios of medians, and how far the rounds' own ratios lie apart."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: By who was measured: a figure for each round.
Values = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, and the least and the most that a round gave."""

    value: float
    low: float
    high: float


def median(values: Sequence[float]) -> Figure:
    """The median of rounds.

    Raises:
        statistics.StatisticsError: there are none.
    """
    return Figure(statistics.median(values), min(values), max(values))


def ratio(own: Sequence[float], other: Sequence[float]) -> Figure:
    """The ratio of the medians; its spread is that of rounds, each against the other's same round."""
    rounds = [one / another for one, another in zip(own, other, strict=False)]
    return Figure(statistics.median(own) / statistics.median(other), min(rounds), max(rounds))


def best(values: Values, names: Sequence[str]) -> str | None:
    """Who of `names` has the highest median; None where none of them was measured."""
    measured = [name for name in names if values.get(name)]
    return max(measured, key=lambda name: statistics.median(values[name])) if measured else None
