"""Answers with JSON: with an ETag where they are polled, and parameters of queries read with their faults told."""

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, InvalidInputError

JSON = "application/json"
#: Kept by who asked alone, and asked for again each time.
_REVALIDATED = "private, no-cache"
PAGE, PAGE_LIMIT = 100, 1_000


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The body as JSON."""
    return Response(compact_json(body), status_code=status, headers=dict(headers or {}), media_type=JSON)


def polled_answer(request: Request, body: Any, headers: Mapping[str, str] | None = None, tag: str = "") -> Response:
    """The body with its ETag; 304 without it where the asker has the same already.

    Args:
        request: with `If-None-Match`, perhaps.
        body: as JSON.
        headers: further ones.
        tag: what the ETag begins with.
    """
    text = compact_json(body)
    etag = f'"{tag}{hashlib.sha256(text).hexdigest()[:32]}"'
    told = {**(headers or {}), "ETag": etag, "Cache-Control": _REVALIDATED}
    if _has(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=told)
    return Response(text, headers=told, media_type=JSON)


def _has(header: str, etag: str) -> bool:
    tags = [part.strip().removeprefix("W/") for part in header.split(",")]
    return etag in tags or tags == ["*"]


def query_of(request: Request, *known: str) -> dict[str, str]:
    """The parameters of the query.

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID` where one is not known, or there twice.
    """
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known or name in found:
            told = f"the query may have {', '.join(known) or 'no parameter'}, each once"
            raise InvalidInputError(Code.REQUEST_FILTER_INVALID, told)
        found[name] = value
    return found


def whole_number(text: str | None, name: str, least: int, most: int) -> int | None:
    """A parameter that is a whole number; None where it is not there.

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID`.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= most):
        raise InvalidInputError(Code.REQUEST_FILTER_INVALID, f"{name} is a whole number from {least:,} to {most:,}")
    return int(text)


def page_limit(query: Mapping[str, str]) -> int:
    """How many items a page is to have.

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID`.
    """
    return whole_number(query.get("limit"), "limit", 1, PAGE_LIMIT) or PAGE


def uuid_of(text: str, error: Exception) -> UUID:
    """The UUID that a path names; raises `error` where it names none, as for one that is not known."""
    try:
        found = UUID(text)
    except ValueError:
        raise error from None
    if str(found) != text.lower():
        raise error
    return found
