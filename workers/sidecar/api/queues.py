"""Queues: how they stand, and what an operator does to them."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from penstock.producers.queue.inspection import PAGE_LIMIT
from penstock.producers.queue.records import JobState
from penstock.schemas.errors import Code, NotFoundError
from penstock.schemas.names import Queue
from penstock.workers.protection.pauses import PauseControl, pausable_key
from penstock.workers.queues.control import QueueControl
from penstock.workers.sidecar.access.require import AsOperator, AsViewer
from penstock.workers.sidecar.api.bodies import Body, Reason, ReasonText, Shown
from penstock.workers.sidecar.services import Services, ServicesOf

router = APIRouter(prefix="/api/v1", tags=["queues"])


class PauseOf(BaseModel):
    """Who stopped it, why, and when."""

    by: str
    reason: str
    at: datetime | None


class QueueState(BaseModel):
    """A queue's jobs by place, and what it has counted since it began."""

    queue: str
    ready: int
    scheduled: int
    leased: int
    parked: int
    dead: int
    accepted: int
    done: int
    purged: int
    discarded: int
    unaccounted: int
    workers: int
    oldest_ready_seconds: float | None
    next_due: datetime | None
    paused: PauseOf | None
    ready_by_tenant: dict[str, int]


class QueueStates(Shown):
    """All queues."""

    items: list[QueueState]
    next: str | None = None


class OneQueue(Shown, QueueState):
    """One queue, and the tenants that have more than one job in each of their turns."""

    weights: dict[str, int]


class JobRow(BaseModel):
    """A job of a page."""

    job_id: str
    state: str | None
    kind: str | None
    tenant: str | None
    since: datetime | None
    attempts: int
    code: str | None
    blocked_by: str | None
    due: datetime | None


class JobRows(BaseModel):
    """A page of jobs; pages shift while jobs move."""

    items: list[JobRow]
    next: str | None


class QueueChange(BaseModel):
    """What came of it. `changed` is false where it was so already."""

    queue: str
    paused: bool
    changed: bool


class PausedKeyState(PauseOf):
    """A gate key that is paused."""

    key: str


class PausedKeys(Shown):
    """All gate keys that are paused."""

    items: list[PausedKeyState]
    next: str | None = None


class NewPause(Body):
    """What is to be paused, or resumed, on all workers."""

    what: Literal["kind", "platform", "account", "tenant"]
    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")
    reason: ReasonText


class PauseChange(BaseModel):
    """What came of it; `parked` tells how many jobs a resumed key lets go, by and by."""

    key: str
    paused: bool
    changed: bool
    parked: int = 0


@router.get("/queues", response_model=QueueStates)
def list_queues(services: ServicesOf, _viewer: AsViewer) -> dict[str, object]:
    """How each queue stands."""
    answer = services.known.read("queues", lambda: [services.queues.counts(queue) for queue in Queue])
    return {"items": [counts.as_dict() for counts in answer.value], **answer.as_dict()}


@router.get("/queues/{queue}", response_model=OneQueue)
def show_queue(queue: str, services: ServicesOf, viewer: AsViewer) -> dict[str, object]:
    """How a queue stands."""
    name = _known(queue)
    control = _control(services, viewer.name)
    answer = services.known.read(("queue", name), lambda: (services.queues.counts(name), control.weights(name)))
    counts, weights = answer.value
    return {**counts.as_dict(), "weights": weights, **answer.as_dict()}


@router.get("/queues/{queue}/jobs", response_model=JobRows)
def list_jobs(
    queue: str,
    services: ServicesOf,
    _viewer: AsViewer,
    state: Literal["ready", "scheduled", "leased", "parked", "dead"] = "ready",
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> dict[str, object]:
    """Jobs in one state, those that are taken next first. Never their payloads."""
    page = services.queues.peek(_known(queue), JobState(state), limit, cursor)
    return {"items": [job.as_dict() for job in page.jobs], "next": page.following}


@router.post("/queues/{queue}/pause", response_model=QueueChange)
def pause_queue(queue: str, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Stop leases, everywhere and at once; running jobs end."""
    name = _known(queue)
    changed = _control(services, operator.name).pause(name, body.reason)
    return {"queue": name, "paused": True, "changed": changed}


@router.post("/queues/{queue}/resume", response_model=QueueChange)
def resume_queue(queue: str, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Allow leases again."""
    name = _known(queue)
    changed = _control(services, operator.name).resume(name, body.reason)
    return {"queue": name, "paused": False, "changed": changed}


@router.get("/pauses", response_model=PausedKeys)
def list_pauses(services: ServicesOf, _viewer: AsViewer) -> dict[str, object]:
    """Kinds, platforms, accounts and tenants that are paused."""
    answer = services.known.read("pauses", services.pauses.list)
    return {"items": [paused.as_dict() for paused in answer.value], **answer.as_dict()}


@router.post("/pauses", response_model=PauseChange)
def pause_key(body: NewPause, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Let no further job of a kind, platform, account or tenant run, in all queues; running ones end."""
    key = pausable_key(body.what, body.name)
    changed = _pauses(services, operator.name).pause(key, body.reason)
    return {"key": key, "paused": True, "changed": changed}


@router.post("/pauses/resume", response_model=PauseChange)
def resume_key(body: NewPause, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Let them run again: those that wait in order, 200 a second of each queue."""
    key = pausable_key(body.what, body.name)
    changed, parked = _pauses(services, operator.name).resume(key, body.reason)
    return {"key": key, "paused": False, "changed": changed, "parked": parked}


def _known(queue: str) -> Queue:
    if queue not in set(Queue):
        raise NotFoundError(
            Code.REQUEST_NOT_FOUND, f"there is no queue {queue[:80]!r}; there are {', '.join(sorted(Queue))}"
        )
    return Queue(queue)


def _control(services: Services, actor: str) -> QueueControl:
    return QueueControl(services.client, services.settings.namespace, actor)


def _pauses(services: Services, actor: str) -> PauseControl:
    return PauseControl(services.client, services.settings.namespace, actor)
