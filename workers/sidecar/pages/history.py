"""The minutes that were noted, as figures for charts: a value for each five minutes of the last six hours."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from penstock.workers.sidecar.pages.needs import Figures

SPAN = timedelta(hours=6)
STEP = timedelta(minutes=5)
#: Over how long a queue's rate is taken.
RATE_OVER = timedelta(minutes=10)


def figures_of(items: Sequence[Any], now: datetime, posts: Sequence[Any] = ()) -> Figures:
    """Figures of trend items, of one queue or of several, and of points of posts; what was not noted is None."""
    steps = _steps(items, now)
    return Figures(
        done_per_minute=[_of(step, _rate) for step in steps],
        oldest_seconds=[_of(step, lambda found: max(item.oldest_seconds or 0.0 for item in found)) for step in steps],
        dead=[_of(step, lambda found: float(sum(item.dead for item in found))) for step in steps],
        lateness_seconds=[_late(step) for step in _steps(posts, now)],
    )


def _steps(items: Sequence[Any], now: datetime) -> list[list[Any]]:
    steps: list[list[Any]] = [[] for _ in range(SPAN // STEP)]
    for item in items:
        at = len(steps) - 1 - int((now - item.at) / STEP)
        if 0 <= at < len(steps):
            steps[at].append(item)
    return steps


def _late(points: list[Any]) -> float | None:
    """The worst minute's: percentiles of several minutes can't be added up."""
    return max((point.late_p95 for point in points if point.late_p95 is not None), default=None)


def rates_of(items: Sequence[Any], now: datetime) -> dict[str, float]:
    """Jobs done a minute by queue, over the last minutes that were noted."""
    lately: dict[str, list[Any]] = {}
    for item in items:
        if now - item.at <= RATE_OVER:
            lately.setdefault(item.queue, []).append(item)
    return {queue: _rate(found) for queue, found in lately.items()}


def _of(step: list[Any], told: Callable[[list[Any]], float]) -> float | None:
    return told(step) if step else None


def _rate(items: list[Any]) -> float:
    """Done a minute, all queues together: minutes of several queues are the same minutes."""
    seconds: dict[str, float] = {}
    for item in items:
        seconds[item.queue] = seconds.get(item.queue, 0.0) + item.seconds
    longest = max(seconds.values(), default=0.0)
    return sum(item.done for item in items) * 60 / longest if longest else 0.0
