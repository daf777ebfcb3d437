"""What needs a person, the most pressing first, each with its next step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.workers.health.report import Check, HealthReport, Status, worst_first

#: By what the path begins with, the longest ones first.
_LINKS = {
    "/dead-letters/groups/": "See the group",
    "/dead-letters": "See the dead letters",
    "/queues/": "See the queue",
    "/queues": "See the queues",
    "/circuits": "See circuits and limits",
    "/replays/": "See the replay",
    "/posts": "See the posts",
    "/accounts": "See the accounts",
}


@dataclass(frozen=True, slots=True)
class Need:
    """One thing.

    Attributes:
        severity: `critical`, `warning` or `info`.
        sentence: what it is.
        step: what to do about it, in a sentence or a few words.
        path: of the page that is about it; `/` where none is.
    """

    severity: str
    sentence: str
    step: str
    path: str

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"severity": self.severity, "sentence": self.sentence, "step": self.step, "path": self.path}

    @property
    def link(self) -> str:
        """A few words that lead to the page; empty where there is none."""
        return next((words for prefix, words in _LINKS.items() if self.path.startswith(prefix)), "")


_SEVERITIES = {Status.CRITICAL: "critical", Status.WARNING: "warning"}
_AWAY = {"postgresql": "PostgreSQL can't be reached", "redis": "Redis can't be reached"}


class Attention:
    """Tells what needs a person.

    Args:
        report: the report of now.
        further: other things that need one, such as groups of dead letters that nobody has looked at.
    """

    def __init__(
        self, report: Callable[[], HealthReport], further: Sequence[Callable[[], Sequence[Need]]] = ()
    ) -> None:
        self._report = report
        self._further = further

    def needs(self) -> list[Need]:
        """The list, empty where nothing needs anybody."""
        report = self._report()
        found = [_need(check) for check in worst_first(report.checks) if check.status in _SEVERITIES]
        queues = report.named("queues")
        paused = queues.facts.get("paused", ()) if queues is not None else ()
        found += [
            Need("info", f"The queue {told}", "Resume it when the reason has passed", "/queues") for told in paused
        ]
        for more in self._further:
            found += more()
        order = ("critical", "warning", "info")
        return sorted(found, key=lambda need: order.index(need.severity))


def _need(check: Check) -> Need:
    sentence = check.sentence or (_AWAY.get(check.name) if check.code else None) or check.told
    step = check.step or check.remedy or "See the check's own words"
    return Need(_SEVERITIES[check.status], f"{sentence[:1].upper()}{sentence[1:]}.", step, check.path)
