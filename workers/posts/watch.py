"""How the posts stand that are not out yet, at a cost that does not grow with the posts that there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from penstock.schemas.scheduled_post import PostState
from penstock.workers.posts.filters import LATE_WALKS

#: Counting more of one state than this says no more.
CEILING = 10_000
#: Due, and claimed by no scheduler.
DUE = "due"
PARKED = "parked"
#: States that are counted under their own names.
COUNTED = (PostState.HELD, PostState.CLAIMED, PostState.PUBLISHING, PostState.UNKNOWN_OUTCOME)

_UNCLAIMED = f"state = '{PostState.SCHEDULED}' AND parked_at IS NULL"
# Each count walks an index in its order up to the ceiling; without an order the planner may read the table instead.
_WALKS: Mapping[str, str] = {
    DUE: f"{_UNCLAIMED} AND due_at <= now() ORDER BY due_at",
    PARKED: "parked_at IS NOT NULL ORDER BY account_id",
} | {state: f"state = '{state}' ORDER BY due_at" for state in COUNTED}
_COUNTS = (
    "SELECT state, platform, count(*) FROM ("
    + " UNION ALL ".join(
        f"(SELECT '{name}' AS state, platform FROM penstock.scheduled_posts WHERE {walk} LIMIT %(ceiling)s)"
        for name, walk in _WALKS.items()
    )
    + ") AS unfinished GROUP BY 1, 2"
)
_OVERDUE = " UNION ALL ".join(
    f"(SELECT now() - due_at FROM penstock.scheduled_posts WHERE {condition} AND due_at < now()"
    " ORDER BY due_at LIMIT 1)"
    for condition in (_UNCLAIMED, f"state = '{PostState.CLAIMED}'", f"state = '{PostState.PUBLISHING}'")
)
_UNCLAIMED_FOR = (
    f"SELECT now() - due_at FROM penstock.scheduled_posts WHERE {_UNCLAIMED} AND due_at < now() ORDER BY due_at LIMIT 1"
)
_LATE = (
    "SELECT count(*) FROM ("
    + " UNION ALL ".join(
        f"(SELECT due_at FROM penstock.scheduled_posts WHERE {walk} ORDER BY due_at LIMIT %(ceiling)s)"
        for walk in LATE_WALKS
    )
    + ") AS late"
)


@dataclass(frozen=True, slots=True)
class PostsWatch:
    """What is not out yet.

    Attributes:
        counts: by `due`, `parked`, `held`, `claimed`, `publishing` or `unknown_outcome`, and platform; of each of the
            six at most 10,000 together.
        late: posts that should have been out a minute ago, held and parked ones aside; 10,000 at the most.
        overdue: for how long the earliest post has been due that should be out and is not, held and parked ones aside.
        unclaimed: the same of posts that no scheduler has claimed.
    """

    counts: Mapping[tuple[str, str], int]
    late: int
    overdue: timedelta
    unclaimed: timedelta

    def total(self, state: str) -> int:
        """Posts of all platforms, at most 10,000."""
        return sum(count for (of_state, _), count in self.counts.items() if of_state == state)


def watch_posts(connection: psycopg.Connection) -> PostsWatch:
    """Look.

    Raises:
        psycopg.Error: as any statement.
    """
    ceiling = {"ceiling": CEILING}
    rows = connection.execute(_COUNTS.encode(), ceiling).fetchall()
    (late,) = connection.execute(_LATE.encode(), ceiling).fetchone() or (0,)
    overdue = [row[0] for row in connection.execute(_OVERDUE.encode()).fetchall()]
    first = connection.execute(_UNCLAIMED_FOR.encode()).fetchone()
    return PostsWatch(
        counts={(str(state), str(platform)): int(count) for state, platform, count in rows},
        late=min(int(late), CEILING),
        overdue=max(overdue, default=timedelta(0)),
        unclaimed=timedelta(0) if first is None else first[0],
    )
