"""Refreshing tokens: one at a time for an account in the whole cluster, and nothing that comes late is taken."""

import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from penstock.schemas.errors import Code
from penstock.workers.accounts import leases
from penstock.workers.accounts.account import Authorisation
from penstock.workers.accounts.refresh import (
    AuthorisationEnded,
    NotNow,
    Refreshed,
    Refused,
    Renewed,
    TokenRefresh,
    Unanswered,
)
from penstock.workers.accounts.renewal import Renewal, renewal_of
from penstock.workers.accounts.store import account_gate, find_account, load_authorisation, reauthorise
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.settings import WorkerSettings
from tests.posts_kit import KEY, KEYS, TENANT, Connection, ago, given, new_account, tokens_of

ROOT = Path(__file__).parents[3]
PROCESSES = 8
NOW = datetime(2026, 11, 21, tzinfo=UTC)
Make = Callable[..., TokenRefresh]


@pytest.fixture
def make(settings: WorkerSettings, connection: Connection) -> Iterator[Make]:
    """Makes a refresh that gets one answer, or what a function says, for every account."""
    with open_pool(settings, "penstock-test") as pool:
        pool.wait(60)

        def made(answer: Any) -> TokenRefresh:
            exchange = answer if callable(answer) else lambda _: answer
            platforms = ("instagram", "youtube")
            return TokenRefresh(Transactions(pool, settings), KEYS, dict.fromkeys(platforms, exchange), "here")

        yield made


def renewed(access: str = "new", refresh: str | None = None, days: int = 60) -> Renewed:
    return Renewed(tokens_of(access, refresh), ago(days=-days))


def test_new_tokens_are_stored_and_the_old_refresh_token_stays(make: Make, connection: Connection) -> None:
    account = new_account(connection, tokens=tokens_of("old", "forever"))
    assert make(renewed()).refresh(account, seen=1) == Refreshed(2)
    authorisation = load_authorisation(connection, KEYS, account)
    assert (authorisation.tokens, authorisation.version) == (tokens_of("new", "forever"), 2)
    make(renewed("newer", "another")).refresh(account)
    assert load_authorisation(connection, KEYS, account).tokens == tokens_of("newer", "another")


def test_who_has_seen_an_older_version_asks_nobody(make: Make, connection: Connection) -> None:
    account = new_account(connection)
    refresh = make(renewed())
    refresh.refresh(account, seen=1)
    assert make(lambda _: pytest.fail("asked")).refresh(account, seen=1) == Refreshed(2)


def test_while_one_refreshes_others_are_told_to_look_again(make: Make, connection: Connection) -> None:
    account = new_account(connection)
    answers: list[object] = []

    def exchange(_: Authorisation) -> Renewed:
        answers.append(make(lambda _: pytest.fail("asked")).refresh(account, seen=1))
        return renewed()

    assert make(exchange).refresh(account, seen=1) == Refreshed(2)
    (answer,) = answers
    assert isinstance(answer, NotNow)
    assert answer.code is None
    assert timedelta() < answer.retry_after <= timedelta(seconds=2)


