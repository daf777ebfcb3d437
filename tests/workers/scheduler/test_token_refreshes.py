"""The loop for tokens: by the calendar, counted by what came of it, and no account is in another one's way."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from penstock.schemas.errors import Code
from penstock.workers.accounts.account import Authorisation
from penstock.workers.accounts.refresh import DueOutcome, Refused, Renewed, TokenRefresh, Unanswered
from penstock.workers.accounts.store import find_account, load_authorisation
from penstock.workers.accounts.token_keys import TokenKeys
from penstock.workers.database.transaction import Transactions
from penstock.workers.scheduler.token_refreshes import ROUND_ACCOUNTS, TokenRefreshes
from penstock.workers.telemetry.metrics import TOKEN_REFRESHES
from tests.posts_kit import KEY, KEYS, TENANT, Connection, ago, new_account, tokens_of

OTHER_KEYS = TokenKeys.from_setting("k2:bWlzc2luZyBmcm9tIHRoZSBzY2hlZHVsZXIncyBrZXk=")
PLATFORMS = ("facebook", "instagram")
Make = Callable[[Any], TokenRefreshes]


@pytest.fixture
def make(transactions: Transactions) -> Make:
    def made(answer: Any) -> TokenRefreshes:
        exchange = answer if callable(answer) else lambda _: answer
        return TokenRefreshes(TokenRefresh(transactions, KEYS, dict.fromkeys(PLATFORMS, exchange), "here"))

    return made


@pytest.fixture
def counted() -> Callable[[], dict[tuple[str, str], float]]:
    """What was counted since the test began."""

    def read() -> dict[tuple[str, str], float]:
        return {
            (platform, outcome): TOKEN_REFRESHES.labels(platform, outcome)._value.get()
            for platform in PLATFORMS
            for outcome in DueOutcome
        }

    before = read()
    return lambda: {labels: now - before[labels] for labels, now in read().items() if now > before[labels]}


def renewed() -> Renewed:
    return Renewed(tokens_of("new", None), ago(days=-60))


def test_due_tokens_are_refreshed_in_small_rounds_and_counted(
    make: Make, connection: Connection, counted: Callable[[], object]
) -> None:
    accounts = [new_account(connection, "facebook", due_at=ago(minutes=1)) for _ in range(ROUND_ACCOUNTS)]
    accounts.append(new_account(connection, due_at=ago(minutes=1)))
    later = new_account(connection, due_at=ago(minutes=-1))
    loop = make(renewed())
    assert [loop.run_once(), loop.run_once(), loop.run_once()] == [True, False, False]
    for account in accounts:
        assert load_authorisation(connection, KEYS, account).tokens.access == tokens_of("new").access
    assert load_authorisation(connection, KEYS, later).version == 1
    assert counted() == {("facebook", "refreshed"): ROUND_ACCOUNTS, ("instagram", "refreshed"): 1}


ANSWERS = {
    "ended": Refused(),
    "unanswered": Unanswered(Code.PLATFORM_API_TIMEOUT, timedelta(hours=1)),
}


@pytest.mark.parametrize(("outcome", "answer"), ANSWERS.items(), ids=ANSWERS)
def test_what_a_platform_answers_is_counted_and_not_asked_for_at_once(
    make: Make, connection: Connection, counted: Callable[[], object], outcome: str, answer: object
) -> None:
    new_account(connection, due_at=ago(minutes=1))
    loop = make(answer)
    assert [loop.run_once(), loop.run_once()] == [False, False]
    assert counted() == {("instagram", outcome): 1}


def test_tokens_that_no_key_opens_are_told_of_and_are_in_nobodys_way(
    make: Make, connection: Connection, counted: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    unreadable = [
        new_account(connection, keys=OTHER_KEYS, tokens=None, due_at=ago(days=1)) for _ in range(ROUND_ACCOUNTS)
    ]
    account = new_account(connection, due_at=ago(minutes=1))
    loop = make(renewed())
    with caplog.at_level(logging.INFO):
        while loop.run_once():
            pass
    assert load_authorisation(connection, KEYS, account).version == 2
    assert counted() == {("instagram", "unreadable"): ROUND_ACCOUNTS, ("instagram", "refreshed"): 1}
    assert caplog.text.count("which PENSTOCK_TOKEN_KEYS lacks") == ROUND_ACCOUNTS
    assert KEY not in caplog.text
    found = find_account(connection, TENANT, unreadable[0])
    assert found is not None
    assert (found.state, found.refresh_code) == ("active", "ACCOUNT_TOKEN_UNREADABLE")
    assert found.refresh_due_at is not None
    assert found.refresh_due_at > ago(minutes=-50)


def test_a_process_that_is_killed_within_an_exchange_leaves_the_account_to_the_next_one(
    make: Make, connection: Connection
) -> None:
    """Its lease ends, and the old tokens, which are still there, are exchanged once more."""

    class KilledError(BaseException):
        pass

    def kill(_: Authorisation) -> Renewed:
        raise KilledError

    account = new_account(connection, due_at=ago(minutes=1))
    with pytest.raises(KilledError):
        make(kill).run_once()
    asked: list[str] = []

    def exchange(known: Authorisation) -> Renewed:
        asked.append(known.tokens.access.get_secret_value())
        return renewed()

    loop = make(exchange)
    loop.run_once()
    assert asked == []
    connection.execute("UPDATE penstock.social_accounts SET refresh_lease_until = now() - INTERVAL '1 s'")
    loop.run_once()
    assert asked == ["access"]
    assert load_authorisation(connection, KEYS, account).version == 2
