"""What runs too long is interrupted, and nothing after it."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.producers import JobState
from penstock.workers.broker.time_limits import HUNG_AFTER, ShutdownError, TimeLimitExceededError, TimeLimits
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Policy
from tests.workers.broker.conftest import Floor, Gate

SHORT = Policy(
    max_retries=1,
    backoff_base=timedelta(milliseconds=10),
    backoff_cap=timedelta(milliseconds=10),
    time_limit=timedelta(milliseconds=300),
)


def endless(_: Job) -> Outcome:
    while True:
        time.sleep(0.005)


def test_python_code_over_its_limit_is_interrupted_and_that_is_an_attempt(floor: Floor) -> None:
    floor.open(policy=SHORT, threads=1)
    view = floor.ended(floor.put("b", endless))
    assert (view.state, view.code, view.attempts) == ("dead", "JOB_TIME_LIMIT", 2)
    assert view.message == "the attempt took longer than 0.3 s"
    assert [(entry["attempt"], entry["outcome"], entry["code"]) for entry in view.history] == [
        (1, "retried", "JOB_TIME_LIMIT"),
        (2, "dead", "JOB_TIME_LIMIT"),
    ]
    for entry in view.history:
        assert entry["seconds"] >= 0.3
        assert entry["error"].endswith("TimeLimitExceededError")
        assert any("in endless" in frame for frame in entry["traceback"])
    assert floor.effects(view.job_id) == 0
    # The thread is as good as before.
    assert floor.ended(floor.put("next")).state == "done"


def test_an_actor_can_not_swallow_the_interrupt_by_mistake(floor: Floor) -> None:
    def careful(_: Job) -> Outcome:
        try:
            return endless(_)
        except Exception:  # what careless code does
            return Done()

    floor.open(policy=SHORT, threads=1)
    assert floor.ended(floor.put("b", careful)).code == "JOB_TIME_LIMIT"


def test_a_group_over_its_limit_is_dissolved(floor: Floor) -> None:
    """Nobody can say which of them takes so long."""
    ids = {name: floor.put(name) for name in ("a", "slow", "c")}
    floor.actor.behaviours["slow"] = endless
    policy = Policy(max_retries=0, time_limit=timedelta(seconds=1), group_limit=8)
    floor.open(policy=policy, threads=1)
    views = {name: floor.ended(job_id) for name, job_id in ids.items()}
    assert {name: view.state for name, view in views.items()} == {"a": "done", "slow": "dead", "c": "done"}
    assert floor.actor.attempts["a"][-1] == floor.actor.attempts["c"][-1] == 1
    assert json.dumps(views["slow"].history).count("JOB_TIME_LIMIT") == 1


def test_a_run_within_its_limit_is_left_alone(floor: Floor) -> None:
    gate = Gate()
    floor.open(policy=Policy(time_limit=timedelta(seconds=30)))
    job_id = floor.put("b", gate)
    gate.wait()
    time.sleep(0.3)  # more than one look of the watch
    gate.go_on.set()
    assert floor.ended(job_id).state == JobState.DONE


@pytest.fixture
def limits() -> Iterator[TimeLimits]:
    made = TimeLimits(lambda: None)
    yield made
    made.stop()


class Racer:
    """Runs that end just when their limit does."""

    def __init__(self, limits: TimeLimits, seed: int) -> None:
        self._limits = limits
        self._seed = seed
        self.interrupted = self.whole = self.escaped = 0

    def run(self) -> None:
        for number in range(1_500):
            try:
                self._run_once(0.0003 + (number * 7 + self._seed) % 40 * 5e-6)
                # What follows belongs to somebody else.
                for _ in range(60):
                    str(number)
            except TimeLimitExceededError:
                self.escaped += 1

    def _run_once(self, seconds: float) -> None:
        try:
            with self._limits.within(timedelta(microseconds=400)):
                ends_at = time.perf_counter() + seconds
                while time.perf_counter() < ends_at:
                    pass
            self.whole += 1
        except TimeLimitExceededError:
            self.interrupted += 1


def test_no_interrupt_lands_after_the_block(limits: TimeLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of runs each is interrupted in its block, or not at all."""
    monkeypatch.setattr("penstock.workers.broker.time_limits._LOOK_EVERY", timedelta(microseconds=1))
    limits.start()
    racers = [Racer(limits, seed) for seed in range(2)]
    threads = [threading.Thread(target=racer.run) for racer in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [racer.escaped for racer in racers] == [0, 0]
    assert sum(racer.interrupted for racer in racers) > 10
    assert sum(racer.whole for racer in racers) > 10
    assert not limits._runs


def test_a_shutdown_interrupts_all_that_runs_and_nothing_else(limits: TimeLimits) -> None:
    inside, caught = threading.Barrier(3), []

    def run() -> None:
        try:
            with limits.within(timedelta(hours=1)):
                inside.wait(60)
                while True:
                    time.sleep(0.001)
        except ShutdownError as error:
            caught.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(60)
    assert limits.interrupt_all(ShutdownError) == 2
    for thread in threads:
        thread.join(60)
    assert len(caught) == 2
    assert limits.interrupt_all(ShutdownError) == 0


def test_two_interrupts_at_once_are_one_end(limits: TimeLimits) -> None:
    limits.start()
    done, told = threading.Event(), []

    def run() -> None:
        for _ in range(300):
            try:
                with limits.within(timedelta(0)):
                    while True:
                        str(1)
            except (TimeLimitExceededError, ShutdownError) as error:
                told.append(type(error))
            finally:
                str(2)
        done.set()

    # Each run is over its limit at once, and the shutdown comes again and again beside the watch's own look.
    thread = threading.Thread(target=run)
    thread.start()
    while not done.is_set():
        limits.interrupt_all(ShutdownError)
        time.sleep(0.0005)
    thread.join(20)
    assert len(told) == 300


def test_a_hung_run_is_told() -> None:
    """Who sits in C code gets no interrupt; only the process can be ended."""
    now, hung = [0.0], threading.Event()
    limits = TimeLimits(hung.set, clock=lambda: now[0])
    inside, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def run() -> None:
        try:
            with limits.within(timedelta(seconds=1)):
                inside.set()
                # One call into C: the interrupt lands after it.
                go_on.wait(20)
        except TimeLimitExceededError:
            ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(60)
    now[0] = 2.0
    assert not limits._look()
    now[0] = 0.9 + HUNG_AFTER.total_seconds()
    assert not limits._look()
    now[0] = 1.1 + HUNG_AFTER.total_seconds()
    assert limits._look()
    limits.start()
    assert hung.wait(10)
    limits.stop()
    go_on.set()
    assert ended.wait(20)
