"""Errors as pages, and the page to log in."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from penstock.schemas.errors import PenstockError
from penstock.workers.sidecar.pages.rendering import show

router = APIRouter(include_in_schema=False)

_TITLES: Mapping[int, str] = {
    401: "Nobody is logged in",
    403: "You may not do this",
    404: "There is nothing here",
    409: "Somebody was faster",
    413: "That is too much",
    422: "That can't be read",
    429: "Too fast",
    503: "A server can't be reached",
}
_SERVERS = {"STORAGE": "PostgreSQL can't be reached", "QUEUE": "Redis can't be reached"}
#: Characters of a message on a page.
_MESSAGE_LIMIT = 400


def error_page(request: Request, error: PenstockError, status: int) -> HTMLResponse:
    """The error as a page: what is missing, what is still true, and where to go."""
    title = _TITLES.get(status, "A fault of this page")
    if status == 503:
        title = _SERVERS.get(str(error.code).partition("_")[0], title)
    return show(
        request,
        "error.html",
        status,
        title=title,
        status=status,
        code=str(error.code),
        message=error.message[:_MESSAGE_LIMIT],
        remedy=error.remedy,
        back="/log-in" if status == 401 else "/",
    )


@router.get("/log-in")
def log_in(request: Request, refused: str = "", seconds: int = 0) -> HTMLResponse:
    """The form; it says why the last attempt was refused, and nothing of whether the name is known."""
    fault = ""
    if refused == "wait":
        fault = f"Too many attempts. Try again in {max(1, min(seconds, 3_600))} s."
    elif refused:
        fault = "The name or the token is wrong."
    following = request.query_params.get("next", "/")
    return show(request, "log_in.html", 401 if fault else 200, fault=fault, name="", next=following)
