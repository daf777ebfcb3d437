"""Limits that a job takes of once, however often it asks within the window."""

import random
import secrets
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.workers.protection.gates import JobGates, Question
from penstock.workers.protection.limits import LimitUse
from penstock.workers.protection.limits_control import NewOverride
from tests.workers.protection.limit_hammer import microseconds
from tests.workers.protection.limit_kit import SECOND, LimitKit, most_in_any_window, open_limits
from tests.workers.protection.test_gates import Bench, blocked

HOUR = timedelta(hours=1)
ACCOUNT = LimitUse("account:1", 2, HOUR, default_key="platform:x/account", once=True)


@pytest.fixture
def kit(redis_url: str) -> Iterator[LimitKit]:
    yield from open_limits(redis_url)


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    made = Bench(redis_url)
    yield made
    for key in made.client.scan_iter(match=f"{made.namespace}:*"):
        made.client.delete(key)
    made.client.close()


def run(bench: Bench, job: str, *uses: LimitUse) -> str | None:
    """Ask the gates for one more run of a job, with a lease of its own; by what it is refused."""
    question = Question(f"{job}/{secrets.token_hex(4)}", JobGates(uses=uses), lines_up=True, job=job)
    return blocked(bench.gates.ask([question]))[0]


def used(kit: LimitKit, key: str = "account:1") -> int:
    state = kit.state(key)
    return 0 if state is None else state.used


def test_a_job_takes_once_in_all_its_runs(bench: Bench, kit: LimitKit) -> None:
    kit.view = type(kit.view)(bench.client, bench.namespace)
    assert [run(bench, "a", ACCOUNT) for _ in range(5)] == [None] * 5
    assert used(kit) == 1
    assert run(bench, "b", ACCOUNT) is None
    assert used(kit) == 2
    # It is full now: for others, and not for those that have taken of it.
    assert [run(bench, job, ACCOUNT) for job in "cab"] == ["limit:account:1", None, None]
    assert used(kit) == 2


def test_jobs_of_one_delivery_are_told_apart(bench: Bench) -> None:
    gates = JobGates(uses=(ACCOUNT,))
    questions = [Question(f"{job}/1", gates, lines_up=False, job=job) for job in ("a", "a", "b", "c", "a")]
    assert blocked(bench.gates.ask(questions)) == [None, None, None, "limit:account:1", None]


def test_a_use_that_counts_each_time_does_so_beside_one_that_does_not(kit: LimitKit) -> None:
    each = LimitUse("each", 3, HOUR)
    taken = [kit.limits.take([ACCOUNT, each], job="a") for _ in range(4)]
    assert [one.allowed for one in taken] == [True] * 3 + [False]
    assert taken[2].remaining == {"account:1": 1, "each": 0}
    assert taken[3].blocked_by == "limit:each"


def test_without_a_name_each_call_counts(kit: LimitKit) -> None:
    assert [kit.limits.take([ACCOUNT]).allowed for _ in range(3)] == [True, True, False]


def test_what_is_refused_has_taken_nothing(kit: LimitKit) -> None:
    """All or nothing: the job is not taken for one that has its share of the limit that had room."""
    full = LimitUse("full", 0, HOUR, once=True)
    assert not kit.limits.take([ACCOUNT, full], job="a").allowed
    assert kit.limits.take([ACCOUNT], job="b").remaining == {"account:1": 1}
    assert kit.limits.take([ACCOUNT], job="a").remaining == {"account:1": 0}


def test_two_windows_end_each_by_itself(kit: LimitKit) -> None:
    short, long = LimitUse("k", 1, timedelta(milliseconds=200), once=True), LimitUse("k/day", 5, HOUR, once=True)
    first = kit.limits.take([short, long], job="a")
    while (again := kit.limits.take([short, long], job="a")).at <= first.resets["k"]:
        assert again.allowed
        assert kit.log("k")[-1][1] == 1, "nothing was taken within the window"
    assert again.allowed
    assert (len(kit.log("k")), kit.log("k/day")[-1][1]) == (1, 1)
    assert not kit.limits.take([short, long], job="b").allowed, "the hour was taken of anew"


def test_a_window_that_has_passed_is_taken_of_anew_and_may_be_full(kit: LimitKit) -> None:
    use = LimitUse("k", 1, timedelta(milliseconds=200), once=True)
    assert kit.limits.take([use], job="a").allowed
    while not kit.limits.take([use], job="b").allowed:
        pass
    refused = kit.limits.take([use], job="a")
    assert (refused.allowed, refused.blocked_by) == (False, "limit:k")


def test_a_block_holds_those_that_have_taken(kit: LimitKit) -> None:
    assert kit.limits.take([ACCOUNT], job="a").allowed
    kit.limits.block("account:1", HOUR, "429")
    assert kit.limits.take([ACCOUNT], job="a").blocked_by == "blocked:account:1"
    kit.control.unblock("account:1", "a test")
    assert kit.limits.take([ACCOUNT], job="a").remaining == {"account:1": 1}


@pytest.mark.parametrize("name", ["account:1", "account:*", "platform:x/account"])
def test_operators_limits_hold(kit: LimitKit, name: str) -> None:
    assert kit.limits.take([ACCOUNT], job="a").allowed
    kit.control.set_override(name, NewOverride(1, HOUR), "a test")
    assert kit.limits.take([ACCOUNT], job="a").allowed
    assert not kit.limits.take([ACCOUNT], job="b").allowed
    kit.control.set_override(name, NewOverride(0, HOUR), "nothing at all")
    assert kit.limits.take([ACCOUNT], job="a").blocked_by == "limit:account:1"


