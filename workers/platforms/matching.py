"""Which of an account's posts may be the one that is looked up: compared, since most platforms keep no key of ours."""

import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.workers.platforms.platform import Publication

#: How far a platform's clock and ours may differ.
CLOCK_SKEW = timedelta(minutes=2)


def same_text(ours: str, theirs: object) -> bool:
    """Whether two texts are the same but for white space and the form of composed characters."""
    return isinstance(theirs, str) and _normal(ours) == _normal(theirs)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def instant_of(text: object) -> datetime | None:
    """An instant as platforms write it, in UTC; None where it can't be read."""
    if not isinstance(text, str):
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.replace(tzinfo=instant.tzinfo or UTC).astimezone(UTC)


def matches(
    publication: Publication, listed: Iterable[Any], *, text: str, time: str, seen: Iterable[str] = ()
) -> list[Mapping[str, Any]]:
    """The listed posts that may be this one: the same text, not there before, and no older than the first try.

    `text` and `time` name the members that hold them. A post whose time can't be read is not ruled out by it.
    """
    before = set(seen)
    since = publication.armed_at - CLOCK_SKEW if publication.armed_at is not None else None
    return [
        one
        for one in listed
        if isinstance(one, dict)
        and one.get("id") not in before
        and same_text(publication.content.text, one.get(text, ""))
        and not _older(instant_of(one.get(time)), since)
    ]


def _older(instant: datetime | None, since: datetime | None) -> bool:
    return instant is not None and since is not None and instant < since


def text_or_none(value: object) -> str | None:
    """A text that is there, or None."""
    return value if isinstance(value, str) and value else None
