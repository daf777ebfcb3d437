"""The trace of a job, told beside a measure of it, so that a slow one can be looked at."""

import re

#: A W3C `traceparent`: version, trace id, id of the caller's span, flags.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NOTHING = "0" * 32


def exemplar_of(trace: str | None) -> dict[str, str] | None:
    """The exemplar of a `traceparent`; None where there is none, or it is not one."""
    found = _TRACEPARENT.fullmatch(trace) if trace else None
    if found is None or found["trace"] == _NOTHING:
        return None
    return {"trace_id": found["trace"]}
