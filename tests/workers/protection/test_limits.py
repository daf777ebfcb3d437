"""Rate limits: what is taken, what is refused, and what is told of it."""

import heapq
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.protection.limits import LONGEST_BLOCK, LimitUse, tenant_use
from tests.recovery.servers import full
from tests.workers.protection.limit_kit import SECOND, LimitKit, open_limits

MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def kit(redis_url: str) -> Iterator[LimitKit]:
    yield from open_limits(redis_url)


def wait(duration: timedelta) -> None:
    """As a caller does that was told to come back then."""
    time.sleep(duration.total_seconds())


def test_a_limit_is_given_out_and_then_refused(kit: LimitKit) -> None:
    taken = [kit.take("account:1", limit=3) for _ in range(4)]
    assert [answer.allowed for answer in taken] == [True, True, True, False]
    assert [answer.remaining["account:1"] for answer in taken] == [2, 1, 0, 0]
    first, last = taken[0], taken[-1]
    assert last.blocked_by == "limit:account:1"
    # The oldest unit leaves when its window is over.
    assert last.resets["account:1"] == first.at + 60 * SECOND + timedelta(microseconds=1)
    assert timedelta() <= last.at + last.retry_after - last.resets["account:1"] < MILLISECOND


def test_what_comes_back_when_it_was_told_to_is_let_through(kit: LimitKit) -> None:
    window = 300 * MILLISECOND
    assert kit.take("k", 1, window).allowed
    refused = kit.take("k", 1, window)
    assert not refused.allowed
    wait(refused.retry_after)
    again = kit.take("k", 1, window)
    assert again.allowed
    assert again.at >= refused.resets["k"]


def test_what_is_refused_is_not_counted(kit: LimitKit) -> None:
    window = 300 * MILLISECOND
    kit.take("k", 2, window, weight=2)
    refused = [kit.take("k", 2, window) for _ in range(20)]
    assert not any(answer.allowed for answer in refused)
    assert len(kit.log("k")) == 1
    wait(refused[-1].retry_after)
    assert kit.take("k", 2, window, weight=2).allowed


def test_several_limits_are_taken_all_or_nothing(kit: LimitKit) -> None:
    kit.take("full", limit=1)
    both = [LimitUse("free", 5, 60 * SECOND, 2), LimitUse("full", 1, 60 * SECOND)]
    refused = kit.limits.take(both)
    assert (refused.allowed, refused.blocked_by, refused.remaining) == (False, "limit:full", {"free": 5, "full": 0})
    assert kit.log("free") == []
    taken = kit.limits.take([LimitUse("free", 5, 60 * SECOND, 2), LimitUse("other", 1, 60 * SECOND)])
    assert (taken.allowed, taken.remaining) == (True, {"free": 3, "other": 0})


def test_of_several_refusals_the_longest_is_told(kit: LimitKit) -> None:
    uses = [LimitUse("short", 1, 10 * SECOND), LimitUse("long", 1, 100 * SECOND), LimitUse("mid", 1, 50 * SECOND)]
    assert kit.limits.take(uses).allowed
    refused = kit.limits.take(uses)
    assert refused.blocked_by == "limit:long"
    assert refused.retry_after > 99 * SECOND


def test_uses_of_one_key_in_one_call_add_up(kit: LimitKit) -> None:
    uses = [LimitUse("k", 5, 60 * SECOND, 2), LimitUse("other", 5, 60 * SECOND), LimitUse("k", 5, 60 * SECOND, 2)]
    taken = kit.limits.take(uses)
    assert (taken.allowed, taken.remaining) == (True, {"k": 1, "other": 4})
    assert [total for _, total, _ in kit.log("k")] == [4]
    assert not kit.limits.take(uses).allowed
    assert [total for _, total, _ in kit.log("k")] == [4]


def test_a_heavy_use_waits_for_as_much_as_it_weighs(kit: LimitKit) -> None:
    first, second, _ = (kit.take("k", 10, weight=weight) for weight in (3, 3, 4))
    tick = 60 * SECOND + timedelta(microseconds=1)
    for weight, at in ((1, first.at), (3, first.at), (4, second.at), (6, second.at)):
        assert kit.take("k", 10, weight=weight).resets["k"] == at + tick


