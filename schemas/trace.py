"""Whose doing a job is: the trace that it belongs to, and the request that enqueued it."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from penstock.schemas.errors import Code, InvalidInputError

#: W3C `traceparent`: version, trace id, id of the caller's span, flags; later versions may say more behind it.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-[0-9a-f]{2}"
)
_LENGTH = 55
_REQUEST = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def parse_trace(text: str) -> str | None:
    """The four parts of a `traceparent`; None where it is none."""
    head, rest = text[:_LENGTH], text[_LENGTH:]
    sound = _TRACEPARENT.fullmatch(head) and (not rest or (rest[0] == "-" and not head.startswith("00")))
    return head if sound else None


def require_trace(text: str) -> str:
    """The four parts of a `traceparent`.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where it is none.
    """
    found = parse_trace(text)
    if found is None:
        raise InvalidInputError(Code.REQUEST_USAGE, "a trace is a W3C traceparent: 00-<32 hex>-<16 hex>-<2 hex>")
    return found


def require_request(text: str) -> str:
    """A request's id.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where it is not 1 to 128 letters, digits or `._:/+=-`.
    """
    if not _REQUEST.fullmatch(text):
        raise InvalidInputError(Code.REQUEST_USAGE, "a request id is 1 to 128 of A-Z a-z 0-9 . _ : / + = -")
    return text


def trace_id_of(trace: str | None) -> str | None:
    """The trace id of a `traceparent`, 32 hexadecimal digits."""
    found = _TRACEPARENT.fullmatch(trace) if trace else None
    return found["trace"] if found else None


def span_id_of(trace: str | None) -> str | None:
    """The id of the span that a `traceparent` names, 16 hexadecimal digits."""
    found = _TRACEPARENT.fullmatch(trace) if trace else None
    return found["span"] if found else None


def _trace_or_none(value: Any) -> str | None:
    return parse_trace(value) if isinstance(value, str) else None


def _request_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and _REQUEST.fullmatch(value) else None


# A job must not die of what only serves to find it: what can't be used is left out.
Trace = Annotated[str | None, BeforeValidator(_trace_or_none)]
RequestId = Annotated[str | None, BeforeValidator(_request_or_none)]
