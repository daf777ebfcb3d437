"""Rotation of keys: every token, while they are used and refreshed, and nothing lost."""

import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
from cryptography.fernet import Fernet

from penstock.schemas.errors import PenstockError
from penstock.workers.accounts.refresh import Refreshed, Renewed, TokenRefresh
from penstock.workers.accounts.rotation import Rotated, rotate
from penstock.workers.accounts.store import load_authorisation, reauthorise
from penstock.workers.accounts.token_keys import SealedTokens, TokenKeys, Tokens
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.settings import WorkerSettings
from tests.posts_kit import KEY, TENANT, Connection, given, new_account, tokens_of

NEW_KEY = Fernet.generate_key().decode()
#: What every process has first, then what makes the new key the current one, then what is left.
LEARNT = TokenKeys.from_setting(f"k1:{KEY},k2:{NEW_KEY}")
BOTH = TokenKeys.from_setting(f"k2:{NEW_KEY},k1:{KEY}")
NEW = TokenKeys.from_setting(f"k2:{NEW_KEY}")


@pytest.fixture
def transactions(settings: WorkerSettings, connection: Connection) -> Iterator[Transactions]:
    with open_pool(settings, "penstock-test") as pool:
        pool.wait(60)
        yield Transactions(pool, settings)


def test_after_a_rotation_the_old_key_is_not_needed(transactions: Transactions, connection: Connection) -> None:
    accounts = [new_account(connection, tokens=tokens_of(f"a{n}", f"r{n}" if n % 2 else None)) for n in range(5)]
    with pytest.raises(PenstockError, match="ACCOUNT_TOKEN_UNREADABLE"):
        load_authorisation(connection, NEW, accounts[0])
    assert rotate(transactions, BOTH, chunk=2) == Rotated(5, 0, ())
    for number, account in enumerate(accounts):
        authorisation = load_authorisation(connection, NEW, account)
        assert authorisation.tokens == tokens_of(f"a{number}", f"r{number}" if number % 2 else None)
        # The tokens are the same, so nobody who was refused with them may take them for newer ones.
        assert authorisation.version == 1
    assert rotate(transactions, BOTH) == Rotated(0, 0, ())


def test_what_does_not_open_is_told_and_left_as_it_is(transactions: Transactions, connection: Connection) -> None:
    good, lost = new_account(connection), new_account(connection)
    connection.execute("UPDATE penstock.social_accounts SET key_id = 'k0' WHERE account_id = %s", (lost,))
    rotated = rotate(transactions, BOTH, chunk=1)
    assert (rotated, rotated.is_complete) == (Rotated(1, 0, (lost,)), False)
    assert load_authorisation(connection, NEW, good).tokens == tokens_of()


class Interrupted(TokenKeys):
    """Keys at whose use something else happens once."""

    between: Callable[[], object] | None = None

    def seal(self, account_id: uuid.UUID, tokens: Tokens) -> SealedTokens:
        between, self.between = self.between, None
        if between is not None:
            between()
        return super().seal(account_id, tokens)


@pytest.mark.parametrize("refresh_token", ["newer", None])
def test_tokens_that_are_stored_while_old_ones_are_rotated_stand(
    transactions: Transactions, connection: Connection, refresh_token: str | None
) -> None:
    account = new_account(connection, tokens=tokens_of("old", refresh_token))
    newer = tokens_of("new", refresh_token)
    keys = Interrupted.from_setting(f"k2:{NEW_KEY},k1:{KEY}")
    keys.between = lambda: reauthorise(connection, TENANT, account, given(account, newer))
    assert rotate(transactions, keys) == Rotated(0, 1, ())
    assert load_authorisation(connection, BOTH, account).tokens == newer
    assert rotate(transactions, keys) == Rotated(1, 0, ())
    assert load_authorisation(connection, NEW, account).tokens == newer


def test_while_tokens_are_refreshed_and_read_none_is_lost(transactions: Transactions, connection: Connection) -> None:
    """A process that does not know yet that the new key is the current one goes on sealing with the old one."""
    accounts = [new_account(connection, "youtube", tokens=tokens_of("token-1")) for _ in range(10)]
    latest = dict.fromkeys(accounts, 1)
    stop = threading.Event()
    failures: list[BaseException] = []

    def live(account: uuid.UUID, refresh: TokenRefresh) -> None:
        answer = refresh.refresh(account, seen=latest[account])
        assert isinstance(answer, Refreshed)
        latest[account] = answer.version

    def work() -> None:
        exchange = lambda known: Renewed(tokens_of(f"token-{known.version + 1}", None), None)  # noqa: E731
        refresh = TokenRefresh(transactions, LEARNT, {"youtube": exchange}, "here")
        try:
            while not stop.is_set():
                for account in accounts:
                    live(account, refresh)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(15):
        assert rotate(transactions, BOTH, chunk=3).unreadable == ()
    stop.set()
    thread.join(30)
    assert failures == []
    assert rotate(transactions, BOTH).is_complete
    for account in accounts:
        authorisation = load_authorisation(connection, NEW, account)
        assert authorisation.version == latest[account]
        assert authorisation.tokens == tokens_of(f"token-{latest[account]}")
    assert min(latest.values()) > 1
