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


class PostsMinute(BaseModel):
    """The posts that went out within a minute, and how far behind their instants."""

    at: datetime = Field(description="its end")
    published: int
    lateness_seconds_p95: float | None
    lateness_seconds_max: float | None


class Minutes(Shown):
    """The minutes of all queues, the oldest first; and those of posts."""

    items: list[Minute]
    posts: list[PostsMinute]


@router.get("/trends", response_model=Minutes)
def trends(
    services: ServicesOf, _viewer: AsViewer, minutes: Annotated[int, Query(ge=1, le=1_440)] = 60
) -> dict[str, object]:
    """Each of the last minutes, by queue; and the posts that went out in it."""
    answer = services.known.read(
        ("trends", minutes), lambda: (services.trends.read(minutes), services.trends.posts(minutes))
    )
    queues, posts = answer.value
    return {
        "items": [item.as_dict() for item in queues],
        "posts": [point.as_dict() for point in posts],
        **answer.as_dict(),
    }
