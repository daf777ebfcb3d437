"""Search any id, from any page: why is this job not running?"""

from fastapi import APIRouter
from fastapi.responses import Response

from penstock.workers.sidecar.pages.rendering import Page, PageFor, see

router = APIRouter(include_in_schema=False)

_LONGEST = 300


@router.get("/search")
def search(page: PageFor, q: str = "") -> Response:
    """What is known under an id: a job with what holds it up, dead letters, a batch, a form."""
    text = q.strip()[:_LONGEST]
    if not text:
        return _found(page, "")
    return _found(page, text)


def _found(page: Page, text: str) -> Response:
    found = page.desk.search(text) if text else None
    if found and found.job is None and not found.letters and len(found.links) == 1:
        return see(found.links[0][1])
    return page.show("search.html", found=found, search_text=text)
