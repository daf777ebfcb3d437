"""The one sentence of a report, for a person who was just woken."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from penstock.workers.health.report import Check, Status, worst_first

ALL_WELL = "All well."
_NAMES = {"postgresql": "PostgreSQL", "redis": "Redis"}


def sentence_of(checks: Sequence[Check], away_since: Mapping[str, datetime | None], waiting: int | None) -> str:
    """Say how it is.

    Args:
        checks: all of them.
        away_since: since when a server is away, by its check's name, where that is known.
        waiting: jobs that wait, as far as is known.
    """
    # A server whose own check failed with an error does not answer; one that only is slow has no code.
    away = [check.name for check in checks if check.name in _NAMES and check.status is Status.CRITICAL and check.code]
    if away:
        return _of_away(away, away_since, waiting)
    wanting = [check for check in worst_first(checks) if check.status.weight > Status.UNKNOWN.weight]
    if not wanting:
        return ALL_WELL
    first = wanting[0].sentence or wanting[0].told
    more = len(wanting) - 1
    rest = "" if not more else " One more thing wants a look." if more == 1 else f" {more} more things want a look."
    return f"{first[:1].upper()}{first[1:]}.{rest}"


def _of_away(away: Sequence[str], away_since: Mapping[str, datetime | None], waiting: int | None) -> str:
    names = " and ".join(_NAMES[name] for name in away)
    begun = min((known for name in away if (known := away_since.get(name)) is not None), default=None)
    since = f" since {begun:%H:%M} UTC" if begun is not None else ""
    jobs = "jobs" if waiting is None else "1 job" if waiting == 1 else f"{waiting:,} jobs"
    wait = f"{jobs} wait{'s' if waiting == 1 else ''}"
    if "redis" in away:
        back = "they are" if len(away) > 1 else "it is"
        return f"{names} can't be reached{since}; {wait}, and none runs until {back} back."
    return f"{names} can't be reached{since}; {wait}. Nothing is lost."
