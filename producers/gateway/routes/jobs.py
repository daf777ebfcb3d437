"""`/v1/jobs/{id}`: one job, as far as whoever enqueued it is concerned. Never its payload."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from penstock.producers.gateway.answers import polled_answer, query_of, uuid_of
from penstock.producers.gateway.batch_status import state_name
from penstock.producers.gateway.guarded import principal_of
from penstock.producers.gateway.services import services_of
from penstock.producers.queue.job_view import JobView
from penstock.schemas.errors import Code, NotFoundError

#: Not which machine runs it, nor what other tenants have to do with its place.
_TOLD = (
    *("job_id", "queue", "kind", "tenant", "since", "enqueued_at", "eligible_at", "blocked_by", "place", "attempts"),
    *("recoveries", "postpones", "postponed_at", "parked_at", "died_at", "code", "message", "remedy"),
)


async def get_job(request: Request) -> Response:
    """Where a job stands, what blocks it, when it can run."""
    query_of(request)
    unknown = NotFoundError(Code.JOB_NOT_FOUND, "no queue knows the job: it never was, or is done long ago")
    job_id = uuid_of(request.path_params["job_id"], unknown)
    services = services_of(request)
    view = await services.threads.run(services.inspector.find, job_id)
    if view is None or view.tenant != principal_of(request).tenant:
        raise unknown
    return polled_answer(request, _shown(view))


def _shown(view: JobView) -> dict[str, Any]:
    told = view.as_dict()
    return {"state": state_name(view.state), **{name: told[name] for name in _TOLD}}
