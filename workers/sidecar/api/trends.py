"""What the last minutes brought."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from penstock.workers.sidecar.access.require import AsViewer
from penstock.workers.sidecar.api.bodies import Shown
from penstock.workers.sidecar.services import ServicesOf

router = APIRouter(prefix="/api/v1", tags=["trends"])


class Minute(BaseModel):
    """A queue at the end of a minute, and what that minute brought."""

    at: datetime
    queue: str
    seconds: float = Field(description="60, or more where no scheduler noted the minutes before")
    enqueued: int
    done: int
    retried: int
    postponed: int
    dead: int
    wait_seconds_mean: float | None
    busy_seconds: float
    ready: int
    scheduled: int
    leased: int
    parked: int
    oldest_seconds: float | None


class Minutes(Shown):
    """The minutes of all queues, the oldest first."""

    items: list[Minute]


@router.get("/trends", response_model=Minutes)
def trends(
    services: ServicesOf, _viewer: AsViewer, minutes: Annotated[int, Query(ge=1, le=1_440)] = 60
) -> dict[str, object]:
    """Each of the last minutes, by queue."""
    answer = services.known.read(("trends", minutes), lambda: services.trends.read(minutes))
    return {"items": [item.as_dict() for item in answer.value], **answer.as_dict()}