def test_what_never_fits_is_asked_again_within_a_minute(kit: LimitKit) -> None:
    """An operator may change the limit meanwhile."""
    for limit, weight in ((0, 1), (5, 6)):
        refused = kit.take("k", limit, timedelta(days=1), weight)
        assert (refused.allowed, refused.blocked_by, refused.retry_after) == (False, "limit:k", 60 * SECOND)


def test_without_a_limit_all_is_allowed_and_nothing_noted(kit: LimitKit) -> None:
    taken = kit.take("k", None)
    assert (taken.allowed, taken.remaining) == (True, {"k": None})
    assert kit.client.keys(f"{kit.keys.base}*") == []


@pytest.mark.parametrize(
    "use",
    [
        pytest.param({"key": ""}, id="no key"),
        pytest.param({"weight": 0}, id="no weight"),
        pytest.param({"limit": -1}, id="a limit below 0"),
        pytest.param({"window": 9 * MILLISECOND}, id="too short a window"),
        pytest.param({"window": timedelta(days=32)}, id="too long a window"),
        pytest.param({"window": timedelta(seconds=1, microseconds=1)}, id="less than a millisecond"),
    ],
)
def test_a_use_that_makes_no_sense_is_refused(use: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError) as raised:
        LimitUse(**({"key": "k", "limit": 1, "window": SECOND} | use))  # type: ignore[arg-type]
    assert raised.value.code is Code.REQUEST_USAGE


def test_each_tenant_has_a_limit_for_each_kind(kit: LimitKit) -> None:
    uses = [tenant_use(tenant, kind, 1, 60 * SECOND) for tenant in ("a", "b") for kind in ("x.y", "x.z")]
    assert kit.limits.take(uses).allowed
    assert not kit.limits.take(uses[:1]).allowed
    assert tenant_use("a", "x.y", 0, SECOND).limit is None


def work_off(kit: LimitKit, jobs: int, limit: int, window: timedelta, *, line_up: bool) -> tuple[float, int]:
    """One caller with many jobs, each asked for again when it was told to; returns seconds and questions."""
    begun = time.monotonic()
    due = [(0.0, number) for number in range(jobs)]
    waited: set[int] = set()
    questions = 0
    while due:
        at, number = heapq.heappop(due)
        time.sleep(max(0.0, begun + at - time.monotonic()))
        asked_at = time.monotonic() - begun
        taken = kit.limits.take([LimitUse("k", limit, window)], line_up=line_up and number not in waited)
        questions += 1
        waited.add(number)
        if not taken.allowed:
            heapq.heappush(due, (asked_at + taken.retry_after.total_seconds(), number))
    return time.monotonic() - begun, questions


