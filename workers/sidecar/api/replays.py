"""Replays: ordered, looked at, paused, resumed, cancelled."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.replay import CANARY_LIMIT, IDS_LIMIT, PACE_LIMIT, ReplayPlan
from penstock.workers.sidecar.access.require import AsOperator, AsViewer
from penstock.workers.sidecar.api.bodies import Body, Reason, ReasonText, Shown
from penstock.workers.sidecar.api.letter_bodies import FilterBody, LetterOf
from penstock.workers.sidecar.services import ServicesOf

router = APIRouter(prefix="/api/v1", tags=["replays"])

_REPLAY: dict[str, Any] = {
    "id": "0d0f0a4e-3c1b-4a52-9d3e-6f1f0f6e7b11",
    "created_at": "2026-11-21T03:20:00Z",
    "created_by": "mara",
    "reason": "the form is there now",
    "selection": {"code": "FORM_NOT_FOUND", "state": "open"},
    "status": "running",
    "canary": 5,
    "pace_per_second": 50.0,
    "stop_share": 0.2,
    "total": 1_000,
    "sent": 64,
    "done": 52,
    "died": 2,
    "waiting": 10,
    "skipped": 0,
    "unsent": 936,
    "started_at": "2026-11-21T03:20:01Z",
    "ended_at": None,
    "told": "52 of 1,000 are done; 2 died again.",
}


class ReplayOf(BaseModel):
    """A replay as it stands."""

    model_config = ConfigDict(json_schema_extra={"example": _REPLAY})

    id: UUID
    created_at: datetime
    created_by: str
    reason: str
    selection: dict[str, Any]
    status: str = Field(description="preparing, canary, running, paused, stopped, cancelled or done")
    canary: int
    pace_per_second: float
    stop_share: float
    total: int
    sent: int
    done: int
    died: int
    waiting: int
    skipped: int
    unsent: int
    started_at: datetime | None
    ended_at: datetime | None
    told: str


class ReplaysPage(Shown):
    """A page of replays, the newest first."""

    items: list[ReplayOf]
    next: str | None


class HeldOf(BaseModel):
    """A gate that would hold letters now."""

    gate: str
    reason: str
    until: datetime | None
    letters: int


class UpcastOf(BaseModel):
    """Letters of an earlier version of their payload."""

    kind: str
    version: int
    present: int
    letters: int
    refused: str | None


class DryRunOf(BaseModel):
    """What a replay would do now; nothing was sent."""

    dry_run: bool = True
    count: int
    exact: bool = Field(description="false where there are more; the figures are of so many then")
    by_code: dict[str, int]
    by_kind: dict[str, int]
    oldest: datetime | None
    sample: list[LetterOf]
    held: list[HeldOf]
    gates_known: bool
    upcasts: list[UpcastOf]
    refused: dict[str, int] = Field(description="why letters can't be requeued, and how many")


class NewReplay(Body):
    """Letters by id, group or filter (the parameters that the list takes), and how they are to be sent."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"filter": {"code": "FORM_NOT_FOUND"}, "reason": "the form is there now"}},
    )

    ids: list[UUID] | None = Field(default=None, min_length=1, max_length=IDS_LIMIT)
    group: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    filter: FilterBody | None = None
    canary: int = Field(default=5, ge=0, le=CANARY_LIMIT, strict=True)
    pace_per_second: float = Field(default=50.0, ge=0.01, le=PACE_LIMIT, strict=True)
    stop_share: float = Field(default=0.2, ge=0, le=1, strict=True)
    reason: ReasonText
    dry_run: bool = Field(default=False, strict=True)


@router.post("/replays", status_code=201, response_model=ReplayOf | DryRunOf, responses={200: {"model": DryRunOf}})
def order(body: NewReplay, services: ServicesOf, operator: AsOperator, response: Response) -> dict[str, object]:
    """Order a replay of letters that are open; with `dry_run` tell what it would do, and send nothing."""
    plan = ReplayPlan(
        by=operator.name,
        reason=body.reason,
        ids=tuple(body.ids or ()),
        group=body.group,
        filter=None if body.filter is None else LetterFilter.parse(body.filter, also=()),
        canary=body.canary,
        pace_per_second=body.pace_per_second,
        stop_share=body.stop_share,
    )
    if body.dry_run:
        response.status_code = 200
        return {"dry_run": True, **services.replays.dry_run(plan).as_dict()}
    return services.replays.start(plan).as_dict()


@router.get("/replays", response_model=ReplaysPage)
def list_replays(
    services: ServicesOf,
    _viewer: AsViewer,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=1_000)] = None,
) -> dict[str, object]:
    """All replays, the newest first."""
    answer = services.known.read(("replays", limit, cursor), lambda: services.replays.list(limit, cursor))
    return {"items": [one.as_dict() for one in answer.value.items], "next": answer.value.next, **answer.as_dict()}


@router.get("/replays/{replay_id}", response_model=ReplayOf)
def show_replay(replay_id: UUID, services: ServicesOf, _viewer: AsViewer) -> dict[str, object]:
    """A replay as it stands."""
    return services.replays.show(replay_id).as_dict()


@router.post("/replays/{replay_id}/pause", response_model=ReplayOf)
def pause(replay_id: UUID, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Send nothing more for now; what was sent goes on."""
    return services.replays.pause(replay_id, operator.name, body.reason).as_dict()


@router.post("/replays/{replay_id}/resume", response_model=ReplayOf)
def resume(replay_id: UUID, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Go on with a paused replay where it was."""
    return services.replays.resume(replay_id, operator.name, body.reason).as_dict()


@router.post("/replays/{replay_id}/cancel", response_model=ReplayOf)
def cancel(replay_id: UUID, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Send nothing more, ever; what was sent goes on, and the others stay open."""
    return services.replays.cancel(replay_id, operator.name, body.reason).as_dict()
