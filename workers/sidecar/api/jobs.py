"""One job: where it stands, what it waits for, what has happened to it. Never its payload."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from penstock.schemas.errors import Code, NotFoundError
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.sidecar.access.require import AsViewer
from penstock.workers.sidecar.api.bodies import Shown
from penstock.workers.sidecar.services import Services, ServicesOf

router = APIRouter(prefix="/api/v1", tags=["jobs"])


class JobHolder(BaseModel):
    """The worker that holds a job."""

    boot: str
    host: str | None
    pid: str | None
    release: str | None
    started_at: str | None
    lives_until: datetime | None


class Job(Shown):
    """A job at one instant."""

    job_id: UUID
    queue: str
    kind: str | None
    tenant: str | None
    state: str
    since: datetime | None = None
    enqueued_at: datetime | None = None
    eligible_at: datetime | None = None
    blocked_by: str | None = None
    place: int | None = None
    ahead: int | None = None
    worker: JobHolder | None = None
    attempts: int = 0
    recoveries: int = 0
    crashes: int = 0
    cause: str | None = None
    postpones: int = 0
    postponed_at: datetime | None = None
    parked_at: datetime | None = None
    died_at: datetime | None = None
    code: str | None = None
    message: str | None = None
    remedy: str | None = None
    history: list[dict[str, Any]] = Field(default_factory=list)
    dead_letters: list[UUID] = Field(default_factory=list, description="ids of its dead letters, the newest first")


@router.get("/jobs/{job_id}", response_model=Job)
def show_job(job_id: UUID, services: ServicesOf, _viewer: AsViewer) -> dict[str, object]:
    """A job with everything around it; of one whose record is gone what its last dead letter tells."""
    answer = services.known.read(("job", job_id), lambda: _find(services, job_id))
    if answer.value is None:
        raise NotFoundError(Code.JOB_NOT_FOUND, f"no queue knows the job {job_id}, and no dead letter is its")
    return {**answer.value, **answer.as_dict()}


def _find(services: Services, job_id: UUID) -> dict[str, Any] | None:
    view = services.queues.find(job_id)
    if view is not None and view.state != "dead":
        return view.as_dict()
    letters = services.letters.list(_letters_of(job_id), limit=20).items
    ids = [letter.dead_id for letter in letters]
    if view is not None:
        return {**view.as_dict(), "dead_letters": ids}
    if not letters:
        return None
    last = letters[0].as_dict()
    known = {name: last.get(name) for name in ("queue", "kind", "tenant", "died_at", "code", "message", "attempts")}
    return {"job_id": job_id, "state": "dead", "since": last.get("died_at"), **known, "dead_letters": ids}


def _letters_of(job_id: UUID) -> LetterFilter:
    return LetterFilter(state=None, job_id=job_id)
