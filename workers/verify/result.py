"""What a verification found, as values."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from penstock.schemas.errors import PenstockError


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    #: There was nothing to look at here, or what it asks does not answer, which another check tells.
    SKIPPED = "skipped"
    WARN = "warn"
    FAIL = "fail"

    @property
    def weight(self) -> int:
        """The worse, the greater."""
        return (Outcome.OK, Outcome.SKIPPED, Outcome.WARN, Outcome.FAIL).index(self)


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found.

    Attributes:
        name: of the check.
        outcome: how it ended.
        told: what was found, or why it was skipped, in words; no secret and no row.
        remedy: what to do; None where nothing is to be done.
        code: of the error that it failed by, where that has one.
        seconds: how long it took.
    """

    name: str
    outcome: Outcome
    told: str
    remedy: str | None = None
    code: str | None = None
    seconds: float = 0.0

    @classmethod
    def ok(cls, name: str, told: str) -> Self:
        """All is well."""
        return cls(name, Outcome.OK, told)

    @classmethod
    def skipped(cls, name: str, told: str) -> Self:
        """There was nothing to look at."""
        return cls(name, Outcome.SKIPPED, told)

    @classmethod
    def warn(cls, name: str, told: str, remedy: str) -> Self:
        """It works, and wants a look."""
        return cls(name, Outcome.WARN, told, remedy)

    @classmethod
    def fail(cls, name: str, told: str, remedy: str) -> Self:
        """It has to be mended."""
        return cls(name, Outcome.FAIL, told, remedy)

    @classmethod
    def of_error(cls, name: str, error: PenstockError) -> Self:
        """It failed by an error of ours, whose words quote no value."""
        return cls(name, Outcome.FAIL, error.message, error.remedy, str(error.code))

    def after(self, seconds: float) -> Self:
        """The same, with how long it took."""
        return replace(self, seconds=seconds)

    def as_dict(self) -> dict[str, Any]:
        """The result as a JSON object."""
        value: dict[str, Any] = {
            "name": self.name,
            "outcome": str(self.outcome),
            "message": self.told,
            "remedy": self.remedy,
            "seconds": round(self.seconds, 3),
        }
        return value | ({"code": self.code} if self.code else {})


@dataclass(frozen=True, slots=True)
class Verification:
    """All results, in the order of the checks, and how long it took as a whole."""

    results: Sequence[Result]
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """The worst of them; what was skipped makes nothing worse."""
        found = max((result.outcome for result in self.results), key=lambda one: one.weight, default=Outcome.OK)
        return Outcome.OK if found is Outcome.SKIPPED else found

    @property
    def counts(self) -> dict[str, int]:
        """How many ended in each way."""
        counted = Counter(result.outcome for result in self.results)
        return {str(outcome): counted[outcome] for outcome in Outcome}

    def as_dict(self) -> dict[str, Any]:
        """The verification as a JSON object."""
        return {
            "outcome": str(self.outcome),
            "seconds": round(self.seconds, 3),
            "counts": self.counts,
            "checks": [result.as_dict() for result in self.results],
        }
