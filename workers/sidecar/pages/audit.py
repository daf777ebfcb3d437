"""The audit: who did what, when and why."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from penstock.workers.sidecar.pages.filters import chips, pairs_of
from penstock.workers.sidecar.pages.rendering import PageFor

router = APIRouter(include_in_schema=False)

_FILTERS = ("actor", "action", "target", "since", "until", "text")


@router.get("/audit")
def audit(page: PageFor, cursor: str | None = None) -> HTMLResponse:
    """What operators did, newest first."""
    pairs = pairs_of(page.request.query_params, _FILTERS)
    entries = page.desk.audit(dict(pairs), cursor)
    return page.show("audit.html", entries=entries, pairs=pairs, chips=chips(pairs), values=dict(pairs))
