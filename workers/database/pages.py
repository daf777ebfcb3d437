"""Pages of a list, and the cursor that leads from one to the next."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, InvalidInputError

#: Rows of one page at the most.
PAGE_LIMIT = 1_000

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of a list. `next` is the cursor of the page after it; None where this is the last one."""

    items: Sequence[Item]
    next: str | None


def require_limit(limit: int) -> int:
    """`limit` where a page may have so many rows.

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID`.
    """
    if not 1 <= limit <= PAGE_LIMIT:
        raise InvalidInputError(Code.REQUEST_FILTER_INVALID, f"limit: {limit} is not within 1 and {PAGE_LIMIT}")
    return limit


def write_cursor(order: str, *place: int | str | datetime | UUID) -> str:
    """The cursor behind `place`, the values that a list is ordered by; `order` names the list and its order."""
    return base64.urlsafe_b64encode(compact_json([order, *map(_plain, place)])).decode().rstrip("=")


def read_cursor(cursor: str, order: str, *types: type) -> tuple[Any, ...]:
    """What `write_cursor` was given behind `order`, as values of these types (int, str, datetime, UUID).

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID` where it is none of this list in this order.
    """
    try:
        found, *place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if found == order and len(place) == len(types):
            return tuple(_typed(value, wanted) for value, wanted in zip(place, types, strict=True))
        told = "it belongs to another list or order"
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        told = "it is none of ours"
    raise InvalidInputError(Code.REQUEST_FILTER_INVALID, f"cursor: {told}", remedy="Begin again without a cursor.")


def _plain(value: int | str | datetime | UUID) -> int | str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, UUID) else value


def _typed(value: Any, wanted: type) -> Any:
    if wanted is datetime:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise ValueError("an instant without offset")
        return found
    if wanted is UUID:
        return UUID(value)
    if type(value) is not wanted:
        raise TypeError(type(value).__name__)
    return value
