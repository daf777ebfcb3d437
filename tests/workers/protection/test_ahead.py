"""Jobs that a question lets in ahead: few questions for many jobs, and still never more than the limit."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import islice, takewhile

import pytest

from penstock.workers.protection.ahead import FIRST, LONGEST, MOST, Ahead
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_view import CircuitState
from penstock.workers.protection.gates import JobGates
from penstock.workers.protection.keys import gate_keys
from penstock.workers.protection.limits import LimitUse
from penstock.workers.protection.pauses import PauseControl
from tests.workers.protection.test_gates import Bench

MINUTE = timedelta(minutes=1)
LIMITED = JobGates(keys=("kind:k",), uses=(LimitUse("k", 1_000_000, MINUTE),))


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    made = Bench(redis_url)
    yield made
    for key in made.client.scan_iter(match=f"{made.namespace}:*"):
        made.client.delete(key)


def questions(bench: Bench, gates: JobGates, jobs: int) -> int:
    """How many commands so many jobs cost Redis, one job after the other, all of which are let in."""
    asked = []
    scripts = bench.gates._scripts
    real = scripts.run

    def run(*arguments: object) -> object:
        asked.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    scripts.run = run  # type: ignore[method-assign]
    assert [bench.ask(gates) for _ in range(jobs)] == [[None]] * jobs
    del scripts.run  # type: ignore[attr-defined]
    return len(asked)


def used(bench: Bench) -> int:
    log = bench.client.lrange(gate_keys(bench.namespace).key("limit:k"), 0, -1)
    return sum(int(entry.split()[2]) for entry in log)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "gates", [LIMITED, replace(LIMITED, circuits=("c",)), JobGates(circuits=("c",))], ids=["limit", "both", "circuit"]
)
def test_a_stream_of_jobs_costs_few_questions_and_all_are_counted(bench: Bench, gates: JobGates) -> None:
    assert questions(bench, gates, 1_000) < 100
    if gates.uses:
        assert 1_000 <= used(bench) <= 1_000 + 2 * MOST


@pytest.mark.parametrize(
    "gates",
    [
        JobGates(uses=(LimitUse("k", 99, MINUTE),)),
        JobGates(uses=(LimitUse("k", 1_000_000, timedelta(milliseconds=99)),)),
        JobGates(uses=(LimitUse("k", 1_000_000, MINUTE), LimitUse("k", 1_000_000, MINUTE))),
        JobGates(uses=(LimitUse("k", 1_000_000, MINUTE, weight=20_000),)),
    ],
    ids=["a small limit", "a short window", "two uses of one key", "a large weight"],
)
def test_nothing_is_let_in_ahead(bench: Bench, gates: JobGates) -> None:
    assert questions(bench, gates, 20) == 20


def test_nothing_is_let_in_ahead_of_a_limit_that_is_half_used(bench: Bench) -> None:
    bench.ask(JobGates(uses=(LimitUse("k", 10_000, MINUTE, weight=5_000),)))
    assert questions(bench, JobGates(uses=(LimitUse("k", 10_000, MINUTE),)), 50) == 50


def test_a_circuit_that_is_opened_is_heard_of_in_time(bench: Bench) -> None:
    gates = JobGates(circuits=("c",))
    assert questions(bench, gates, 50) < 50
    CircuitControl(bench.client, bench.namespace).force("c", CircuitState.OPEN, "a test", "ada")
    forced_at = time.monotonic()
    asked_at = forced_at
    while bench.ask(gates) == [None]:
        assert asked_at - forced_at <= LONGEST.total_seconds(), "it was let in when it had to be known"
        asked_at = time.monotonic()
    assert bench.ask(gates)[0] is not None


def test_a_pause_holds_those_that_were_let_in_ahead(bench: Bench) -> None:
    assert questions(bench, LIMITED, 50) < 50
    PauseControl(bench.client, bench.namespace, "ada").pause("kind:k", "a test")
    bench.pauses.list()
    (refusal,) = bench.ask(LIMITED)
    assert refusal is not None
    assert refusal.blocked_by == "paused:kind:k"


def most_surely_within(let_in: list[tuple[float, float]], seconds: float) -> int:
    """The most jobs that were asked for and let in between two instants so far apart, whatever the threads' delays."""
    starts = sorted(let_in)
    most = 0
    for first, (start, _) in enumerate(starts):
        ends_at = start + seconds
        begun = takewhile(lambda one, ends_at=ends_at: one[0] < ends_at, islice(starts, first, None))
        most = max(most, sum(noted_at < ends_at for _, noted_at in begun))
    return most