def test_a_token_that_is_dead_closes_the_account_and_tells_without_its_text(
    make: Make, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    account = new_account(connection, tokens=tokens_of("tell-nobody"))
    with caplog.at_level(logging.DEBUG):
        assert make(Refused()).refresh(account, seen=1) == AuthorisationEnded("ACCOUNT_TOKEN_EXPIRED")
    assert account_gate(connection, account).state == "reauthorize"
    assert "must be authorised anew" in caplog.text
    assert "tell-nobody" not in caplog.text
    assert make(lambda _: pytest.fail("asked")).refresh(account) == AuthorisationEnded("ACCOUNT_TOKEN_EXPIRED")


def test_no_answer_changes_nothing_and_frees_the_lease(make: Make, connection: Connection) -> None:
    account = new_account(connection, due_at=ago(minutes=1))
    answer = make(Unanswered(Code.PLATFORM_API_TIMEOUT, timedelta(minutes=7))).refresh(account, seen=1)
    assert answer == NotNow(Code.PLATFORM_API_TIMEOUT, timedelta(minutes=7))
    found = find_account(connection, TENANT, account)
    assert found is not None
    assert found.refresh_code == "PLATFORM_API_TIMEOUT"
    assert found.refresh_due_at is not None
    assert found.refresh_due_at > ago(minutes=-6)
    assert make(renewed()).refresh(account, seen=1) == Refreshed(2)


def test_an_exchange_that_breaks_frees_the_lease(make: Make, connection: Connection) -> None:
    account = new_account(connection)

    def broken(_: Authorisation) -> Renewed:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make(broken).refresh(account, seen=1)
    assert make(renewed()).refresh(account, seen=1) == Refreshed(2)


def test_who_was_stopped_for_longer_than_his_lease_changes_nothing(make: Make, connection: Connection) -> None:
    account = new_account(connection)

    def slow(_: Authorisation) -> Renewed:
        connection.execute("UPDATE penstock.social_accounts SET refresh_lease_until = now() - INTERVAL '1 s'")
        assert make(renewed("by another")).refresh(account, seen=1) == Refreshed(2)
        return renewed("late")

    assert isinstance(make(slow).refresh(account, seen=1), NotNow)
    assert load_authorisation(connection, KEYS, account).tokens.access == tokens_of("by another").access


@pytest.mark.parametrize("late", [renewed("late"), Refused()], ids=["new tokens", "a refusal"])
def test_what_a_person_authorised_meanwhile_stands(make: Make, connection: Connection, late: object) -> None:
    account = new_account(connection)

    def slow(_: Authorisation) -> object:
        reauthorise(connection, TENANT, account, given(account, tokens_of("by a person")))
        return late

    assert isinstance(make(slow).refresh(account, seen=1), NotNow)
    assert load_authorisation(connection, KEYS, account).tokens == tokens_of("by a person")
    assert account_gate(connection, account).is_open


def test_the_calendar_refreshes_what_is_due_and_nothing_else(make: Make, connection: Connection) -> None:
    due = [new_account(connection, due_at=ago(days=days)) for days in (1, 2)]
    later, never = new_account(connection, due_at=ago(days=-1)), new_account(connection, "youtube")
    asked: list[uuid.UUID] = []

    def exchange(authorisation: Authorisation) -> Renewed:
        asked.append(authorisation.account_id)
        return renewed()

    refresh = make(exchange)
    assert [(one.account_id, one.platform, one.outcome) for one in refresh.refresh_due()] == [
        (account, "instagram", "refreshed") for account in due[::-1]
    ]
    assert refresh.refresh_due() == []
    assert asked == due[::-1]
    assert {find_account(connection, TENANT, account).tokens_version for account in (later, never)} == {1}  # type: ignore[union-attr]
    found = find_account(connection, TENANT, due[0])
    assert found is not None
    assert found.refresh_due_at is not None
    assert ago(days=-44) < found.refresh_due_at < ago(days=-46)


def days(count: float) -> timedelta:
    return timedelta(days=count)


CALENDAR = {
    "60 days": ("instagram", days(60), days(45)),
    "20 days": ("facebook", days(20), days(10)),
    "an hour": ("instagram", days(1 / 24), days(1)),
    "no end": ("facebook", None, None),
    "with a refresh token": ("youtube", days(1 / 24), None),
    "unknown": ("elsewhere", days(60), None),
}


@pytest.mark.parametrize(("platform", "life", "due"), CALENDAR.values(), ids=CALENDAR)
def test_when_the_calendar_comes(platform: str, life: timedelta | None, due: timedelta | None) -> None:
    ends = None if life is None else NOW + life
    assert renewal_of(platform).due_at(NOW, ends) == (None if due is None else NOW + due)
    assert Renewal().due_at(NOW, NOW) is None


class Endpoint(ThreadingHTTPServer):
    """Gives a new token for the one that it gave last, takes its time, and counts."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Endpoint)
        token = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with self.server.lock:
            self.server.asked.append(token)
            number = len(self.server.asked)
        threading.Event().wait(0.3)
        body = json.dumps({"access_token": f"token-{number}", "expires_in": 3600}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the library's
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def test_of_eight_processes_one_refreshes(
    environment: dict[str, str], connection: Connection, endpoint: Endpoint
) -> None:
    account = new_account(connection, "youtube", tokens=tokens_of("token-0"))
    env = environment | {
        "PENSTOCK_TOKEN_KEYS": f"k1:{KEY}",
        "PENSTOCK_POOL_MIN": "1",
        "ENDPOINT": f"http://127.0.0.1:{endpoint.server_port}/",
        "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)]),
    }
    command = [sys.executable, "-m", "tests.workers.accounts.refresher", str(account)]
    started = [
        subprocess.Popen(command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        told = [json.loads(process.communicate(timeout=60)[0]) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert told == [{"version": 2, "token": "token-1"}] * PROCESSES
    assert endpoint.asked == ["token-0"]


def test_without_the_lease_each_process_would_refresh(
    make: Make, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: what it counts is held down by the lease alone."""
    account, asked = new_account(connection), []

    def exchange(authorisation: Authorisation) -> Renewed:
        asked.append(authorisation.version)
        if len(asked) < 3:
            make(exchange).refresh(account, seen=1)
        return renewed()

    unguarded = leases._TAKE.replace("refresh_lease_until < clock_timestamp()", "true")
    monkeypatch.setattr(leases, "_TAKE", unguarded)
    make(exchange).refresh(account, seen=1)
    assert len(asked) == 3
