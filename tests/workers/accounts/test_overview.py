"""Accounts as operators see them, of all tenants at once."""

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.workers.accounts.account import AccountState
from penstock.workers.accounts.overview import AccountList, AccountsFilter, ListedAccount, watch_accounts
from penstock.workers.database.pool import open_pool
from penstock.workers.settings import WorkerSettings
from tests.posts_kit import Connection, ago, new_account, new_post, tokens_of

Pool = ConnectionPool[psycopg.Connection[Any]]


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> Iterator[Pool]:
    with open_pool(settings.model_copy(update={"pool_min": 1, "pool_max": 2}), "test") as made:
        yield made


def change(connection: Connection, account: uuid.UUID, **columns: Any) -> None:
    for name, value in columns.items():
        statement = f"UPDATE penstock.social_accounts SET {name} = %s WHERE account_id = %s"
        connection.execute(statement.encode(), (value, account))


def park(connection: Connection, account: uuid.UUID, count: int) -> None:
    for _ in range(count):
        new_post(connection, account)
    statement = "UPDATE penstock.scheduled_posts SET parked_at = now() WHERE account_id = %s"
    connection.execute(statement, (account,))


def test_a_list_has_pages_filters_and_the_posts_that_wait(connection: Connection, pool: Pool) -> None:
    accounts = sorted(new_account(connection, platform) for platform in ("instagram", "youtube", "mastodon") * 3)
    dead = accounts[4]
    change(connection, dead, state="reauthorize", state_code="ACCOUNT_TOKEN_EXPIRED", owner="sport")
    park(connection, dead, 3)
    listing = AccountList(pool)
    first = listing.list(AccountsFilter(), limit=5)
    rest = listing.list(AccountsFilter(), limit=5, cursor=first.next)
    assert [one.account_id for one in [*first.items, *rest.items]] == accounts
    assert rest.next is None
    (found,) = listing.list(AccountsFilter(state=AccountState.REAUTHORIZE)).items
    assert (found.account_id, found.posts_waiting, found.state_code) == (dead, 3, "ACCOUNT_TOKEN_EXPIRED")
    assert listing.list(AccountsFilter(tenant="acme", owner="sport", platform=found.platform)).items == [found]
    assert listing.list(AccountsFilter(tenant="nobody")).items == []
    with pool.connection() as one:
        watched = watch_accounts(one)
    assert (watched.total(AccountState.ACTIVE), watched.total(AccountState.REAUTHORIZE)) == (8, 1)
    assert sum(watched.counts.values()) == 9


@pytest.mark.parametrize(
    ("refresh", "columns", "soon"),
    [
        pytest.param(None, {"refresh_due_at": ago(days=9)}, True, id="the calendar could not refresh it"),
        pytest.param(None, {}, True, id="nobody can refresh it"),
        pytest.param("refresh", {}, False, id="it is renewed when it is needed"),
        pytest.param(None, {"token_expires_at": ago(days=-8)}, False, id="it ends later"),
        pytest.param(None, {"token_expires_at": None}, False, id="it has no end"),
        pytest.param(None, {"state": "disabled"}, False, id="nobody uses it"),
    ],
)
def test_tokens_that_end_soon_are_those_that_nobody_renews_in_time(
    connection: Connection, pool: Pool, refresh: str | None, columns: dict[str, Any], soon: bool
) -> None:
    account = new_account(connection, tokens=tokens_of(refresh=refresh), expires_at=ago(days=-3))
    change(connection, account, **columns)
    (found,) = AccountList(pool).list(AccountsFilter()).items
    assert found.ends_soon is soon
    with pool.connection() as one:
        assert watch_accounts(one).ending == ({"instagram": 1} if soon else {})


def test_nothing_of_a_token_is_listed(connection: Connection, pool: Pool) -> None:
    new_account(connection, tokens=tokens_of("the-secret", "the-other"))
    (found,) = AccountList(pool).list(AccountsFilter()).items
    assert not {name for name in ListedAccount.__slots__ if "ciphertext" in name or name in {"key_id", "metadata"}}
    assert "secret" not in str(found.as_dict())
