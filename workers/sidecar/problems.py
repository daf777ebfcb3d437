"""Errors as answers: `application/problem+json` (RFC 9457) with our code, or a plain page for a browser."""

import html
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import psycopg
import psycopg_pool
import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match

from penstock.producers.queue.connection import redis_errors
from penstock.schemas.errors import (
    CATALOGUE,
    Code,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PenstockError,
    UnavailableError,
)
from penstock.workers.database.failures import storage_error
from penstock.workers.sidecar.access.require import ForbiddenError, NotLoggedInError, operator_of

_log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
#: Where a code has a status of its own; the rest goes by the error's class.
_BY_CODE: Mapping[Code, int] = {
    Code.AUTH_CREDENTIAL_INVALID: 401,
    Code.AUTH_CSRF_INVALID: 403,
    Code.RATE_LIMIT_EXCEEDED: 429,
    Code.REQUEST_BODY_TOO_LARGE: 413,
    Code.REQUEST_HOST_UNKNOWN: 403,
    Code.REQUEST_TIMEOUT: 503,
    Code.STORAGE_CONFLICT: 409,
    Code.STORAGE_TIMEOUT: 503,
    Code.QUEUE_OUT_OF_MEMORY: 503,
    Code.QUEUE_REFUSED: 503,
    Code.STORAGE_PERMISSION_DENIED: 503,
    Code.STORAGE_SCHEMA_OUTDATED: 503,
    Code.QUEUE_LAYOUT_NEWER: 503,
}
_BY_CLASS: tuple[tuple[type[PenstockError], int], ...] = (
    (NotLoggedInError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (InvalidInputError, 422),
    (ConflictError, 409),
    (UnavailableError, 503),
)
_BY_STATUS: Mapping[int, Code] = {404: Code.REQUEST_NOT_FOUND, 405: Code.REQUEST_METHOD_NOT_ALLOWED}
_RETRY_AFTER = "2"


def status_of(error: PenstockError) -> int:
    """The HTTP status for an error of ours; 500 where it is a fault of the server."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((status for kind, status in _BY_CLASS if isinstance(error, kind)), 500)


def problem(error: PenstockError, status: int | None = None, instance: str = "") -> dict[str, Any]:
    """The error as a problem of RFC 9457: `type, title, status, detail, code, remedy, instance` and `details`."""
    body: dict[str, Any] = {
        "type": f"urn:penstock:error:{error.code}",
        "title": CATALOGUE[error.code].cause,
        "status": status_of(error) if status is None else status,
        "detail": error.message,
        "code": str(error.code),
        "remedy": error.remedy,
        "instance": instance,
    }
    return body | ({"details": error.details} if error.details else {})


def wants_page(request: Request) -> bool:
    """Whether a browser asks for a page, and not a program for the API."""
    path = request.url.path
    is_page = not path.startswith(("/api/", "/health", "/metrics"))
    return is_page and "text/html" in request.headers.get("accept", "")


def answer(request: Request, error: PenstockError, headers: Mapping[str, str] | None = None) -> Response:
    """The error as the asker can read it. Pages lead to the log-in where nobody is logged in."""
    status = status_of(error)
    extra = dict(headers or {}) | ({"Retry-After": _RETRY_AFTER} if status == 503 else {})
    if "retry_after_seconds" in error.details:
        extra["Retry-After"] = str(error.details["retry_after_seconds"])
    if not wants_page(request):
        if status == 401:
            extra["WWW-Authenticate"] = 'Bearer realm="penstock"'
        return problem_response(problem(error, status, request.url.path), extra)
    if isinstance(error, NotLoggedInError) and error.code is Code.AUTH_REQUIRED and request.method in {"GET", "HEAD"}:
        return RedirectResponse(f"/log-in?next={_quoted(request)}", status_code=303)
    return _page(request, error, status, extra)


def problem_response(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A problem as a response."""
    # Escaped to ASCII: a message can quote an unpaired surrogate, which UTF-8 has no form for.
    text = json.dumps(body)
    return Response(text, status_code=int(body["status"]), headers=dict(headers or {}), media_type=PROBLEM)


def handle_errors(app: FastAPI) -> None:
    """Have the app answer every error so.

    `app.state.error_page`, where it is there, makes the pages: `(request, error, status) -> Response`.
    """
    app.add_exception_handler(PenstockError, _ours)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    for kind in (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed):
        app.add_exception_handler(kind, _of_storage)
    app.add_exception_handler(redis.RedisError, _of_redis)


def unexpected(error: BaseException) -> PenstockError:
    """A fault of our own as an error that tells nothing of it; its type and place are logged."""
    _log.error("a request failed: %s", type(error).__name__, exc_info=error, extra={"code": Code.INTERNAL_ERROR})
    return PenstockError(Code.INTERNAL_ERROR, "the request met a fault of the sidecar")


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, PenstockError)  # noqa: S101  registered for no other
    if error.code is Code.REQUEST_USAGE:
        # What is asked by a command line too; nobody here has one.
        error = InvalidInputError(Code.REQUEST_INVALID, error.message, details=error.details)
    if status_of(error) == 500:
        _log.error("%s", error.message, extra={"code": error.code})
    if error.code is Code.AUTH_FORBIDDEN:
        _note_refusal(request)
    return answer(request, error)


