"""Filters as addresses hold them: what a list shows can be pasted to a colleague."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.datastructures import QueryParams

#: The parameters that choose letters; `state` is open unless it says otherwise.
LETTER_FILTERS = (
    *("state", "became", "kind", "code", "queue", "group", "form", "platform", "account", "tenant"),
    *("since", "until", "job_id", "payload", "text"),
)
LABELS: Mapping[str, str] = {"job_id": "job", "text": "words", "became": "became"}
VALUE_LIMIT = 2_000


def pairs_of(params: QueryParams, names: Iterable[str] = LETTER_FILTERS) -> list[tuple[str, str]]:
    """The parameters that filter, in the address' order; empty ones are left out."""
    known = set(names)
    return [(name, value[:VALUE_LIMIT]) for name, value in params.multi_items() if name in known and value.strip()]


def mapping_of(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The filter as its parser takes it: a text for each name, a list where one stands several times."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name == "payload":
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def without(pairs: Sequence[tuple[str, str]], at: int) -> list[tuple[str, str]]:
    """The filter less one of its parts."""
    return [pair for place, pair in enumerate(pairs) if place != at]


def chips(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Each part of a filter as label, value, and the filter without it."""
    return [(LABELS.get(name, name), value, without(pairs, at)) for at, (name, value) in enumerate(pairs)]
