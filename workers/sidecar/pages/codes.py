"""What an error code means and what to do about it, from the catalogue: a page that needs no other server."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from penstock.schemas.errors import CATALOGUE, Code, NotFoundError
from penstock.workers.sidecar.pages.rendering import PageFor

router = APIRouter(include_in_schema=False)


@router.get("/codes/{name}")
def code(page: PageFor, name: str) -> HTMLResponse:
    """One code."""
    if name not in set(Code):
        told = f"this release has no code {name[:80]!r}; another one may have written it"
        raise NotFoundError(Code.JOB_NOT_FOUND, told)
    return page.show("code.html", code=name, entry=CATALOGUE[Code(name)])
