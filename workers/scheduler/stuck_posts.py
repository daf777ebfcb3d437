"""The loop that settles posts whose job ended without them, and tells of those whose job nobody knows."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from penstock.producers.queue.records import JobRecord, JobRecords, JobState
from penstock.schemas.errors import Code
from penstock.workers.database.transaction import Transactions
from penstock.workers.posts.publishing import StuckPost, stuck_posts
from penstock.workers.posts.stuck import end_bereft, jobs_in_outbox
from penstock.workers.telemetry.metrics import POSTS_JOBLESS
from penstock.workers.telemetry.queries import timed_query

_log = logging.getLogger(__name__)

#: Posts that one round settles, or asks about.
ROUND_POSTS = 200
LOOK_EVERY = timedelta(minutes=1)


class StuckPosts:
    """Sees that each post whose job is dead ends with a reason; a job that got lost is the outbox's sweep to find.

    Args:
        transactions: without tries of their own; the loop tries again.
        records: of jobs.
        after: how long after it was claimed a post is told of whose job nobody knows.
        clock: now, aware.
        monotonic: seconds.
    """

    name = "stuck_posts"
    interval = timedelta(seconds=10)
    channel = None

    def __init__(
        self,
        transactions: Transactions,
        records: JobRecords,
        after: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transactions = transactions
        self._records = records
        self._after = after
        self._clock = clock
        self._monotonic = monotonic
        self._look_at = monotonic()
        #: Where the look has come to; it goes through all posts that were claimed long ago, round by round.
        self._reached: tuple[datetime, UUID] | None = None
        self._told: set[UUID] = set()
        self._found: set[UUID] = set()

    def run_once(self) -> bool:
        """Settle a round, and now and then look at a round; True where there are more.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`.
        """
        more = self._settle()
        if self._monotonic() >= self._look_at:
            more = self._look() or more
        return more

    def _settle(self) -> bool:
        with timed_query("update", "scheduled_posts"):
            ended = self._transactions.run(lambda transaction: end_bereft(transaction.connection, ROUND_POSTS))
        for post in ended:
            POSTS_JOBLESS.labels(post.state).inc()
            context = {"job_id": post.job_id, "tenant": post.tenant, "code": post.code}
            _log.warning(
                "the job of the post %s died without it; the post is %s", post.post_id, post.state, extra=context
            )
        return len(ended) == ROUND_POSTS

    def _look(self) -> bool:
        before, after = self._clock() - self._after, self._reached
        posts = self._transactions.run(
            lambda transaction: stuck_posts(transaction.connection, before, ROUND_POSTS, after)
        )
        for post in self._without_job(posts):
            self._tell(post)
        if len(posts) == ROUND_POSTS:
            self._reached = (posts[-1].claimed_at, posts[-1].post_id)
            return True
        self._reached = None
        # Those that are not stuck any more are told of again if they ever are.
        self._told, self._found = self._found, set()
        self._look_at = self._monotonic() + LOOK_EVERY.total_seconds()
        return False

    def _without_job(self, posts: Sequence[StuckPost]) -> list[StuckPost]:
        """Those whose job neither waits, nor runs, nor is dead, nor will be enqueued again by the outbox."""
        records = self._records.read([post.claimed_by for post in posts]) if posts else {}
        ended = [post for post in posts if _is_over(records.get(post.claimed_by))]
        if not ended:
            return []
        job_ids = [post.claimed_by for post in ended]
        known = self._transactions.run(lambda transaction: jobs_in_outbox(transaction.connection, job_ids))
        return [post for post in ended if post.claimed_by not in known]

    def _tell(self, post: StuckPost) -> None:
        self._found.add(post.claimed_by)
        if post.claimed_by in self._told:
            return
        POSTS_JOBLESS.labels("stuck").inc()
        context = {"job_id": post.claimed_by, "tenant": post.tenant, "code": Code.JOB_UNACCOUNTED}
        _log.warning(
            "the post %s is %s since %s, and nobody knows its job",
            post.post_id,
            post.state,
            post.claimed_at.isoformat(timespec="seconds"),
            extra=context,
        )


def _is_over(record: JobRecord | None) -> bool:
    return record is None or record.state is JobState.DONE
