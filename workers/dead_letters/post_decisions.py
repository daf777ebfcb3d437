"""What operators decide on posts. The change, its audit, and the end of the post's dead letters are one transaction."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from penstock.producers.queue.audit import OperatorAction, audit_entry
from penstock.producers.storage.posts_changes import (
    ChangedPost,
    PostStanding,
    approve,
    cancel,
    lock_post,
    reschedule,
    settle_as_live,
    settle_by_publishing_again,
)
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.text import is_storable, trim
from penstock.workers.database.operator_actions import is_recorded, record_actions, require_reason
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.dead_letters.decisions import close_letters_of
from penstock.workers.dead_letters.letters import plain

#: Characters of a platform's id of a post, and of its address.
EXTERNAL_ID_LIMIT = 500
URL_LIMIT = 2_000

_Change = Callable[[psycopg.Connection[Any]], ChangedPost]


class PostDecisions:
    """Decides on posts. Safe to share between threads.

    A decision makes a new version of the post, so the job of the old one has nothing to do any more: its open dead
    letters are discarded, with a note. A letter that only Redis has at that instant is archived later, and is open.

    Each method raises:
        NotFoundError: `POST_NOT_FOUND`.
        ConflictError: `POST_TOO_LATE`, `POST_STATE_INVALID` or `POST_CHANGED`, with `state` and `version` in its
            details; nothing has changed then, and nothing is recorded.
        InvalidInputError: `REQUEST_USAGE` without name or reason.
        PenstockError: of the family `STORAGE_`; nothing has changed then, unless the answer to COMMIT was lost.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def reschedule(
        self, by: str, reason: str, tenant: str, post_id: UUID, due_at: datetime, *, expected: int | None = None
    ) -> ChangedPost:
        """Give a post another instant (aware), at once where that has passed; also to one that expired or is dead.

        `expected` is the version that the operator has seen; None to change whatever is there.
        """

        def change(connection: psycopg.Connection[Any]) -> ChangedPost:
            return reschedule(connection, tenant, post_id, due_at, expected=expected)

        return self._decide("reschedule", "was rescheduled", (by, reason), tenant, post_id, change)

    def cancel(self, by: str, reason: str, tenant: str, post_id: UUID, *, expected: int | None = None) -> ChangedPost:
        """See that a post is not published. One that was cancelled before stays so; that is not recorded again."""

        def change(connection: psycopg.Connection[Any]) -> ChangedPost:
            return cancel(connection, tenant, post_id, expected=expected)

        return self._decide("cancel", "was cancelled", (by, reason), tenant, post_id, change)

    def approve(
        self,
        by: str,
        reason: str,
        tenant: str,
        post_id: UUID,
        *,
        due_at: datetime | None = None,
        expected: int | None = None,
    ) -> ChangedPost:
        """Let a held post go, at an instant (aware) or at once."""

        def change(connection: psycopg.Connection[Any]) -> ChangedPost:
            return approve(connection, tenant, post_id, due_at=due_at, expected=expected)

        return self._decide("approve", "was approved", (by, reason), tenant, post_id, change)

    def settle_as_live(
        self, by: str, reason: str, tenant: str, post_id: UUID, external_id: str, url: str | None = None
    ) -> ChangedPost:
        """Note that a post of unknown outcome is live, under the platform's id that the operator found there.

        Raises:
            InvalidInputError: `REQUEST_USAGE` for an id or an address that is none.
        """
        found = _external_id(external_id)
        address = None if url is None else _address(url)

        def change(connection: psycopg.Connection[Any]) -> ChangedPost:
            return settle_as_live(connection, tenant, post_id, found, url=address)

        told = {"external_id": found, "url": address}
        return self._decide("settle", "was settled as live", (by, reason), tenant, post_id, change, told)

    def publish_again(self, by: str, reason: str, tenant: str, post_id: UUID) -> ChangedPost:
        """Have a post of unknown outcome published once more, at once: the operator saw that it is not live."""

        def change(connection: psycopg.Connection[Any]) -> ChangedPost:
            return settle_by_publishing_again(connection, tenant, post_id)

        return self._decide("publish_again", "is published again", (by, reason), tenant, post_id, change)

    def _decide(
        self,
        action: str,
        told: str,
        who_and_why: tuple[str, str],
        tenant: str,
        post_id: UUID,
        change: _Change,
        details: Mapping[str, Any] | None = None,
    ) -> ChangedPost:
        by, reason = require_reason(*who_and_why)
        entry = audit_entry(by, f"post.{action}", str(post_id), reason, {"tenant": tenant, **(details or {})})
        note = f"the post {told}: {reason}"
        changed: ChangedPost | None = None

        def work(transaction: Transaction) -> ChangedPost:
            nonlocal changed
            connection = transaction.connection
            if changed is not None and is_recorded(connection, entry):
                return changed
            before = lock_post(connection, tenant, post_id)
            changed = change(connection)
            if before is not None and before.version != changed.version:
                _record(connection, entry, before, changed, note)
            return changed

        return self._transactions.run(work)


def _record(
    connection: psycopg.Connection[Any], entry: OperatorAction, before: PostStanding, after: ChangedPost, note: str
) -> None:
    letters = [] if before.job_id is None else close_letters_of(connection, before.job_id, entry.actor, note)
    difference = {"from": _standing(before), "to": _standing(after), "dead_letters": [str(one) for one in letters]}
    record_actions(connection, [replace(entry, details={**entry.details, **difference})])


def _standing(post: PostStanding | ChangedPost) -> dict[str, Any]:
    return {"state": post.state, "due_at": plain(post.due_at), "version": post.version}


def _external_id(text: str) -> str:
    found = trim(text)
    if not found or len(found) > EXTERNAL_ID_LIMIT or not is_storable(found):
        raise InvalidInputError(
            Code.REQUEST_USAGE,
            f"the platform's id of a post has 1 to {EXTERNAL_ID_LIMIT} characters",
            remedy="Look the post up on the platform, and give the id that it has there.",
        )
    return found


def _address(text: str) -> str:
    found = trim(text)
    if not found.startswith(("https://", "http://")) or len(found) > URL_LIMIT or not is_storable(found):
        raise InvalidInputError(
            Code.REQUEST_USAGE,
            f"the post's address is no https:// address of up to {URL_LIMIT:,} characters",
            remedy="Copy it from the browser, or leave it out.",
        )
    return found
