"""What is kept of a post between the runs of its job: `scheduled_posts.step`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from penstock.workers.platforms.platform import Prepared


@dataclass(frozen=True, slots=True)
class Notes:
    """How far the publication of a post has come.

    Attributes:
        state: the platform's own notes; only its module reads them.
        ready: all that is invisible is done.
        looks: how often the latest visible try was looked up and not found.
        doubts: visible tries that were not found and yet may have had their effect: no more than one is ever left.
    """

    state: Mapping[str, Any] = field(default_factory=dict)
    ready: bool = False
    looks: int = 0
    doubts: int = 0

    @classmethod
    def read(cls, step: Mapping[str, Any]) -> Self:
        """The notes of a post's row."""
        return cls(step.get("state", {}), step.get("ready", False), step.get("looks", 0), step.get("doubts", 0))

    def as_json(self) -> dict[str, Any]:
        """What is stored."""
        return {"state": dict(self.state), "ready": self.ready, "looks": self.looks, "doubts": self.doubts}

    def prepared(self, prepared: Prepared) -> Self:
        """After a step of preparation."""
        return replace(self, state=prepared.state, ready=prepared.ready)

    def unprepared(self) -> Self:
        """All that was prepared is void."""
        return replace(self, state={}, ready=False)