def test_those_who_line_up_come_back_one_after_the_other(kit: LimitKit) -> None:
    """All are worked off as fast as the limit allows, and nearly each is asked for twice at the most."""
    window = 500 * MILLISECOND
    jobs = 1_000 if full() else 200
    ideal = 9 * window.total_seconds()
    # A process that stands still for a while misses turns, and asks again: the best of three is what the line is like.
    for _ in range(3):
        seconds, questions = work_off(kit, jobs, jobs // 10, window, line_up=True)
        assert seconds >= ideal
        if seconds < 1.2 * ideal and questions < 4 * jobs:
            break
    assert seconds < (1.2 if full() else 4) * ideal
    assert questions < 4 * jobs, "without a line it is 5.5 times"
    assert kit.client.pttl(kit.keys.key("line:k")) != -1


def test_those_who_do_not_come_back_in_vain(kit: LimitKit) -> None:
    """The control: all come for the first unit that leaves."""
    # A process that stands still asks less often: the best of three, as above.
    most = 0
    for _ in range(3):
        most = max(most, work_off(kit, 300, 20, 100 * MILLISECOND, line_up=False)[1])
        if most > 2.5 * 300:
            break
    assert most > 2.5 * 300


def test_turns_are_told_one_after_the_other_and_nobody_takes_one_away(kit: LimitKit) -> None:
    window = SECOND
    kit.take("k", 2, window, weight=2)
    told = [kit.limits.take([LimitUse("k", 2, window)], line_up=True).retry_after for _ in range(6)]
    assert [round(wait / window) for wait in told] == [1, 1, 2, 2, 3, 3]
    wait(told[0])
    newcomer = kit.limits.take([LimitUse("k", 2, window)], line_up=True)
    assert not newcomer.allowed
    assert newcomer.retry_after > 2 * window
    assert [kit.take("k", 2, window).allowed for _ in range(3)] == [True, True, False], "those whose turn it is take"


@pytest.mark.parametrize("taken", [2, 1], ids=["all left", "some room from the beginning"])
def test_turns_that_nobody_comes_for_are_free_a_second_later(kit: LimitKit, taken: int) -> None:
    window = 5 * SECOND if taken == 1 else 200 * MILLISECOND
    kit.take("k", 2, window, weight=taken)
    assert not kit.limits.take([LimitUse("k", 2, window, weight=2)], line_up=True).allowed
    one = [LimitUse("k", 2, window)]
    assert not kit.limits.take(one, line_up=True).allowed, "it is set aside"
    wait(SECOND if taken == 1 else SECOND + window)
    assert kit.limits.take(one, line_up=True).allowed


def test_turns_told_by_another_limit_hold_nobody_up(kit: LimitKit) -> None:
    """An operator who raises a limit must not leave a line behind that is as long as it was."""
    window = 60 * SECOND
    kit.take("k", 2, window, weight=2)
    for _ in range(100):
        kit.limits.take([LimitUse("k", 2, window)], line_up=True)
    assert [kit.limits.take([LimitUse("k", 5, window)], line_up=True).allowed for _ in range(4)] == [True] * 3 + [False]


class TestBlocks:
    def test_a_blocked_key_is_refused_until_then(self, kit: LimitKit) -> None:
        until = kit.limits.block("account:1", 200 * MILLISECOND, "429")
        refused = kit.take("account:1")
        assert (refused.allowed, refused.blocked_by, refused.remaining) == (
            False,
            "blocked:account:1",
            {"account:1": 10},
        )
        assert timedelta() < refused.retry_after <= 201 * MILLISECOND
        assert kit.take("account:2").allowed
        wait(refused.retry_after)
        again = kit.take("account:1")
        assert again.allowed
        assert again.at >= until

    def test_a_block_holds_where_there_is_no_limit(self, kit: LimitKit) -> None:
        kit.limits.block("k", 5 * SECOND, "429")
        assert kit.take("k", None).blocked_by == "blocked:k"

    def test_of_several_blocks_the_longest_wins(self, kit: LimitKit) -> None:
        long = kit.limits.block("k", 100 * SECOND, "first")
        assert kit.limits.block("k", 5 * SECOND, "shorter") - long < MILLISECOND * 5
        state = kit.state("k")
        assert state is not None
        assert state.blocked is not None
        assert state.blocked.reason == "first"
        longer = kit.limits.block("k", long + 100 * SECOND, "longer")
        assert longer == long + 100 * SECOND
        assert 190 * SECOND < kit.take("k").retry_after < 201 * SECOND

    def test_a_block_in_the_past_or_far_ahead(self, kit: LimitKit) -> None:
        kit.limits.block("k", datetime(2020, 1, 1, tzinfo=UTC), "past")
        assert kit.take("k").allowed
        until = kit.limits.block("k", timedelta(days=4_000), "a mistake")
        assert abs(until - kit.take("k").at - LONGEST_BLOCK) < SECOND
        assert kit.client.pttl(kit.keys.key("blocked:k")) > 0

    def test_limit_and_block_together_tell_the_longer_one(self, kit: LimitKit) -> None:
        kit.take("k", 1, 20 * SECOND)
        kit.limits.block("k", 5 * SECOND, "429")
        assert kit.take("k", 1, 20 * SECOND).blocked_by == "limit:k"
        kit.limits.block("k", 50 * SECOND, "429")
        assert kit.take("k", 1, 20 * SECOND).blocked_by == "blocked:k"
