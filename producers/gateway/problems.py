"""Errors as answers: `application/problem+json` (RFC 9457) with our code and remedy."""

import json
import logging
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from penstock.schemas.errors import (
    CATALOGUE,
    Code,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PenstockError,
    UnavailableError,
)

_log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
#: Where a code has a status of its own; the rest goes by the error's class.
_BY_CODE: Mapping[Code, int] = {
    Code.AUTH_CREDENTIAL_INVALID: 401,
    Code.AUTH_FORBIDDEN: 403,
    Code.AUTH_REQUIRED: 401,
    Code.BATCH_TOO_LARGE: 413,
    Code.QUEUE_LAYOUT_NEWER: 503,
    Code.QUEUE_OUT_OF_MEMORY: 503,
    Code.QUEUE_REFUSED: 503,
    Code.RATE_LIMIT_EXCEEDED: 429,
    Code.REQUEST_BODY_TOO_LARGE: 413,
    Code.REQUEST_HOST_UNKNOWN: 403,
    Code.REQUEST_IDEMPOTENCY_KEY_INVALID: 400,
    Code.REQUEST_MEDIA_TYPE_UNKNOWN: 415,
    Code.REQUEST_METHOD_NOT_ALLOWED: 405,
    Code.REQUEST_TOO_SLOW: 408,
    Code.STORAGE_CONFLICT: 503,
    Code.STORAGE_PERMISSION_DENIED: 503,
    Code.STORAGE_SCHEMA_OUTDATED: 503,
    Code.STORAGE_TIMEOUT: 503,
    Code.SUBMISSION_TOO_LARGE: 413,
    Code.SUBMISSION_UNDECODABLE: 400,
}
#: Of the API keys (`AUTH_TOKEN_INVALID`, `AUTH_SCOPE_MISSING`…).
_BY_PREFIX = (("AUTH_TOKEN_", 401), ("AUTH_", 403))
_BY_CLASS: tuple[tuple[type[PenstockError], int], ...] = (
    (NotFoundError, 404),
    (InvalidInputError, 422),
    (ConflictError, 409),
    (UnavailableError, 503),
)
_OF_HTTP: Mapping[int, Code] = {404: Code.REQUEST_NOT_FOUND, 405: Code.REQUEST_METHOD_NOT_ALLOWED}
#: Seconds after which to come again where nobody knows better.
RETRY_AFTER_SECONDS = 2
#: Details that have members of their own in a problem.
_OWN_MEMBERS = ("errors", "faults")


class ProblemError(Exception):
    """An error of ours with a status of its own, and members that it adds to its problem.

    Raised where the same code means different things to HTTP: a precondition that failed is no conflict.
    """

    def __init__(self, error: PenstockError, status: int | None = None, **members: Any) -> None:
        super().__init__(str(error))
        self.error = error
        self.status = status
        self.members = members


def problem_of(error: "PenstockError | ProblemError") -> ProblemError:
    """The error as a problem, which it may be already."""
    return error if isinstance(error, ProblemError) else ProblemError(error)


def malformed(message: str, **details: Any) -> ProblemError:
    """400: what was sent is not even of the form that everything here has."""
    return ProblemError(InvalidInputError(Code.REQUEST_INVALID, message, details=details), 400)


def status_of(error: PenstockError) -> int:
    """The HTTP status for an error of ours; 500 where it is a fault of the server."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    for prefix, status in _BY_PREFIX:
        if error.code.startswith(prefix) and not isinstance(error, UnavailableError):
            return status
    return next((status for kind, status in _BY_CLASS if isinstance(error, kind)), 500)


def problem_response(error: Exception, instance: str, request_id: str) -> Response:
    """Any exception as an answer; one that is not ours tells nothing of itself, and is logged."""
    ours, status, members = _unwrap(error)
    if status == 500:
        _log.error("a request failed: %s", ours.message, exc_info=error, extra={"code": ours.code})
    details = {name: value for name, value in ours.details.items() if name not in _OWN_MEMBERS}
    body: dict[str, Any] = {
        "type": f"urn:penstock:error:{ours.code}",
        "title": CATALOGUE[ours.code].cause,
        "status": status,
        "detail": ours.message,
        "code": str(ours.code),
        "remedy": ours.remedy,
        "instance": instance,
        "request_id": request_id,
        "errors": _errors(ours),
        **({"details": details} if details else {}),
        **members,
    }
    # Escaped to ASCII: a message can quote an unpaired surrogate, which UTF-8 has no form for.
    text = json.dumps(body)
    return Response(text, status_code=status, headers=_headers(ours, error, status), media_type=PROBLEM)


def _unwrap(error: Exception) -> tuple[PenstockError, int, Mapping[str, Any]]:
    if isinstance(error, ProblemError):
        ours, status, _ = _unwrap(error.error)
        return ours, error.status or status, error.members
    if isinstance(error, HTTPException):
        code = _OF_HTTP.get(error.status_code, Code.REQUEST_INVALID)
        told = "there is nothing at this address" if error.status_code == 404 else "the address takes another method"
        remedy = "Check the address; /v1/openapi.json lists all." if error.status_code == 404 else None
        return InvalidInputError(code, told, remedy=remedy), error.status_code, {}
    if not isinstance(error, PenstockError):
        return PenstockError(Code.INTERNAL_ERROR, "the request met a fault of the gateway"), 500, {}
    if error.code is Code.REQUEST_USAGE:
        # What is asked by a command line too; nobody here has one.
        error = InvalidInputError(Code.REQUEST_INVALID, error.message, details=error.details)
    return error, status_of(error), {}


def _errors(error: PenstockError) -> list[dict[str, Any]]:
    """Each fault by itself; where there is one only, the error itself."""
    told = error.details.get("errors") or error.details.get("faults")
    if isinstance(told, list):
        return [{"code": str(error.code), **fault} for fault in told]
    place: dict[str, Any] = {name: error.details[name] for name in ("line", "row") if name in error.details}
    return [{"code": str(error.code), "message": error.message, **place}]


def _headers(ours: PenstockError, error: Exception, status: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException) and error.headers:
        headers |= error.headers
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="penstock"'
    seconds = _retry_after(ours)
    if seconds is not None or status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS if seconds is None else seconds)
    return headers


def _retry_after(error: PenstockError) -> int | None:
    """Whole seconds, at least one, where whoever raised the error knows."""
    told = getattr(error, "retry_after", None)
    if told is None:
        told = error.details.get("retry_after_seconds")
    if isinstance(told, timedelta):
        told = told.total_seconds()
    return None if not isinstance(told, (int, float)) else max(1, math.ceil(told))
