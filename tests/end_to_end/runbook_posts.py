"""Accounts and posts of the runbook's system, and what happens to them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg

from penstock.schemas.errors import Code
from penstock.schemas.names import DEFAULT_TENANT
from penstock.schemas.scheduled_post import LatenessPolicy, PostState
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.store import add_account, require_reauthorisation
from penstock.workers.posts.intake import schedule_post
from penstock.workers.posts.publishing import Began, begin_publish, mark_unknown
from tests.posts_kit import Connection, given, post_of, row_of
from tests.system import wait_for


class Desk:
    """Brings about what the page's sections on posts are about; a scheduler runs beside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def account(self) -> uuid.UUID:
        """An active account."""
        account = uuid.uuid4()
        new = NewAccount(account, "press", "mastodon", f"external-{account}", "City news", {})
        add_account(self._connection, DEFAULT_TENANT, new, given(account))
        return account

    def refuse(self, account: uuid.UUID) -> None:
        """The platform takes the account's token no more."""
        assert require_reauthorisation(self._connection, account, 1, Code.ACCOUNT_TOKEN_EXPIRED)

    def post(self, account: uuid.UUID, due: datetime, policy: str = "run") -> uuid.UUID:
        """A post that is late by its policy once its instant has passed."""
        post_id = uuid.uuid4()
        post = post_of(account, due, lateness_policy=LatenessPolicy(policy), grace_seconds=0)
        schedule_post(self._connection, DEFAULT_TENANT, post_id, post)
        return post_id

    def wait_for_state(self, post: uuid.UUID, state: str) -> None:
        """Wait until the scheduler has brought the post into a state."""
        wait_for(lambda: self._of(post, "state") == PostState(state), f"the post to be {state}")

    def wait_for_parked(self, post: uuid.UUID) -> None:
        """Wait until the scheduler has found that the account can't publish it."""
        wait_for(lambda: self._of(post, "parked_at") is not None, "the post to wait for its account")

    def job(self, post: uuid.UUID) -> uuid.UUID:
        """The job that publishes it."""
        found: uuid.UUID = self._of(post, "claimed_by")
        return found

    def lose_the_answer(self, post: uuid.UUID) -> None:
        """The visible step of a claimed post is begun, and nobody learns what came of it."""
        version = self._of(post, "version")
        assert begin_publish(self._connection, post, version, None, timedelta(minutes=1)) == Began(1)
        assert mark_unknown(self._connection, post, 1, Code.POST_UNKNOWN_OUTCOME)

    def _of(self, post: uuid.UUID, column: str) -> Any:
        return row_of(self._connection, post, column)


@contextmanager
def open_desk(url: str) -> Iterator[Desk]:
    """A desk at a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield Desk(connection)
