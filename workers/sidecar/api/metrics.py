"""`/metrics`, for Prometheus."""

from fastapi import APIRouter, Request, Response

from penstock.workers.sidecar.metrics import answer_scrape
from penstock.workers.sidecar.services import ServicesOf

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request, services: ServicesOf) -> Response:
    """The metrics in Prometheus's text format, or in OpenMetrics where `Accept` asks for that."""
    content, content_type = answer_scrape(services, request.headers.get("accept"))
    return Response(content, headers={"Content-Type": content_type})
