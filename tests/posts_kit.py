"""Accounts and posts to test with, in a migrated database."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet

from penstock.schemas.post_content import PostContent
from penstock.schemas.scheduled_post import LatenessPolicy, SchedulePost
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.secret import Secret
from penstock.workers.accounts.store import GivenTokens, add_account
from penstock.workers.accounts.token_keys import TokenKeys, Tokens
from penstock.workers.posts.intake import schedule_post
from tests.system import Database

Connection = psycopg.Connection[Any]
Connect = Callable[[], Connection]

TENANT = "acme"
KEY = Fernet.generate_key().decode()
KEYS = TokenKeys.from_setting(f"k1:{KEY}")


def tokens_of(access: str = "access", refresh: str | None = "refresh") -> Tokens:
    return Tokens(Secret(access), None if refresh is None else Secret(refresh))


def given(
    account_id: uuid.UUID,
    tokens: Tokens | None = None,
    keys: TokenKeys = KEYS,
    expires_at: datetime | None = None,
    due_at: datetime | None = None,
) -> GivenTokens:
    return GivenTokens(keys.seal(account_id, tokens or tokens_of()), expires_at, due_at)


def new_account(connection: Connection, platform: str = "instagram", owner: str = "press", **tokens: Any) -> uuid.UUID:
    """Add an active account with tokens."""
    account_id = uuid.uuid4()
    account = NewAccount(account_id, owner, platform, f"external-{account_id}", "The press office", {})
    add_account(connection, TENANT, account, given(account_id, **tokens))
    return account_id


def new_post(connection: Connection, account_id: uuid.UUID, due: datetime | None = None, **members: Any) -> uuid.UUID:
    """Take in a post that is due, an hour ago unless told otherwise."""
    post_id = uuid.uuid4()
    schedule_post(connection, TENANT, post_id, post_of(account_id, due, **members))
    return post_id


def post_of(account_id: uuid.UUID, due: datetime | None = None, **members: Any) -> SchedulePost:
    members = {"content": PostContent(text="Hello"), "lateness_policy": LatenessPolicy.RUN} | members
    return SchedulePost(account_id=account_id, due_at=due or ago(hours=1), **members)


def ago(**span: float) -> datetime:
    """An instant that long ago; ahead where the span is negative."""
    return datetime.now(UTC) - timedelta(**span)


def row_of(connection: Connection, post_id: uuid.UUID, columns: str = "state") -> Any:
    """One column of a post, or a tuple of several."""
    row = connection.execute(
        f"SELECT {columns} FROM penstock.scheduled_posts WHERE post_id = %s".encode(), (post_id,)
    ).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


@pytest.fixture
def connect(database: Database) -> Iterator[Connect]:
    """Opens connections with transactions, as a worker's login; posts and accounts are removed at the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(psycopg.connect(database.url))
    database.query(
        "TRUNCATE penstock.scheduled_posts, penstock.social_accounts, penstock.publish_attempts, penstock.outbox"
    )


@pytest.fixture
def connection(connect: Connect) -> Connection:
    """A connection that commits each statement."""
    made = connect()
    made.autocommit = True
    return made


@pytest.fixture
def account(connection: Connection) -> uuid.UUID:
    """An active account."""
    return new_account(connection)
