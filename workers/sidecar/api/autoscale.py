"""How much work could run now, for whatever starts and stops workers."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from penstock.workers.sidecar.api.bodies import Shown
from penstock.workers.sidecar.autoscale import TARGET_SECONDS, Source, desired_workers
from penstock.workers.sidecar.metrics import FRESH_FOR
from penstock.workers.sidecar.services import ServicesOf

router = APIRouter(prefix="/api/v1", tags=["autoscale"])


class QueueWork(BaseModel):
    """The work of one queue."""

    runnable_jobs: float = Field(description="jobs that could run now; an estimate where lists are long")
    held_by_pauses: float
    held_by_limits: float
    leased: int = Field(description="jobs that workers have already; they are not in the backlog")
    workers: int
    paused: bool
    seconds_per_job: float
    seconds_from: Source
    runnable_backlog_seconds: float


class Work(Shown):
    """The work of all queues."""

    queues: dict[str, QueueWork]
    runnable_backlog_seconds: float = Field(description="what one worker thread would need for it")
    desired_workers: int
    threads: int = Field(description="of a worker")
    target_seconds: float = Field(description="in which that many workers have worked it off")


@router.get("/autoscale", response_model=Work)
def autoscale(
    services: ServicesOf,
    threads: Annotated[int | None, Query(ge=1, le=64)] = None,
    target_seconds: Annotated[float, Query(ge=1, le=86_400)] = TARGET_SECONDS,
) -> dict[str, object]:
    """Seconds of work that could run now, less what pauses and limits hold, and the workers that it wants."""
    answer = services.known.read("autoscale", services.autoscale.read, fresh_for=FRESH_FOR)
    threads = threads or services.settings.threads
    queues = {name: backlog.as_dict() for name, backlog in answer.value.items()}
    return {
        "queues": queues,
        "runnable_backlog_seconds": round(sum(found["runnable_backlog_seconds"] for found in queues.values()), 3),
        "desired_workers": desired_workers(answer.value, threads, target_seconds),
        "threads": threads,
        "target_seconds": target_seconds,
        **answer.as_dict(),
    }
