"""Replays as values: what an operator orders, and how far it has come."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import LetterState, plain

#: Letters that may be named one by one; more are chosen by a filter.
IDS_LIMIT = 1_000
CANARY_LIMIT = 1_000
PACE_LIMIT = 10_000.0


class ReplayStatus(StrEnum):
    """Where a replay stands."""

    PREPARING = "preparing"  # its letters are being noted
    CANARY = "canary"  # the first few are sent, and their outcomes awaited
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"  # by its stop rule
    CANCELLED = "cancelled"
    DONE = "done"

    @property
    def has_ended(self) -> bool:
        """Whether it sends nothing more, whatever is done to it."""
        return self in _ENDED


_ENDED = frozenset({ReplayStatus.STOPPED, ReplayStatus.CANCELLED, ReplayStatus.DONE})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What an operator wants replayed: named letters, or the open ones of a filter or a group.

    Attributes:
        ids: letters by id; with them there is no filter.
        group: a group's fingerprint; beside a filter both must hold.
        canary: so many are sent first, and the rest waits for their outcomes; 0 for none.
        pace_per_second: letters a second, after the canary.
        stop_share: it stops where a larger share of those that ended died again: 0 to 1, and 1 is never.
        by: who orders it.
    """

    by: str
    reason: str
    ids: tuple[UUID, ...] = ()
    group: str | None = None
    filter: LetterFilter | None = None
    canary: int = 5
    pace_per_second: float = 50.0
    stop_share: float = 0.2

    def selection(self) -> "Selection":
        """The letters that are meant.

        Raises:
            InvalidInputError: `REQUEST_USAGE` where the plan names nothing, both ids and a filter, too many ids,
                letters that are not open, or figures out of their bounds.
        """
        _require_bounds(self)
        if self.ids:
            return Selection(ids=_distinct(self.ids, names_more=self.group is not None or self.filter is not None))
        if self.group is None and self.filter is None:
            raise _refused("a replay needs ids, a group or a filter")
        chosen = self.filter if self.filter is not None else LetterFilter()
        if chosen.state not in {None, LetterState.OPEN} or chosen.became is not None:
            raise _refused("only open letters can be replayed; leave state and became out of the filter")
        if self.group is not None and chosen.group not in {None, self.group}:
            raise _refused("the filter names another group")
        return Selection(filter=replace(chosen, state=LetterState.OPEN, group=self.group or chosen.group))


def _require_bounds(plan: ReplayPlan) -> None:
    if not 0 <= plan.canary <= CANARY_LIMIT:
        raise _refused(f"a canary has 0 to {CANARY_LIMIT:,} letters, and not {plan.canary:,}")
    if not (math.isfinite(plan.pace_per_second) and 0.01 <= plan.pace_per_second <= PACE_LIMIT):
        raise _refused(f"the pace is 0.01 to {PACE_LIMIT:,.0f} letters a second, and not {plan.pace_per_second:g}")
    if not (math.isfinite(plan.stop_share) and 0 <= plan.stop_share <= 1):
        raise _refused(f"the stop rule is a share from 0 to 1, and not {plan.stop_share:g}")


def _distinct(ids: tuple[UUID, ...], *, names_more: bool) -> tuple[UUID, ...]:
    if names_more:
        raise _refused("name ids, or a group or filter, and not both")
    found = tuple(dict.fromkeys(ids))
    if len(found) > IDS_LIMIT:
        raise _refused(f"{len(found):,} ids; up to {IDS_LIMIT:,} can be named one by one, any number by a filter")
    return found


def _refused(told: str) -> InvalidInputError:
    return InvalidInputError(Code.REQUEST_USAGE, told)


@dataclass(frozen=True, slots=True)
class Selection:
    """Letters by id, or those that a filter means."""

    ids: tuple[UUID, ...] = ()
    filter: LetterFilter | None = None

    def outside(self) -> tuple[str, dict[str, Any]]:
        """The condition that ordered indexes answer, and its parameters."""
        if self.filter is None:
            return "dead_id = ANY(%(ids)s)", {"ids": list(self.ids)}
        condition, parameters = self.filter.where_outside()
        return condition or "true", parameters

    def inside(self) -> tuple[str, dict[str, Any]]:
        """The condition that looks into payloads and texts, and its parameters."""
        if self.filter is None:
            return "true", {}
        condition, parameters = self.filter.where_inside()
        return condition or "true", parameters

    def as_dict(self) -> dict[str, Any]:
        """The selection as a JSON object: `ids`, or the filter's parameters."""
        return {"ids": [str(one) for one in self.ids]} if self.filter is None else self.filter.as_dict()

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Selection":
        """Read what `as_dict` gave."""
        if "ids" in stored:
            return cls(ids=tuple(UUID(one) for one in stored["ids"]))
        return cls(filter=LetterFilter.parse(stored))


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay as it stands.

    Attributes:
        selection: the filter's parameters, or `ids`.
        total: letters of it; grows while it is preparing.
        sent: handed to their queues: those that are waiting, done or died again.
        skipped: somebody else had resolved them, or they can't be requeued.
        told: how it stands or ended, in a sentence.
    """

    replay_id: UUID
    created_at: datetime
    created_by: str
    reason: str
    selection: Mapping[str, Any] = field(repr=False)
    status: ReplayStatus
    canary: int
    pace_per_second: float
    stop_share: float
    total: int
    sent: int
    done: int
    died: int
    waiting: int
    skipped: int
    started_at: datetime | None
    ended_at: datetime | None
    told: str

    @property
    def unsent(self) -> int:
        """Letters that are not sent, and not skipped either."""
        return self.total - self.sent - self.skipped

    def as_dict(self) -> dict[str, Any]:
        """The replay as a JSON object: `replay_id` is `id`, instants are RFC 3339 in UTC."""
        named = {("id" if one.name == "replay_id" else one.name): getattr(self, one.name) for one in fields(self)}
        return {name: plain(value) for name, value in named.items()} | {
            "selection": dict(self.selection),
            "unsent": self.unsent,
        }


#: The columns of `penstock.replays` that make a `Replay`.
REPLAY_COLUMNS = ", ".join(one.name for one in fields(Replay))


def replay_of(row: Mapping[str, Any]) -> Replay:
    """A row of `REPLAY_COLUMNS`."""
    named = {one.name: row[one.name] for one in fields(Replay)}
    return Replay(**named | {"status": ReplayStatus(row["status"])})