def _note_refusal(request: Request) -> None:
    operator = operator_of(request)
    if operator is not None:
        target = f"{request.method} {request.url.path}"
        request.app.state.services.audit.note_refusal(operator.name, "access.refused", target)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for no other
    code = _BY_STATUS.get(error.status_code, Code.REQUEST_INVALID)
    ours = NotFoundError(code, "there is nothing at this address") if error.status_code == 404 else None
    if ours is not None and wants_page(request):
        return _page(request, ours, 404, {})
    told = ours or InvalidInputError(code, str(error.detail))
    headers = {"Allow": _methods_at(request)} if error.status_code == 405 else error.headers
    return problem_response(problem(told, error.status_code, request.url.path), headers)


def _methods_at(request: Request) -> str:
    """All methods that the address takes: the library tells those of its first route alone."""
    found = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in found for method in getattr(route, "methods", None) or ()}))


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for no other
    # Without the input, which can be a payload or a token.
    faults = [
        {"at": ".".join(str(part) for part in fault["loc"]), "type": fault["type"], "message": fault["msg"]}
        for fault in error.errors()
    ]
    told = "; ".join(f"{fault['at']}: {fault['message']}" for fault in faults[:5])
    return answer(request, InvalidInputError(Code.REQUEST_INVALID, told, details={"faults": faults[:50]}))


async def _of_storage(request: Request, error: Exception) -> Response:
    return await _ours(request, storage_error(error))


async def _of_redis(request: Request, error: Exception) -> Response:
    try:
        with redis_errors("answering"):
            raise error
    except PenstockError as ours:
        return await _ours(request, ours)


def _quoted(request: Request) -> str:
    query = f"?{request.url.query}" if request.url.query else ""
    return quote(f"{request.url.path}{query}", safe="/")


def _page(request: Request, error: PenstockError, status: int, headers: Mapping[str, str]) -> Response:
    render = getattr(request.app.state, "error_page", None)
    if render is not None:
        try:
            made: Response = render(request, error, status)
        except Exception as fault:
            unexpected(fault)
        else:
            made.headers.update(headers)
            return made
    told = (error.message, error.remedy, str(error.code))
    body = "".join(f"<p>{html.escape(text)}</p>" for text in told)
    page = f'<!doctype html><html lang="en"><title>{status}</title><main><h1>{status}</h1>{body}</main></html>'
    # An unpaired surrogate in a message has no form in UTF-8.
    return HTMLResponse(page.encode(errors="replace"), status_code=status, headers=dict(headers))
