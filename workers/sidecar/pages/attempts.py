"""A job's history as a timeline, and the traceback of its last failure with our own frames marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: Entries of one history that a page shows: the first and the last ones.
SHOWN = 40


@dataclass(frozen=True, slots=True)
class Attempt:
    """An entry of a history. `left_out` entries that are not shown stand before it."""

    at: datetime | None
    entry: Mapping[str, Any]
    left_out: int = 0

    def told(self, name: str) -> str:
        """A fact of the entry as text; empty where it has none."""
        value = self.entry.get(name)
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Frame:
    """A line of a traceback. `is_ours` where it is in the project's or its user's own code."""

    text: str
    is_ours: bool


def attempts_of(detail: Any) -> list[Attempt]:
    """What happened to a letter's job, oldest first."""
    entries = [entry for entry in detail.history if isinstance(entry, Mapping)]
    over = len(entries) - SHOWN
    if over <= 0:
        return [_attempt(entry) for entry in entries]
    half = SHOWN // 2
    first_of_rest = entries[len(entries) - half]
    return [
        *(_attempt(entry) for entry in entries[:half]),
        Attempt(_at(first_of_rest), first_of_rest, over),
        *(_attempt(entry) for entry in entries[len(entries) - half + 1 :]),
    ]


def _attempt(entry: Mapping[str, Any]) -> Attempt:
    return Attempt(_at(entry), entry)


def _at(entry: Mapping[str, Any]) -> datetime | None:
    value = entry.get("at")
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value / 1000, UTC)
        found = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def last_traceback(history: Sequence[Any]) -> list[Frame]:
    """The frames of the last entry that has any, outermost first."""
    for entry in reversed(history):
        if isinstance(entry, Mapping) and entry.get("traceback"):
            return _frames(entry["traceback"], entry.get("own"))
    return []


def _frames(traceback: Any, own: Any) -> list[Frame]:
    lines = traceback if isinstance(traceback, list) else str(traceback).splitlines()
    return [Frame(str(line), _is_own(at, own)) for at, line in enumerate(lines)]


def _is_own(at: int, own: Any) -> bool:
    """`own` is a list of positions, or a flag for each frame."""
    if not isinstance(own, list) or not own:
        return False
    if all(isinstance(mark, bool) for mark in own):
        return at < len(own) and bool(own[at])
    return at in own
