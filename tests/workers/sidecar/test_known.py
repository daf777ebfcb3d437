"""Reads that share a flight, keep their last good answer, and wait no longer than they may."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from penstock.schemas.errors import Code, NotFoundError, PenstockError, UnavailableError
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.known import Known
from penstock.workers.sidecar.postgresql import PostgresProbe, open_prompt_pool
from penstock.workers.sidecar.presence import Presence, seconds_left, within
from tests.system import wait_for


@pytest.fixture
def known() -> Iterator[Known]:
    made = Known(patience=timedelta(seconds=0.3), kept=3)
    yield made
    made.close()


def failing(error: Exception) -> Callable[[], int]:
    def ask() -> int:
        raise error

    return ask


AWAY = UnavailableError(Code.QUEUE_UNAVAILABLE, "away")


def test_those_who_ask_at_once_share_one_flight(known: Known) -> None:
    flights, landing = [], threading.Event()

    def ask() -> int:
        flights.append(1)
        landing.wait(60)
        return 7

    with ThreadPoolExecutor(8) as askers:
        answers = [askers.submit(known.read, "n", ask, patience=timedelta(seconds=60)) for _ in range(8)]
        wait_for(lambda: _waiting_for(known) == 8, "all to wait")
        landing.set()
        assert [answer.result().value for answer in answers] == [7] * 8
    assert len(flights) == 1


def _waiting_for(known: Known) -> int:
    """How many threads wait for a flight to land."""
    conditions: list[Any] = [flight._condition for flight in [*known._flights.values()]]
    return sum(len(one._waiters) for one in conditions)


def test_the_last_good_answer_is_given_while_the_server_is_away(known: Known) -> None:
    good = known.read("n", lambda: 7)
    assert not good.stale
    kept = known.read("n", failing(AWAY))
    assert (kept.value, kept.stale, kept.as_of, kept.error) == (7, True, good.as_of, AWAY)
    assert kept.as_dict() == {"as_of": good.as_of.isoformat(timespec="milliseconds"), "stale": True}


def test_where_nothing_is_known_the_error_is_told(known: Known) -> None:
    with pytest.raises(UnavailableError, match="away"):
        known.read("n", failing(AWAY))


def test_what_is_gone_is_gone_though_it_was_known(known: Known) -> None:
    known.read("n", lambda: 7)
    with pytest.raises(NotFoundError):
        known.read("n", failing(NotFoundError(Code.JOB_NOT_FOUND, "gone")))


def test_nobody_waits_longer_than_the_patience_and_what_comes_late_is_kept(known: Known) -> None:
    go_on = threading.Event()

    def ask() -> int:
        go_on.wait(60)
        return 8

    started = time.monotonic()
    with pytest.raises(PenstockError) as refusal:
        known.read("n", ask)
    assert (refusal.value.code, time.monotonic() - started < 20) == (Code.REQUEST_TIMEOUT, True)
    go_on.set()
    while known.last("n") is None:
        time.sleep(0.01)
    assert known.read("n", failing(AWAY)).value == 8


def test_a_fresh_answer_is_not_asked_again_and_the_oldest_is_forgotten(known: Known) -> None:
    known.read("n", lambda: 7)
    assert known.read("n", lambda: 8, fresh_for=timedelta(seconds=60)).value == 7
    assert known.read("n", lambda: 8).value == 8
    for name in range(3):
        known.read(name, lambda: 0)
    assert known.last("n") is None


def test_an_inner_limit_is_never_longer_than_the_one_around_it() -> None:
    assert seconds_left() is None
    with within(timedelta(seconds=1)):
        with within(timedelta(seconds=60)):
            assert 0 < (seconds_left() or 0) <= 1
        with within(timedelta(0)):
            assert seconds_left() == 0


def test_a_statement_ends_with_its_requests_time_in_the_server_too(settings: WorkerSettings) -> None:
    presence = Presence("PostgreSQL", PostgresProbe(settings))
    with open_prompt_pool(settings, presence) as pool:
        started = time.monotonic()
        limit, refusal = within(timedelta(seconds=0.4)), pytest.raises(psycopg.OperationalError, match="time")
        with refusal, limit, pool.connection() as connection:
            connection.execute("SELECT pg_sleep(30)")
        assert time.monotonic() - started < 20
        with pool.connection() as connection:
            _until_nobody_sleeps(connection)


def _until_nobody_sleeps(connection: psycopg.Connection) -> None:
    ends_at = time.monotonic() + 20
    while time.monotonic() < ends_at:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
            " AND datname = current_database()"
        ).fetchone()
        if row == (0,):
            return
        time.sleep(0.05)
    raise AssertionError("the server goes on with what nobody waits for")


def test_a_server_that_is_away_is_not_asked_by_pages(settings: WorkerSettings) -> None:
    nobody = settings.model_copy(update={"database_url": "postgresql://u:p@127.0.0.1:1/x"})
    presence = Presence("PostgreSQL", PostgresProbe(nobody))
    presence.ask()
    assert presence.is_away
    assert presence.away_since is not None
    with open_prompt_pool(nobody, presence) as pool:
        started = time.monotonic()
        for _ in range(50):
            with pytest.raises(psycopg.OperationalError, match="away"):
                pool.getconn()
        assert time.monotonic() - started < 10
