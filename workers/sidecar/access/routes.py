"""Logging in and out. The page with the form, `GET /log-in`, is the pages'."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from penstock.schemas.errors import PenstockError
from penstock.workers.sidecar.access.access import Access, ThrottledError
from penstock.workers.sidecar.access.gatekeeper import address_of, cookie_of
from penstock.workers.sidecar.problems import answer, wants_page
from penstock.workers.sidecar.security_headers import is_encrypted

router = APIRouter(include_in_schema=False)


@router.post("/log-in")
def log_in(
    request: Request,
    name: Annotated[str, Form(max_length=200)],
    token: Annotated[str, Form(max_length=500)],
    following: Annotated[str, Form(alias="next", max_length=2_000)] = "/",
) -> Response:
    """Begin a session; a browser goes on to `next`, or back to the form with `?refused=` wrong or wait."""
    access: Access = request.app.state.access
    onward = local_path(following)
    try:
        session = access.log_in(name.strip(), token.strip(), address_of(request))
    except PenstockError as error:
        if not wants_page(request):
            return answer(request, error)
        throttled = isinstance(error, ThrottledError)
        why = f"wait&seconds={error.details['retry_after_seconds']}" if throttled else "wrong"
        return RedirectResponse(f"/log-in?refused={why}&next={quote(onward, safe='/')}", status_code=303)
    made = RedirectResponse(onward, status_code=303)
    made.headers.append("set-cookie", cookie_of(access.sessions.encode(session), is_encrypted(request.scope)))
    return made


@router.post("/log-out")
def log_out(request: Request) -> Response:
    """End the session."""
    access: Access = request.app.state.access
    access.log_out(request.scope["state"]["session"], address_of(request))
    made = RedirectResponse("/log-in", status_code=303)
    made.headers.append("set-cookie", cookie_of("", is_encrypted(request.scope)))
    return made


def local_path(text: str) -> str:
    """The path, where it leads to this server; `/` otherwise. Two slashes, of either kind, lead elsewhere."""
    is_local = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_local else "/"
