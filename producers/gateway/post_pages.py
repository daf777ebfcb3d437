"""Lists of posts: their filters and cursors, as queries have them."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from penstock.producers.storage.posts import PostFilter, StoredPost
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import require_name
from penstock.schemas.scheduled_post import PostState


def filter_of(query: Mapping[str, str]) -> PostFilter:
    """Which posts a query asks for.

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID`.
    """
    owner, platform = query.get("owner"), query.get("platform")
    for name, value in (("an owner", owner), ("a platform", platform)):
        if value is not None:
            require_name(value, Code.REQUEST_FILTER_INVALID, name)
    return PostFilter(owner, _uuid(query.get("account_id")), platform, _state(query.get("state")))


def following_of(last: StoredPost) -> str:
    """The cursor of the page after this post."""
    return f"{last.due_at.isoformat()}/{last.post_id}"


def cursor_after(text: str | None) -> tuple[datetime, UUID] | None:
    """Where a page begins.

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID`.
    """
    if text is None:
        return None
    due, _, post_id = text.partition("/")
    try:
        # A plus sign that was not escaped is a space in a query.
        found = datetime.fromisoformat(due.replace(" ", "+")), UUID(post_id)
    except ValueError:
        found = None
    if found is None or found[0].tzinfo is None:
        raise InvalidInputError(Code.REQUEST_FILTER_INVALID, "the cursor is none that a page has told")
    return found


def _uuid(text: str | None) -> UUID | None:
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInputError(Code.REQUEST_FILTER_INVALID, "account_id is no UUID") from None


def _state(text: str | None) -> PostState | None:
    if text is None:
        return None
    try:
        return PostState(text)
    except ValueError:
        states = ", ".join(PostState)
        raise InvalidInputError(Code.REQUEST_FILTER_INVALID, f"state is one of {states}") from None
