"""`penstock accounts`, as an operator runs it: tokens go in, and come out of nothing that is printed or recorded."""

import getpass
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet

from penstock.workers.accounts.store import load_authorisation
from penstock.workers.accounts.token_keys import TokenKeys
from penstock.workers.posts.claims import claim_due
from penstock.workers.posts.intake import schedule_post
from tests.posts_kit import Connection, ago, post_of, row_of
from tests.system import Database, Penstock, Run

KEYS = f"k1:{Fernet.generate_key().decode()}"
ACCESS, REFRESH = "access-Tok3n.in~full", "refresh-Tok3n.in~full"
TENANT = "acme"


@pytest.fixture(scope="module")
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The commands' environment, with keys and a tenant."""
    return environment | {"PENSTOCK_TOKEN_KEYS": KEYS, "PENSTOCK_TENANT": TENANT}


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection that commits each statement; posts and accounts are removed at the end."""
    with psycopg.connect(database.url, autocommit=True) as made:
        yield made
    database.query("TRUNCATE penstock.scheduled_posts, penstock.social_accounts, penstock.outbox")


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[str, ...]:
    """The options that give both tokens."""
    (tmp_path / "access").write_text(f"{ACCESS}\n")
    (tmp_path / "refresh").write_text(REFRESH)
    return "--token-file", str(tmp_path / "access"), "--refresh-token-file", str(tmp_path / "refresh")


def refused(run: Run, code: str, exit_code: int = 1) -> dict[str, Any]:
    assert (run.code, run.out) == (exit_code, ""), run.err
    assert run.error["code"] == code
    assert ACCESS not in run.err
    return run.error


def add(penstock: Penstock, *options: str, platform: str = "instagram", external_id: str = "178414") -> uuid.UUID:
    named = ("--name", "City news", "--owner", "press", "--reason", "a new account")
    run = penstock("accounts", "add", platform, external_id, *named, *options, "--json")
    assert run.code == 0, run.err
    return uuid.UUID(run.json["account_id"])


def audit(database: Database, account: uuid.UUID) -> list[tuple[Any, ...]]:
    columns = "action, actor, reason, details"
    return database.query(
        f"SELECT {columns} FROM penstock.operator_actions WHERE target = %s ORDER BY at", str(account)
    )


def test_an_account_is_added_listed_and_shown_and_its_tokens_are_nowhere(
    penstock: Penstock, database: Database, connection: Connection, tokens: tuple[str, ...]
) -> None:
    account = add(penstock, *tokens, "--expires-in", "60d")
    stored = load_authorisation(connection, TokenKeys.from_setting(KEYS), account)
    assert stored.tokens.access.get_secret_value() == ACCESS
    assert stored.tokens.refresh is not None
    assert stored.tokens.refresh.get_secret_value() == REFRESH
    assert stored.expires_at is not None
    assert timedelta(days=59) < stored.expires_at - datetime.now(UTC) < timedelta(days=61)
    listed, shown = penstock("accounts", "list", "--json"), penstock("accounts", "show", str(account), "--json")
    (item,) = listed.json["items"]
    assert {**item, "posts_waiting": 0} == shown.json
    assert (item["state"], item["owner"], item["external_id"], item["key_id"]) == ("active", "press", "178414", "k1")
    assert item["refresh_due_at"] is not None
    plain = penstock("accounts", "list").out + penstock("accounts", "show", str(account)).out
    assert "City news" in plain
    everything = listed.out + shown.out + plain + json.dumps(audit(database, account))
    ciphertext = database.value("SELECT encode(token_ciphertext, 'escape') FROM penstock.social_accounts")
    for secret in (ACCESS, REFRESH, str(ciphertext)):
        assert secret not in everything
    ((action, actor, reason, details),) = audit(database, account)
    assert (action, actor, reason) == ("account.add", getpass.getuser(), "a new account")
    assert (details["from"], details["to"], details["external_id"]) == (None, "active", "178414")


def test_lists_are_filtered_and_go_on(penstock: Penstock, connection: Connection, tokens: tuple[str, ...]) -> None:
    made = {str(add(penstock, *tokens, external_id=f"{number}")) for number in range(3)}
    add(penstock, *tokens, platform="youtube")
    first = penstock("accounts", "list", "--platform", "instagram", "--limit", "2", "--json").json
    rest = penstock("accounts", "list", "--platform", "instagram", "--after", first["next"], "--json").json
    assert {item["account_id"] for item in first["items"] + rest["items"]} == made
    assert rest["next"] is None
    assert penstock("accounts", "list", "--tenant", "another", "--json").json["items"] == []
    assert penstock("accounts", "list", "--state", "disabled", "--json").json["items"] == []


def test_a_token_comes_from_standard_input_too(penstock: Penstock, connection: Connection) -> None:
    named = ("--name", "n", "--owner", "press", "--reason", "r", "--json")
    run = penstock("accounts", "add", "mastodon", "1", *named, stdin=f"  {ACCESS}\n".encode())
    stored = load_authorisation(connection, TokenKeys.from_setting(KEYS), uuid.UUID(run.json["account_id"]))
    assert (stored.tokens.access.get_secret_value(), stored.tokens.refresh) == (ACCESS, None)
    assert run.json["notes"] == []


def test_what_will_end_unnoticed_is_told(penstock: Penstock, connection: Connection) -> None:
    named = ("--name", "n", "--owner", "press", "--reason", "r")
    run = penstock("accounts", "add", "facebook", "1", *named, stdin=ACCESS.encode())
    assert run.code == 0
    assert "without --refresh-token-file" in run.out
    assert "without --expires-in" in run.out


@pytest.mark.parametrize(
    ("stdin", "options", "code", "exit_code"),
    [
        (b"", (), "REQUEST_USAGE", 2),
        (b"two words", (), "REQUEST_USAGE", 2),
        (ACCESS.encode() + b"\x00", (), "REQUEST_USAGE", 2),
        (ACCESS.encode(), ("--token-file", "/none"), "REQUEST_FILE_NOT_FOUND", 1),
        (ACCESS.encode(), ("--refresh-token-file", "-"), "REQUEST_USAGE", 2),
        (ACCESS.encode(), ("--owner", "a b"), "REQUEST_USAGE", 2),
        (ACCESS.encode(), ("--name", "n" * 201), "REQUEST_USAGE", 2),
        (ACCESS.encode(), ("--expires-in", "soon"), "REQUEST_USAGE", 2),
        (ACCESS.encode(), ("--reason", " "), "REQUEST_USAGE", 2),
    ],
)
def test_what_is_wrong_with_an_account_is_refused(
    penstock: Penstock, database: Database, stdin: bytes, options: tuple[str, ...], code: str, exit_code: int
) -> None:
    named = ("--name", "n", "--owner", "press", "--reason", "r", *options, "--json")
    refused(penstock("accounts", "add", "mastodon", "1", *named, stdin=stdin), code, exit_code)
    assert database.value("SELECT count(*) FROM penstock.social_accounts") == 0


def test_unknown_platforms_and_second_accounts_are_refused(
    penstock: Penstock, connection: Connection, tokens: tuple[str, ...]
) -> None:
    add(penstock, *tokens)
    named = ("--name", "n", "--owner", "press", "--reason", "r", *tokens, "--json")
    told = refused(penstock("accounts", "add", "myspace", "1", *named), "ACCOUNT_INVALID_PLATFORM")
    assert "instagram" in told["message"]
    refused(penstock("accounts", "add", "instagram", "178414", *named), "ACCOUNT_CONFLICT")
    assert penstock("accounts", "add", "instagram", "178414", *named, "--tenant", "another").code == 0


def test_without_keys_the_command_says_how_to_make_one(penstock: Penstock, tokens: tuple[str, ...]) -> None:
    named = ("--name", "n", "--owner", "press", "--reason", "r", *tokens, "--json")
    error = refused(
        penstock("accounts", "add", "mastodon", "1", *named, env={"PENSTOCK_TOKEN_KEYS": None}), "CONFIG_INVALID"
    )
    assert "PENSTOCK_TOKEN_KEYS" in error["message"]
    assert "penstock accounts generate-key" in error["remedy"]
    made = penstock("accounts", "generate-key")
    assert TokenKeys.from_setting(made.out).current
    assert penstock("accounts", "generate-key", "--id", "k9", "--json").json["entry"].startswith("k9:")
    assert penstock("accounts", "list", env={"PENSTOCK_TOKEN_KEYS": None}).code == 0


def parked_post(connection: Connection, account: uuid.UUID) -> uuid.UUID:
    post_id = uuid.uuid4()
    schedule_post(connection, TENANT, post_id, post_of(account, ago(minutes=1)))
    with connection.transaction():
        assert claim_due(connection, datetime.now(UTC)).parked == (post_id,)
    return post_id


def test_new_tokens_let_the_posts_go_that_waited(
    penstock: Penstock, database: Database, connection: Connection, tokens: tuple[str, ...]
) -> None:
    account = add(penstock, *tokens)
    connection.execute(
        "UPDATE penstock.social_accounts SET state = 'reauthorize', state_code = 'ACCOUNT_TOKEN_EXPIRED'"
    )
    post = parked_post(connection, account)
    shown = penstock("accounts", "show", str(account))
    assert "reauthorize (ACCOUNT_TOKEN_EXPIRED)" in shown.out
    assert "1 post(s) wait for it" in shown.out
    assert f"penstock accounts reauthorize {account}" in shown.out
    given = ("--expires-in", "60d", "--reason", "they signed in")
    run = penstock("accounts", "reauthorize", str(account), *given, stdin=b"another-token")
    assert (run.code, run.out) == (0, f"{account} is active; 1 post(s) that waited for it go now\n")
    stored = load_authorisation(connection, TokenKeys.from_setting(KEYS), account)
    assert stored.tokens.access.get_secret_value() == "another-token"
    assert row_of(connection, post, "parked_at") is None
    action, _, reason, details = audit(database, account)[-1]
    assert (action, reason) == ("account.reauthorize", "they signed in")
    assert (details["from"], details["to"], details["released"]) == ("reauthorize", "active", 1)


def test_an_account_is_disabled_and_enabled(
    penstock: Penstock, database: Database, connection: Connection, tokens: tuple[str, ...]
) -> None:
    account = add(penstock, *tokens)
    change = ("--reason", "the campaign is over", "--yes", "--json")
    assert penstock("accounts", "disable", str(account), *change).json["changed"] is True
    assert penstock("accounts", "disable", str(account), *change).json["changed"] is False
    post = parked_post(connection, account)
    enabled = penstock("accounts", "enable", str(account), *change).json
    assert (enabled["changed"], enabled["state"]) == (True, "active")
    assert penstock("accounts", "enable", str(account), *change).json["changed"] is False
    assert row_of(connection, post, "parked_at") is None
    assert [action for action, *_ in audit(database, account)] == ["account.add", "account.disable", "account.enable"]


def test_what_changes_an_account_asks_first(
    penstock: Penstock, connection: Connection, tokens: tuple[str, ...]
) -> None:
    account = add(penstock, *tokens)
    refusal = penstock("accounts", "disable", str(account), "--reason", "r", stdin=b"n\n")
    assert (refusal.code, refusal.out) == (130, "")
    agreed = penstock("accounts", "disable", str(account), "--reason", "r", stdin=b"y\n")
    assert (agreed.code, agreed.out) == (0, f"{account} is disabled; its posts wait\n")


@pytest.mark.parametrize(
    "command", [("show",), ("disable", "--reason", "r", "--yes"), ("enable", "--reason", "r", "--yes")]
)
def test_an_account_of_nobody_or_of_another_tenant(
    penstock: Penstock, connection: Connection, tokens: tuple[str, ...], command: tuple[str, ...]
) -> None:
    account = add(penstock, *tokens)
    name, *options = command
    refused(penstock("accounts", name, str(uuid.uuid4()), *options, "--json"), "ACCOUNT_NOT_FOUND")
    refused(penstock("accounts", name, str(account), *options, "--tenant", "another", "--json"), "ACCOUNT_NOT_FOUND")


def test_reauthorising_an_account_of_nobody(penstock: Penstock) -> None:
    run = penstock("accounts", "reauthorize", str(uuid.uuid4()), "--reason", "r", "--json", stdin=ACCESS.encode())
    refused(run, "ACCOUNT_NOT_FOUND")


def test_keys_are_rotated_and_the_old_one_is_of_no_use_then(
    penstock: Penstock, database: Database, connection: Connection, tokens: tuple[str, ...]
) -> None:
    accounts = [add(penstock, *tokens, external_id=f"{number}") for number in range(3)]
    new = f"k2:{Fernet.generate_key().decode()}"
    rotate = ("accounts", "rotate-keys", "--reason", "the yearly change", "--yes")
    alone = penstock(*rotate, "--json", env={"PENSTOCK_TOKEN_KEYS": new})
    assert (alone.code, alone.json["complete"], alone.json["changed"]) == (1, False, 0)
    assert alone.error["code"] == "ACCOUNT_TOKEN_UNREADABLE"
    assert set(alone.json["unreadable"]) == {str(one) for one in accounts}
    done = penstock(*rotate, env={"PENSTOCK_TOKEN_KEYS": f"{new},{KEYS}"})
    assert (done.code, done.out) == (0, "complete: 3 account(s) are encrypted anew, with the key k2\n")
    for account in accounts:
        stored = load_authorisation(connection, TokenKeys.from_setting(new), account)
        assert stored.tokens.access.get_secret_value() == ACCESS
    again = penstock(*rotate, "--json", env={"PENSTOCK_TOKEN_KEYS": new}).json
    assert (again["complete"], again["changed"]) == (True, 0)
    recorded = database.query(
        "SELECT action, target FROM penstock.operator_actions WHERE action = 'account.rotate_keys'"
    )
    assert recorded == [("account.rotate_keys", "k2")] * 3
