"""Meta's Graph interface, as Instagram and Facebook share it: where an answer has its codes and its trace id."""

from penstock.workers.platforms.http import Reply
from penstock.workers.platforms.judge import failure_keys


def graph_keys(reply: Reply) -> list[str]:
    """`code/subcode`, `subcode`, `code`; or how the call failed. The status is asked only where there is no code."""
    body = {} if reply.failure else reply.json() or {}
    error, debug = body.get("error"), body.get("debug_info")
    if isinstance(error, dict) and isinstance(error.get("code"), int):
        return _error_keys(error["code"], error.get("error_subcode"))
    if isinstance(debug, dict):
        return ["rupload" if debug.get("retriable") else "rupload:final"]
    if reply.status == 404 or reply.failure or reply.status == 429:
        return failure_keys(reply)
    return ["http:5" if reply.status >= 500 else "unreadable"]


def _error_keys(code: int, subcode: object) -> list[str]:
    keys = [f"{code}/{subcode}", str(subcode)] if isinstance(subcode, int) and subcode else []
    keys.append(str(code))
    return [*keys, "200-299"] if 200 <= code <= 299 else keys


def graph_trace(reply: Reply) -> str | None:
    """The `fbtrace_id` of an error, or the header that stands for it."""
    error = (reply.json() or {}).get("error")
    trace = error.get("fbtrace_id") if isinstance(error, dict) else None
    return trace if isinstance(trace, str) else reply.headers.get("x-fb-trace-id")