def test_in_no_window_are_more_than_the_limit(bench: Bench, redis_url: str) -> None:
    """Two processes that ask as fast as they can, until the limit binds and beyond."""
    limit, window = 1_000, timedelta(milliseconds=600)
    gates = JobGates(uses=(LimitUse("k", limit, window),))
    other = Bench(redis_url)
    other.namespace = bench.namespace
    other.gates._keys = bench.gates._keys
    at: list[tuple[float, float]] = []
    ends_at = time.monotonic() + 2

    def ask(asking: Bench) -> None:
        while (asked_at := time.monotonic()) < ends_at:
            if asking.ask(gates) == [None]:
                at.append((asked_at, time.monotonic()))

    threads = [threading.Thread(target=ask, args=(one,)) for one in (bench, other, bench, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most_surely_within(at, window.total_seconds()) <= limit
    assert len(at) > 2 * limit, "it is used up, too"


class TestHowMany:
    def test_none_at_first_and_then_more_as_long_as_they_are_used(self) -> None:
        now = [100.0]
        ahead: Ahead[str] = Ahead(lambda: now[0])
        sizes = []
        for _ in range(8):
            sizes.append(ahead.wanted("g"))
            if sizes[-1]:
                ahead.grant("g", sizes[-1], now[0], LONGEST)
            while ahead.spend("g"):
                pass
        assert sizes == [0, FIRST, 8, 16, 32, 64, MOST, MOST]
        now[0] += 1
        assert ahead.wanted("g") == 0, "questions are rare"
        assert ahead.wanted("other") == 0

    def test_who_asks_leaves_half_to_the_others_meanwhile(self) -> None:
        ahead: Ahead[str] = Ahead(lambda: 100.0)
        ahead.grant("g", 10, 100.0, LONGEST)
        assert [ahead.spend("g") for _ in range(6)] == [True] * 5 + [False]
        assert ahead.wanted("g") == 20
        assert ahead.wanted("g") == 0
        assert [ahead.spend("g") for _ in range(6)] == [True] * 5 + [False]

    def test_what_is_left_is_used_before_what_comes_and_each_has_its_end(self) -> None:
        now = [100.0]
        ahead: Ahead[str] = Ahead(lambda: now[0])
        ahead.grant("g", 4, 100.0, LONGEST)
        ahead.grant("g", 4, 100.05, LONGEST)
        now[0] = 100.12
        assert [ahead.spend("g") for _ in range(5)] == [True] * 4 + [False]

    @pytest.mark.parametrize(("used", "wanted"), [(3, [3]), (0, [0, FIRST])])
    def test_what_runs_out_is_not_used_and_fewer_are_wanted(self, used: int, wanted: list[int]) -> None:
        now = [100.0]
        ahead: Ahead[str] = Ahead(lambda: now[0])
        ahead.grant("g", 10, now[0], LONGEST)
        assert [ahead.spend("g") for _ in range(used)] == [True] * used
        now[0] += LONGEST.total_seconds()
        assert not ahead.spend("g")
        assert [ahead.wanted("g") for _ in wanted] == wanted

    def test_one_asks_for_more_at_a_time_unless_its_answer_got_lost(self) -> None:
        now = [100.0]
        ahead: Ahead[str] = Ahead(lambda: now[0])
        assert [ahead.wanted("g") for _ in range(4)] == [0, FIRST, 0, 0]
        for _ in range(3):
            now[0] += 0.19
            found = ahead.wanted("g")
        assert found == FIRST
