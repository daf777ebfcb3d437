"""The last guard before an event leaves for Sentry: what is not known to be harmless is left out."""

from collections.abc import Mapping
from typing import Any, cast

from sentry_sdk.types import Event

#: The member of a hint that says that an event was made of a death.
OURS = "penstock"

_MEMBERS = (
    *("event_id", "timestamp", "level", "platform", "logger", "fingerprint", "transaction", "release", "environment"),
    *("server_name", "sdk", "tags", "type"),
)
_CONTEXTS: Mapping[str, tuple[str, ...]] = {
    "job": ("type", "id", "attempt"),
    "worker": ("type", "host", "pid"),
    "trace": ("trace_id", "span_id", "parent_span_id"),
    "runtime": ("name", "version"),
}
_TAGS = frozenset({"kind", "queue", "tenant", "code", "worker", "group", "process", "circuit"})
_FRAME = ("filename", "abs_path", "function", "module", "lineno", "in_app")
_EXCEPTION = ("type", "module", "mechanism")
_CRUMB = ("category", "level", "timestamp", "type")
#: Breadcrumbs whose message is written by this project.
_OWN_CRUMBS = frozenset({"circuit"})
_TEXT_LIMIT = 10_000


def scrub(event: Event, *, is_ours: bool) -> Event:
    """An event without requests, users, variables, source lines, modules and data of breadcrumbs.

    Args:
        event: as it would be sent.
        is_ours: its texts are known to quote nothing; of other events neither messages nor texts of exceptions stay,
            but for those about circuits.
    """
    found = cast("dict[str, Any]", event)
    kept: dict[str, Any] = {name: found[name] for name in _MEMBERS if name in found}
    kept["tags"] = {name: value for name, value in _members(found.get("tags")).items() if name in _TAGS}
    contexts = _members(found.get("contexts"))
    kept["contexts"] = {name: _only(contexts[name], members) for name, members in _CONTEXTS.items() if name in contexts}
    may_speak = is_ours or "circuit" in kept["tags"]
    if may_speak and isinstance(found.get("message"), str):
        kept["message"] = found["message"][:_TEXT_LIMIT]
    if exceptions := _values(found.get("exception")):
        kept["exception"] = {"values": [_exception(one, is_ours) for one in exceptions]}
    if crumbs := _values(found.get("breadcrumbs")):
        kept["breadcrumbs"] = {"values": [_crumb(one) for one in crumbs]}
    return cast("Event", kept)


def _exception(found: Any, is_ours: bool) -> dict[str, Any]:
    kept = _only(found, _EXCEPTION)
    if is_ours and isinstance(found.get("value"), str):
        kept["value"] = found["value"][:_TEXT_LIMIT]
    if "mechanism" in kept:
        kept["mechanism"] = _only(kept["mechanism"], ("type", "handled"))
    frames = _members(found.get("stacktrace")).get("frames") or ()
    if frames:
        kept["stacktrace"] = {"frames": [_only(frame, _FRAME) for frame in frames]}
    return kept


def _crumb(found: Any) -> dict[str, Any]:
    kept = _only(found, _CRUMB)
    if kept.get("category") in _OWN_CRUMBS and isinstance(found.get("message"), str):
        kept["message"] = found["message"]
    return kept


def _only(found: Any, members: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in _members(found).items() if name in members}


def _members(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _values(found: Any) -> list[Any]:
    if isinstance(found, Mapping):
        found = found.get("values")
    return list(found) if isinstance(found, list) else []
