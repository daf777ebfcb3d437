"""What operators did."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from penstock.workers.database.operator_actions import ActionFilter, ActionLog
from penstock.workers.sidecar.access.require import AsViewer
from penstock.workers.sidecar.api.bodies import Shown
from penstock.workers.sidecar.services import ServicesOf

router = APIRouter(prefix="/api/v1", tags=["audit"])

Word = Annotated[str | None, Query(max_length=1_000)]


class Action(BaseModel):
    """One thing that an operator did."""

    id: UUID
    at: datetime
    actor: str
    action: str
    target: str
    reason: str
    details: dict[str, Any]
    recorded_at: datetime


class Actions(Shown):
    """A page of actions, the newest first."""

    items: list[Action]
    next: str | None


@router.get("/audit", response_model=Actions)
def list_actions(
    services: ServicesOf,
    _viewer: AsViewer,
    actor: Word = None,
    action: Annotated[str | None, Query(max_length=200, description="with a dot at its end a family: queue.")] = None,
    target: Word = None,
    text: Word = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> dict[str, object]:
    """Actions that are recorded; what was done in Redis stands here some 2 s later."""
    wanted = ActionFilter(actor=actor, action=action, target=target, text=text)
    log = ActionLog(services.pool)
    answer = services.known.read(("audit", wanted, limit, cursor), lambda: log.list(wanted, limit=limit, cursor=cursor))
    page = answer.value
    return {"items": [item.as_dict() for item in page.items], "next": page.next, **answer.as_dict()}
