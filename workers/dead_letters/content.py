"""Pages of letters by what stands in their payloads and texts: cheap ways first.

No index has contents in the order of deaths, and each letter that is looked into costs. So a page is sought, in turn,
among the very first letters of the list (what nearly all have), among all that the index of contents yields (what few
have), among more of the first letters (what many have), and then in slices of time from the list's beginning, each so
wide that it yields no more than a page or a few.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from penstock.workers.dead_letters.walk import Moment, Walk

#: Letters that are looked into in the list's order, at first and then.
FIRST_ROWS = 200
PROBE_ROWS = 2_000
#: Letters that the index of contents may yield at once.
CONTENT_ROWS = 1_500
#: No slice is parted further.
_NARROWEST = timedelta(seconds=1)

Rows = Sequence[Mapping[str, Any]]
Fetch = Callable[[str, Mapping[str, Any]], Rows]


def find_rows(walk: Walk, fetch: Fetch, fetch_by_index: Fetch) -> Rows:
    """The rows of a page, in order.

    Args:
        walk: of the page.
        fetch: asks PostgreSQL.
        fetch_by_index: likewise, where the indexes have to say which letters are looked into.

    Raises:
        PenstockError: whatever they raise.
    """
    rows = fetch(*walk.probe(FIRST_ROWS))
    if len(rows) >= walk.limit:
        return rows
    rows = fetch_by_index(*walk.by_content(CONTENT_ROWS))
    if not rows or rows[0]["n"] < CONTENT_ROWS:
        return rows
    rows = fetch(*walk.probe(PROBE_ROWS))
    if len(rows) >= walk.limit:
        return rows
    return _Slices(walk, fetch, fetch_by_index).find()


class _Slices:
    """Walks the time of deaths from the list's beginning: wider slices where little is found, narrower ones else."""

    def __init__(self, walk: Walk, fetch: Fetch, fetch_by_index: Fetch) -> None:
        self._walk = walk
        self._fetch = fetch_by_index
        (probed,) = fetch(*walk.probed(PROBE_ROWS))
        (ends,) = fetch(*walk.ends())
        self._oldest: datetime = ends["first"]
        self._newest: datetime = ends["last"]
        self._width: timedelta = max(probed["last"] - probed["first"], _NARROWEST)
        self._next: datetime = probed["last"] if walk.newest_first else probed["first"]

    def find(self) -> Rows:
        found: list[Mapping[str, Any]] = []
        start: Moment = None
        while len(found) < self._walk.limit:
            since, until, end = self._bounds(start)
            cap = CONTENT_ROWS if self._width > _NARROWEST else None
            rows = self._fetch(*self._walk.by_content(cap, since, until))
            if rows and cap is not None and rows[0]["n"] >= cap:
                self._width = max(self._width / 4, _NARROWEST)
                continue
            found += rows
            if end is None:
                break
            start = self._next = end
            self._width *= 4
        return found[: self._walk.limit]

    def _bounds(self, start: Moment) -> tuple[Moment, Moment, Moment]:
        """Of the next slice: since, until, and where the one behind it begins; None behind the last."""
        if self._walk.newest_first:
            since = self._next - self._width
            return (None, start, None) if since <= self._oldest else (since, start, since)
        until = self._next + self._width
        return (start, None, None) if until > self._newest else (start, until, until)
