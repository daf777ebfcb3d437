"""The loops beside each other: woken by events and timers, and none stopped by another's failure."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import pytest

from penstock.schemas.errors import Code, UnavailableError
from penstock.workers.scheduler import listener as listener_module
from penstock.workers.scheduler import loop as loop_module
from penstock.workers.scheduler import runner as runner_module
from penstock.workers.scheduler.loop import Loop
from penstock.workers.scheduler.runner import Runner
from penstock.workers.telemetry.metrics import LOOP_FAILURES, LOOP_LAG, LOOP_SECONDS
from tests.system import Database, wait_for

LISTENERS = """
    SELECT pid FROM pg_stat_activity
     WHERE application_name = 'penstock-scheduler-events' AND datname = current_database()
"""
LONG = timedelta(hours=1)


@dataclass
class Counting:
    """A loop that counts its runs, and does what the test wants in each."""

    name: str = "counting"
    interval: timedelta = LONG
    channel: str | None = None
    act: Callable[[int], bool] = field(default=lambda _run: False)
    runs: int = 0

    def run_once(self) -> bool:
        self.runs += 1
        return self.act(self.runs)


Start = Callable[..., Runner]


@pytest.fixture
def start(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(listener_module, "RECONNECT_AFTER", timedelta(milliseconds=50))
    monkeypatch.setattr(loop_module, "FIRST_BACKOFF", timedelta(milliseconds=5))
    monkeypatch.setattr(loop_module, "LONGEST_BACKOFF", timedelta(milliseconds=50))
    started: list[Runner] = []

    def run(*loops: Loop, url: str = database.url) -> Runner:
        runner = Runner(loops, url)
        runner.start()
        started.append(runner)
        return runner

    yield run
    for runner in started:
        runner.stop()


def notify(database: Database, channel: str) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("SELECT pg_notify(%s, '')", (channel,))


def test_the_first_run_is_at_once_and_then_by_the_timer(start: Start) -> None:
    often, once = Counting("often", timedelta(milliseconds=5)), Counting("once")
    start(often, once)
    wait_for(lambda: often.runs >= 5 and once.runs == 1, "runs by the timer")
    assert once.runs == 1


def test_while_there_is_more_it_goes_on_without_a_pause(start: Start) -> None:
    loop = Counting(act=lambda run: run < 10)
    start(loop)
    wait_for(lambda: loop.runs == 10, "ten runs")


@pytest.mark.parametrize(
    "error",
    [UnavailableError(Code.QUEUE_UNAVAILABLE, "away"), RuntimeError("the payload is 'secret'"), KeyError("secret")],
    ids=["ours", "any", "another"],
)
def test_a_loop_that_fails_goes_on_and_stops_no_other(
    start: Start, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail_thrice(run: int) -> bool:
        if run <= 3:
            raise error
        return False

    failing = Counting("failing", act=fail_thrice)
    failures = LOOP_FAILURES.labels("failing")._value
    before = failures.get()
    beside = Counting("beside", timedelta(milliseconds=5))
    with caplog.at_level(logging.INFO):
        start(failing, beside)
        wait_for(lambda: failing.runs == 4, "the run after three failures")
        wait_for(lambda: "the loop failing works again" in caplog.text, "that it is told")
    seen = beside.runs
    wait_for(lambda: beside.runs > seen, "a run of the other loop")
    assert failures.get() == before + 3
    # An exception's text can quote what nobody is to read.
    assert "secret" not in caplog.text


def test_no_event_cuts_the_pause_after_a_failure_short(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "FIRST_BACKOFF", timedelta(seconds=30))
    monkeypatch.setattr(loop_module, "LONGEST_BACKOFF", timedelta(seconds=30))

    def fail(run: int) -> bool:
        raise UnavailableError(Code.QUEUE_UNAVAILABLE, "away")

    failing, beside = Counting("patient", LONG, "penstock_a", fail), Counting("beside", LONG, "penstock_a")
    runner = start(failing, beside)
    assert runner.listener.listening.wait(60)
    wait_for(lambda: failing.runs == 1 and beside.runs >= 2, "the failure, and the event's run beside it")
    began = time.monotonic()
    assert runner.stop(), "a stop does cut it short"
    assert time.monotonic() - began < 20
    assert failing.runs == 1


def test_how_long_it_takes_and_how_far_it_lags_are_metrics(start: Start) -> None:
    def fail(run: int) -> bool:
        raise UnavailableError(Code.QUEUE_UNAVAILABLE, "away")

    failing, well = Counting("lagging", act=fail), Counting("prompt", timedelta(milliseconds=5))
    start(failing, well)
    lag = LOOP_LAG.labels("lagging").collect()[0].samples
    wait_for(lambda: failing.runs >= 3, "three failures")

    def value(name: str) -> float:
        found: float = LOOP_LAG.labels(name).collect()[0].samples[0].value
        return found

    assert value("lagging") > lag[0].value
    wait_for(lambda: value("prompt") < value("lagging"), "the lag of the one that works to be less")
    assert LOOP_SECONDS.labels("lagging")._sum.get() > 0


def test_an_event_wakes_the_loops_of_its_channel_alone(start: Start, database: Database) -> None:
    mine, other, none = Counting("mine", LONG, "penstock_a"), Counting("other", LONG, "penstock_b"), Counting("none")
    runner = start(mine, other, none)
    assert runner.listener.listening.wait(60)
    # Listening begins with a run: what was told before is unknown.
    wait_for(lambda: mine.runs >= 2 and other.runs >= 2, "the runs when listening begins")
    before = (mine.runs, other.runs)
    began = time.monotonic()
    notify(database, "penstock_a")
    wait_for(lambda: mine.runs > before[0], "the run that the event asks for")
    assert time.monotonic() - began < 30, "well under the interval of an hour"
    assert (other.runs, none.runs) == (before[1], 1)


def test_an_event_during_a_run_is_not_lost(start: Start, database: Database) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold(run: int) -> bool:
        if runner_listens.is_set() and not entered.is_set():
            entered.set()
            go_on.wait(60)
        return False

    runner_listens = threading.Event()
    loop = Counting("held", LONG, "penstock_a", hold)
    runner = start(loop)
    assert runner.listener.listening.wait(60)
    wait_for(lambda: loop.runs >= 2, "the run when listening begins")
    runner_listens.set()
    notify(database, "penstock_a")
    assert entered.wait(60)
    during = loop.runs
    woken = threading.Event()
    thread = runner._threads[0]
    original = thread.wake

    def wake() -> None:
        original()
        woken.set()

    thread.wake = wake  # type: ignore[method-assign]
    notify(database, "penstock_a")
    assert woken.wait(60)
    assert loop.runs == during
    go_on.set()
    wait_for(lambda: loop.runs == during + 1, "one more run")


def test_a_listener_that_was_cut_off_comes_back_and_wakes_all(start: Start, database: Database) -> None:
    loop = Counting("cut", LONG, "penstock_a")
    runner = start(loop)
    assert runner.listener.listening.wait(60)
    wait_for(lambda: loop.runs >= 2, "the run when listening begins")
    before = loop.runs
    ((pid,),) = database.query(LISTENERS)
    assert database.value("SELECT pg_terminate_backend(%s, 5000)", pid)
    wait_for(lambda: loop.runs > before, "the run when listening begins anew")
    assert database.query(LISTENERS) not in ([], [(pid,)])


def test_without_postgresql_the_timer_has_to_do_and_a_stop_is_quick(start: Start) -> None:
    loop = Counting("deaf", timedelta(milliseconds=5), "penstock_a")
    runner = start(loop, url="postgresql://nobody@127.0.0.1:9/none")
    wait_for(lambda: loop.runs >= 5, "runs by the timer")
    began = time.monotonic()
    assert runner.stop()
    assert time.monotonic() - began < 20
    assert not runner.listener.listening.is_set()


def test_a_stop_lets_the_present_run_end_and_leaves_what_takes_too_long(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner_module, "STOP_WITHIN", timedelta(seconds=2))
    hung, quick = threading.Event(), threading.Event()
    ended = []

    def end_soon(_run: int) -> bool:
        quick.wait(60)
        ended.append("quick")
        return True

    def hang(_run: int) -> bool:
        hung.wait(60)
        return False

    slow = Counting("slow", act=end_soon)
    stuck = Counting("stuck", act=hang)
    runner = start(slow, stuck)
    wait_for(lambda: slow.runs == 1 and stuck.runs == 1, "both to run")
    threading.Timer(0.1, quick.set).start()
    with caplog.at_level(logging.WARNING):
        assert runner.stop() is False
    assert "left in the middle of a run: stuck" in caplog.text
    assert (ended, slow.runs) == (["quick"], 1)
    hung.set()
