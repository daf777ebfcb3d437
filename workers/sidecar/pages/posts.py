"""Posts: an honest place until this release knows scheduled posts."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from penstock.workers.sidecar.pages.rendering import PageFor

router = APIRouter(include_in_schema=False)


@router.get("/posts")
def posts(page: PageFor) -> HTMLResponse:
    """What would be here."""
    return page.show("posts.html")
