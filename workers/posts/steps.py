"""The steps of `publishing`, each committed by itself, together with the record of the calls that led to it."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from penstock.schemas.errors import Code
from penstock.schemas.scheduled_post import PostState
from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.job import Job
from penstock.workers.posts.attempts import PublishAttempt, record_attempt
from penstock.workers.posts.notes import Notes
from penstock.workers.posts.publishing import (
    Began,
    InFlight,
    Marked,
    PostToPublish,
    Superseded,
    add_url,
    begin_publish,
    load_post,
    mark_dead,
    mark_published,
    mark_unknown,
    park,
    revive,
    settle_lateness,
    store_handle,
    withdraw_after_look_up,
    withdraw_publish,
)
from penstock.workers.telemetry.queries import timed_query

_T = TypeVar("_T")
_Calls = Sequence[PublishAttempt]


class Steps:
    """What a run writes. Safe to share between threads. Each method raises `PenstockError` of the `STORAGE_` family.

    Those that return a bool tell whether the post was still the caller's to change; False: load it again.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def load(self, post_id: UUID) -> PostToPublish | None:
        """The post as it stands."""
        return self._run((), "select", lambda transaction: load_post(transaction.connection, post_id))

    def record(self, calls: _Calls) -> None:
        """Store the record of calls that changed nothing."""
        if calls:
            self._run(calls, "insert", lambda _: None)

    def finish(self, job: Job, state: str, calls: _Calls = ()) -> None:
        """Note that the job has nothing to do any more, since the post is in `state`."""
        self._run(calls, "insert", lambda transaction: claim_effect(transaction.connection, job, {"state": state}))

    def keep(self, post: PostToPublish, handle: str | None, notes: Notes, calls: _Calls) -> bool:
        """Store what was prepared."""
        return self._run(
            calls,
            "update",
            lambda transaction: store_handle(
                transaction.connection, post.post_id, post.version, handle, notes.as_json()
            ),
        )

    def begin(
        self, post: PostToPublish, handle: str | None, visible_for: timedelta, calls: _Calls
    ) -> Began | InFlight | Superseded:
        """Begin the visible step."""
        return self._run(
            calls,
            "update",
            lambda transaction: begin_publish(transaction.connection, post.post_id, post.version, handle, visible_for),
        )

    def withdraw(
        self, post: PostToPublish, attempt: int, code: Code, handle: str | None, notes: Notes, calls: _Calls
    ) -> bool:
        """The caller's own visible try made nothing visible."""

        def work(transaction: Transaction) -> bool:
            connection = transaction.connection
            return withdraw_publish(connection, post.post_id, attempt, code) and store_handle(
                connection, post.post_id, post.version, handle, notes.as_json()
            )

        return self._run(calls, "update", work)

    def withdraw_after_look_up(
        self, post: PostToPublish, attempt: int, handle: str | None, notes: Notes, calls: _Calls
    ) -> bool:
        """A look-up found that a try made nothing visible, or is taken for that. False while it may be under way."""

        def work(transaction: Transaction) -> bool:
            connection = transaction.connection
            code = Code.PLATFORM_OUTCOME_UNKNOWN
            return withdraw_after_look_up(connection, post.post_id, attempt, code) and store_handle(
                connection, post.post_id, post.version, handle, notes.as_json()
            )

        return self._run(calls, "update", work)

    def published(
        self, job: Job, post: PostToPublish, found: tuple[str | None, str | None], at: datetime, calls: _Calls
    ) -> Marked:
        """The post is live: `found` is its id and address, where the platform told them."""

        def work(transaction: Transaction) -> Marked:
            claim_effect(transaction.connection, job, {"state": str(PostState.PUBLISHED)})
            return mark_published(transaction.connection, post.post_id, *found, at)

        return self._run(calls, "update", work)

    def confirmed(self, post: PostToPublish, url: str | None, calls: _Calls) -> None:
        """The platform was asked what it published."""
        self._run(
            calls,
            "update",
            lambda transaction: url is not None and add_url(transaction.connection, post.post_id, url),
        )

    def dead(self, post: PostToPublish, attempt: int | None, code: Code, calls: _Calls) -> bool:
        """No try can succeed, and none had its effect. `attempt` is the caller's own, where its answer said so."""
        return self._run(
            calls,
            "update",
            lambda transaction: mark_dead(transaction.connection, post.post_id, post.version, code, attempt),
        )

    def unknown(self, post: PostToPublish, attempt: int, code: Code, calls: _Calls) -> bool:
        """Nobody can tell whether a try had its effect."""
        return self._run(
            calls,
            "update",
            lambda transaction: mark_unknown(transaction.connection, post.post_id, attempt, code),
        )

    def settle_lateness(self, job: Job, post: PostToPublish, now: datetime) -> PostState | None:
        """Expire or hold the post where its grace is over; a held one is no more the job's."""

        def work(transaction: Transaction) -> PostState | None:
            state = settle_lateness(transaction.connection, post, now)
            if state is PostState.HELD:
                claim_effect(transaction.connection, job, {"state": str(state)})
            return state

        return self._run((), "update", work)

    def park(self, job: Job, post: PostToPublish, calls: _Calls) -> bool:
        """Put the post back until its account is active again: another job publishes it then."""

        def work(transaction: Transaction) -> bool:
            if not park(transaction.connection, post):
                return False
            claim_effect(transaction.connection, job, {"state": "parked"})
            return True

        return self._run(calls, "update", work)

    def revive(self, post: PostToPublish) -> bool:
        """Take a dead post up again, since its job was given a new life."""
        return self._run((), "update", lambda transaction: revive(transaction.connection, post))

    def _run(self, calls: _Calls, operation: str, work: Callable[[Transaction], _T]) -> _T:
        def all_of_it(transaction: Transaction) -> _T:
            for call in calls:
                record_attempt(transaction.connection, call)
            return work(transaction)

        with timed_query(operation, "scheduled_posts"):
            return self._transactions.run(all_of_it)
