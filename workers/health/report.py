"""What a look at the deployment found, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How something is; the report is as its worst check."""

    HEALTHY = "HEALTHY"
    #: It could not be looked at, since what it is asked of does not answer; that one's own check says so.
    UNKNOWN = "UNKNOWN"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"

    @property
    def weight(self) -> int:
        """The worse, the greater; what is unknown makes nothing worse."""
        return (Status.HEALTHY, Status.UNKNOWN, Status.WARNING, Status.CRITICAL).index(self)


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: of the check.
        status: how it is.
        told: in words for an operator.
        seconds: how long the look took.
        value, threshold: what was measured and where a warning begins, in `unit`; None where there is no number.
        code, remedy: where it could not be looked at, or is CRITICAL by an error.
        sentence: what needs a person, as part of a sentence; None where nothing does.
        step, path: what to do next, and the page for it.
        facts: further numbers by name.
    """

    name: str
    status: Status
    told: str
    seconds: float = 0.0
    value: float | None = None
    threshold: float | None = None
    unit: str | None = None
    code: str | None = None
    remedy: str | None = None
    sentence: str | None = None
    step: str = ""
    path: str = "/"
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """False where it is CRITICAL, or could not be looked at."""
        return self.status in (Status.HEALTHY, Status.WARNING)

    def as_dict(self) -> dict[str, Any]:
        """The check as commands and endpoints show it."""
        value: dict[str, Any] = {
            "name": self.name,
            "status": str(self.status),
            "healthy": self.healthy,
            "message": self.told,
            "seconds": round(self.seconds, 4),
            "value": None if self.value is None else round(self.value, 4),
            "threshold": self.threshold,
            "unit": self.unit,
        }
        return value | ({"code": self.code, "remedy": self.remedy} if self.code else {})


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks at one time. `sentence` is for a person in a hurry."""

    status: Status
    sentence: str
    checks: Sequence[Check]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def reasons(self) -> list[str]:
        """Why it is not HEALTHY, the worst first."""
        return [f"{check.name}: {check.told}" for check in worst_first(self.checks) if check.status.weight > 1]

    def named(self, name: str) -> Check | None:
        """The check of that name."""
        return next((check for check in self.checks if check.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "status": str(self.status),
            "sentence": self.sentence,
            "healthy": self.status is not Status.CRITICAL,
            "at": self.at.isoformat(timespec="milliseconds"),
            "reasons": self.reasons,
            "checks": [check.as_dict() for check in self.checks],
        }

    def for_outsiders(self) -> dict[str, Any]:
        """What anybody may see: statuses and names, and no words of a server's."""
        checks = [{"name": check.name, "status": str(check.status)} for check in self.checks]
        return {"status": str(self.status), "checks": checks}


def worst_first(checks: Sequence[Check]) -> list[Check]:
    """The checks, worst first, else in their order."""
    return sorted(checks, key=lambda check: -check.status.weight)


def worst(checks: Sequence[Check]) -> Status:
    """How all of it is: as its worst check; HEALTHY where nothing worse than unknown was found."""
    found = max((check.status for check in checks), key=lambda status: status.weight, default=Status.HEALTHY)
    return Status.HEALTHY if found is Status.UNKNOWN else found
