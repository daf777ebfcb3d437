"""Accounts: added once, found by their tenant, and whether their posts may go out."""

import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from penstock.schemas.errors import Code, ConflictError, NotFoundError
from penstock.workers.accounts.account import AccountState, NewAccount
from penstock.workers.accounts.store import (
    account_gate,
    add_account,
    disable,
    enable,
    find_account,
    list_accounts,
    load_authorisation,
    reauthorise,
    require_reauthorisation,
)
from tests.posts_kit import KEYS, TENANT, Connection, given, new_account, tokens_of
from tests.system import Database


def test_an_account_is_added_once(connection: Connection) -> None:
    account = NewAccount(uuid.uuid4(), "press", "facebook", "page-1", "Our page", {"page": True})
    add_account(connection, TENANT, account, given(account.account_id))
    found = find_account(connection, TENANT, account.account_id)
    assert found is not None
    assert (found.name, found.state, found.metadata, found.key_id) == ("Our page", "active", {"page": True}, "k1")
    assert "token_ciphertext" not in found.as_dict()
    again = NewAccount(uuid.uuid4(), "sport", "facebook", "page-1", "The same page", {})
    with pytest.raises(ConflictError, match="ACCOUNT_CONFLICT"):
        add_account(connection, TENANT, again, given(again.account_id))
    add_account(connection, "another", again, given(again.account_id))
    assert find_account(connection, TENANT, again.account_id) is None


def test_lists_have_what_was_asked_for_page_by_page(connection: Connection) -> None:
    press = {new_account(connection) for _ in range(3)}
    sport = new_account(connection, "youtube", owner="sport")
    disable(connection, TENANT, sport)
    first = list_accounts(connection, TENANT, owner="press", limit=2)
    rest = list_accounts(connection, TENANT, owner="press", after=first[-1].account_id)
    assert {account.account_id for account in [*first, *rest]} == press
    assert [account.account_id for account in list_accounts(connection, TENANT, platform="youtube")] == [sport]
    assert [account.account_id for account in list_accounts(connection, TENANT, state=AccountState.DISABLED)] == [sport]
    assert list_accounts(connection, "another") == []


def test_tokens_come_back_with_their_version(connection: Connection) -> None:
    ends = datetime.now(UTC) + timedelta(minutes=4)
    account = new_account(connection, tokens=tokens_of("a", "r"), expires_at=ends)
    authorisation = load_authorisation(connection, KEYS, account)
    assert (authorisation.tokens, authorisation.version) == (tokens_of("a", "r"), 1)
    assert authorisation.wants_renewal(datetime.now(UTC), timedelta(minutes=5))
    assert not authorisation.wants_renewal(datetime.now(UTC), timedelta(minutes=3))
    with pytest.raises(NotFoundError, match="ACCOUNT_NOT_FOUND"):
        load_authorisation(connection, KEYS, uuid.uuid4())


def test_a_dead_token_closes_the_gate_until_it_is_authorised_anew(connection: Connection) -> None:
    account = new_account(connection)
    assert account_gate(connection, account).is_open
    assert require_reauthorisation(connection, account, 1, Code.ACCOUNT_TOKEN_EXPIRED)
    gate = account_gate(connection, account)
    assert (gate.is_open, gate.state, gate.code) == (False, "reauthorize", "ACCOUNT_TOKEN_EXPIRED")
    reauthorise(connection, TENANT, account, given(account, tokens_of("new")))
    assert account_gate(connection, account).is_open
    assert load_authorisation(connection, KEYS, account).tokens == tokens_of("new")
    # A refusal of the old token that comes late says nothing of the new one.
    assert not require_reauthorisation(connection, account, 1, Code.ACCOUNT_TOKEN_EXPIRED)
    assert account_gate(connection, account).is_open


def test_what_an_operator_took_out_of_use_is_not_opened_by_a_dead_token(connection: Connection) -> None:
    account = new_account(connection)
    assert disable(connection, TENANT, account)
    assert not disable(connection, TENANT, account)
    assert not require_reauthorisation(connection, account, 1, Code.ACCOUNT_TOKEN_EXPIRED)
    assert account_gate(connection, account).code == "ACCOUNT_DISABLED"
    assert enable(connection, TENANT, account)
    assert account_gate(connection, account).is_open
    assert not enable(connection, "another", account)


def test_who_is_not_there_is_not_found(connection: Connection) -> None:
    with pytest.raises(NotFoundError, match="ACCOUNT_NOT_FOUND"):
        account_gate(connection, uuid.uuid4())
    account = new_account(connection)
    with pytest.raises(NotFoundError, match="ACCOUNT_NOT_FOUND"):
        reauthorise(connection, "another", account, given(account))


def test_the_reader_sees_accounts_and_no_ciphertext(connection: Connection, database: Database) -> None:
    new_account(connection)
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("SET ROLE penstock_reader")
        assert admin.execute("SELECT name, state FROM penstock.social_accounts").fetchall()
        for column in ("token_ciphertext", "refresh_token_ciphertext", "*"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), admin.transaction():
                admin.execute(f"SELECT {column} FROM penstock.social_accounts".encode())
