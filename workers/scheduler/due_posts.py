"""The loop that takes posts whose instant comes near, and gives them to workers."""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from penstock.schemas.scheduled_post import PostState
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.posts.claims import CHANNEL, Claim, claim_due, next_due
from penstock.workers.telemetry.metrics import POSTS_CLAIMED
from penstock.workers.telemetry.queries import timed_query

_log = logging.getLogger(__name__)

#: The longest sleep. A post that is stored meanwhile and is due within a minute wakes the loop; where no events arrive
#: (a pooler in transaction mode), it is as late as this.
LONGEST = timedelta(seconds=2)
#: The shortest sleep while posts come due one after the other, without a lead and with a long one: those that come due
#: meanwhile are claimed together, and with a lead none is late by that.
SHORTEST, SHORTEST_AHEAD = timedelta(milliseconds=20), timedelta(milliseconds=500)


class DuePosts:
    """Claims in rounds, and sleeps until the next post is to be claimed. Any number of schedulers share the work.

    Args:
        transactions: without tries of their own; the loop tries again.
        lead: how long before its instant a post is claimed.
        clock: now, aware; lateness is judged by it.
    """

    name = "due_posts"
    channel = CHANNEL

    def __init__(
        self, transactions: Transactions, lead: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._transactions = transactions
        self._lead = lead
        self._clock = clock
        self._shortest = min(SHORTEST_AHEAD, max(SHORTEST, lead / 10))
        self._sleep = LONGEST

    @property
    def interval(self) -> timedelta:
        """Until the next post that waits is to be claimed."""
        return self._sleep

    def run_once(self) -> bool:
        """Claim a round; True where there are more.

        Raises:
            PenstockError: of the family `STORAGE_`; nothing is claimed then.
        """
        now = self._clock()
        claim, following = self._transactions.run(lambda transaction: self._round(transaction, now))
        _tell(claim)
        self._sleep = self._sleep_until(following)
        return claim.is_full

    def _round(self, transaction: Transaction, now: datetime) -> tuple[Claim, datetime | None]:
        with timed_query("update", "scheduled_posts"):
            claim = claim_due(transaction.connection, now, lead=self._lead)
        # After a full round the next one follows at once.
        return claim, None if claim.is_full else next_due(transaction.connection)

    def _sleep_until(self, following: datetime | None) -> timedelta:
        if following is None:
            return LONGEST
        # One that should be claimed by now is in another scheduler's hands, which may be killed before it commits.
        return min(LONGEST, max(self._shortest, following - self._lead - self._clock()))


def _tell(claim: Claim) -> None:
    became = Counter(str(moved.state) for moved in claim.moved)
    if claim.parked:
        became["parked"] = len(claim.parked)
    for state, number in became.items():
        POSTS_CLAIMED.labels(state).inc(number)
    late = became[PostState.EXPIRED] + became[PostState.HELD]
    if late:
        _log.warning(
            "%d post(s) came too late: %d expired, %d held", late, became[PostState.EXPIRED], became[PostState.HELD]
        )
    if claim.parked:
        _log.info("%d post(s) that came due wait for their accounts", len(claim.parked))