def test_an_operators_window_says_until_when_it_has_taken(kit: LimitKit) -> None:
    assert kit.limits.take([ACCOUNT], job="a").allowed
    kit.control.set_override("account:1", NewOverride(5, timedelta(milliseconds=10)), "a test")
    (first,) = kit.log("account:1")
    ends_at = time.monotonic() + 10
    while kit.log("account:1") == [first]:
        assert kit.limits.take([ACCOUNT], job="a").remaining == {"account:1": 4}
        assert time.monotonic() < ends_at
    (second,) = kit.log("account:1")
    assert second[0] - first[0] > 10_000


def test_nothing_is_let_in_ahead(bench: Bench) -> None:
    """Of a limit that is large enough for it: the control is that it is, where each run counts."""
    for once, expected in ((True, 40), (False, 0)):
        gates = JobGates(uses=(LimitUse(f"k{once}", 1_000_000, HOUR, once=once),))
        for number in range(40):
            if not bench.gates.lets_in(gates):
                assert bench.gates.ask([Question("h", gates, False, f"job-{number}")]) == [None]
        keys = bench.client.lrange(f"{bench.namespace}:{{gates}}:limit:k{once}", -1, -1)
        total = int(keys[0].split()[1])  # type: ignore[index]
        assert (total == expected) if once else (total > 40)


def test_of_a_counter_a_job_takes_once_too(kit: LimitKit) -> None:
    use = LimitUse("k", 5_000, HOUR, once=True)
    assert [kit.limits.take([use], job="a").remaining["k"] for _ in range(3)] == [4_999] * 3
    assert kit.limits.take([use], job="b").remaining["k"] == 4_998


def test_memory_is_bounded_by_the_latest_thousand(kit: LimitKit) -> None:
    """Whoever took before these counts again."""
    use = LimitUse("k", 1_000_000, HOUR, once=True)
    with kit.client.pipeline(transaction=False):
        for number in range(1_200):
            kit.limits.take([use], job=f"{number:036}")
    name = kit.keys.key("jobs:k")
    assert kit.client.zcard(name) == 1_000
    assert kit.client.memory_usage(name, samples=0) < 200_000
    left = kit.limits.take([use], job=f"{1_199:036}").remaining["k"]
    assert left == 1_000_000 - 1_200
    assert kit.limits.take([use], job=f"{0:036}").remaining["k"] == left - 1


def test_jobs_leave_with_the_window_and_their_list_expires(kit: LimitKit) -> None:
    use = LimitUse("k", 100, timedelta(milliseconds=100), once=True)
    for number in range(20):
        kit.limits.take([use], job=f"early-{number}")
    name = kit.keys.key("jobs:k")
    assert 0 < kit.client.pttl(name) <= 1_100
    ends_at = time.monotonic() + 10
    while kit.client.zrangebyscore(name, "-inf", "+inf", start=0, num=1)[0].startswith(b"early"):
        kit.limits.take([use], job=f"late-{time.monotonic_ns()}")
        assert time.monotonic() < ends_at
    assert not [one for one in kit.client.zrange(name, 0, -1) if one.startswith(b"early")]


def test_a_clock_that_was_set_back_makes_nobody_free_for_longer(kit: LimitKit) -> None:
    taken = kit.limits.take([ACCOUNT], job="a")
    ahead = microseconds(taken.at) + 3_600_000_000
    kit.client.lset(kit.keys.key("limit:account:1"), 0, f"{ahead} 1 1")
    kit.client.zadd(kit.keys.key("jobs:account:1"), {"a": ahead})
    assert kit.limits.take([ACCOUNT], job="a").remaining == {"account:1": 0}, "it has taken anew"
    assert kit.limits.take([ACCOUNT], job="a").allowed
    assert not kit.limits.take([ACCOUNT], job="b").allowed


def test_in_no_window_are_more_jobs_than_the_limit(kit: LimitKit) -> None:
    """Jobs that ask at random, from several threads: each free run lies within a window of a counted one."""
    window, limit = timedelta(milliseconds=300), 5
    use = LimitUse("k", limit, window, once=True)
    runs: list[tuple[int, str]] = []
    ends_at = time.monotonic() + 2

    def ask(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < ends_at:
            job = f"job-{chance.randrange(12)}"
            taken = kit.limits.take([use], job=job)
            if taken.allowed:
                runs.append((microseconds(taken.at), job))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    window_us = window // timedelta(microseconds=1)
    counted: list[tuple[int, int]] = []
    since: dict[str, int] = {}
    for at, job in sorted(runs):
        if at - since.get(job, -window_us - 1) > window_us:
            since[job] = at
            counted.append((at, 1))
    assert most_in_any_window(counted, window_us) == limit, "used up, and no more"
    assert len(runs) > 5 * len(counted), "and most runs were free"


def test_waiting_jobs_keep_their_turns(kit: LimitKit) -> None:
    """Those that have taken stand in nobody's way, and are in nobody's line."""
    use = LimitUse("k", 1, 2 * SECOND, once=True)
    assert kit.limits.take([use], line_up=True, job="a").allowed
    waits = [kit.limits.take([use], line_up=True, job=job).retry_after for job in "bc"]
    assert kit.limits.take([use], line_up=True, job="a").retry_after == timedelta(0)
    assert waits[1] - waits[0] > timedelta(seconds=1.5)
