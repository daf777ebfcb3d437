"""`/health/live`, `/health/ready`, `/health`, and what needs a person."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from penstock.workers.health.report import Status
from penstock.workers.sidecar.access.require import operator_of
from penstock.workers.sidecar.services import ServicesOf

router = APIRouter(tags=["health"])
_T = TypeVar("_T")

#: Threads that no page can take: a probe is answered however many pages wait for a frozen server.
_threads = ThreadPoolExecutor(2, thread_name_prefix="penstock-probes")


async def _apart(ask: Callable[[], _T]) -> _T:
    return await asyncio.wrap_future(_threads.submit(ask))


@router.get("/health/live")
async def live() -> dict[str, str]:
    """Whether this process answers. Looks at nothing else."""
    return {"status": "live"}


@router.get("/health/ready", responses={503: {"description": "a server does not answer"}})
async def ready(services: ServicesOf) -> JSONResponse:
    """Whether PostgreSQL, its schema and Redis are there; what works badly is ready. 200 or 503."""
    is_ready, statuses = await _apart(services.health.ready)
    body = {
        "status": "ready" if is_ready else "not ready",
        "checks": [{"name": name, "status": str(status)} for name, status in statuses.items()],
    }
    return JSONResponse(body, status_code=200 if is_ready else 503)


@router.get("/health", responses={503: {"description": "CRITICAL"}})
async def health(request: Request, services: ServicesOf) -> JSONResponse:
    """How the deployment is, in detail for those who are logged in. 503 where it is CRITICAL."""
    report = await _apart(services.health.report)
    body: dict[str, Any] = report.as_dict() if operator_of(request) is not None else report.for_outsiders()
    return JSONResponse(body, status_code=503 if report.status is Status.CRITICAL else 200)
