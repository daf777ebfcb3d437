"""Rate limits against a model of them: exact up to 1,000 units a window, and above as exact as is promised."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from penstock.workers.protection.limits import LimitUse
from tests.workers.protection.limit_hammer import microseconds
from tests.workers.protection.limit_kit import SECOND, LimitKit, most_in_any_window, open_limits

#: Units above 1,000 a window may leave so much of a window later than they could.
SLACK = 100


@pytest.fixture
def kit(redis_url: str) -> Iterator[LimitKit]:
    yield from open_limits(redis_url)


def units(taken: list[tuple[int, int]], since_us: int) -> int:
    return sum(weight for at, weight in taken if at >= since_us)


def test_a_log_is_exact(kit: LimitKit) -> None:
    """Each answer is what a list of all that was given says: allowed, remaining, and from when the weight fits."""
    chance, window_us, limit = random.Random(4), 50_000, 40
    given: list[tuple[int, int]] = []
    refused = 0
    for _ in range(3_000):
        weight = chance.choice((1, 1, 1, 2, 5, 17))
        answer = kit.take("k", limit, timedelta(microseconds=window_us), weight)
        at = microseconds(answer.at)
        used = units(given, at - window_us)
        assert answer.allowed == (used + weight <= limit)
        if answer.allowed:
            given.append((at, weight))
            used += weight
        else:
            refused += 1
        assert answer.remaining["k"] == limit - used
        # At that instant it fits, and a microsecond before it does not.
        fits = microseconds(answer.resets["k"])
        assert units(given, fits - window_us) + weight <= limit
        assert fits == at or units(given, fits - 1 - window_us) + weight > limit
    assert refused > 100
    assert most_in_any_window(given, window_us) <= limit


def test_a_counter_never_gives_more_and_hardly_less(kit: LimitKit) -> None:
    """Its error is on one side: what has left is missing for a hundredth of a window."""
    chance, window_us, limit = random.Random(5), 200_000, 2_000
    given: list[tuple[int, int]] = []
    refused = 0
    ends_at = time.monotonic() + 2
    while time.monotonic() < ends_at:
        weight = chance.choice((1, 10, 100, 150))
        answer = kit.take("k", limit, timedelta(microseconds=window_us), weight)
        at = microseconds(answer.at)
        if answer.allowed:
            given.append((at, weight))
        else:
            refused += 1
            assert units(given, at - window_us - window_us // SLACK) + weight > limit
    assert refused > 100
    assert most_in_any_window(given, window_us) <= limit
    assert len(kit.log("k")) <= SLACK + 1


@pytest.mark.parametrize(("limit", "entries"), [(1_000, 1_000), (1_000_000, 101)])
def test_memory_is_bounded(kit: LimitKit, limit: int, entries: int) -> None:
    window = timedelta(seconds=1) if limit > 1_000 else timedelta(seconds=100)
    ends_at = time.monotonic() + 3
    for _ in range(1_500):
        kit.take("k", limit, window)
        if time.monotonic() > ends_at:
            break
    assert len(kit.log("k")) <= entries
    assert kit.client.memory_usage(kit.keys.key("limit:k")) < 48 * entries + 1_000


def test_everything_expires(kit: LimitKit) -> None:
    kit.limits.take([LimitUse("a", 10, 5 * SECOND), LimitUse("b", 10_000, 90 * SECOND)])
    kit.limits.block("c", 20 * SECOND, "429")
    left = {
        key.decode().removeprefix(kit.keys.base): kit.client.pttl(key) for key in kit.client.keys(f"{kit.keys.base}*")
    }
    assert set(left) == {":limit:a", ":limit:b", ":blocked:c", ":limited"}
    # Asked for one after the other, on a machine that others use.
    assert 2_000 < left[":limit:a"] <= 6_000
    assert 87_000 < left[":limit:b"] <= 92_000
    assert 16_000 < left[":blocked:c"] <= 20_000
    # The names live as long as the longest of what they name.
    assert left[":limit:b"] - 3_000 <= left[":limited"] <= 92_000


def test_names_of_keys_that_are_gone_go_too(kit: LimitKit) -> None:
    """One key that stays in use must not keep the names of all that ever were."""
    kit.take("kept", 10, 3_600 * SECOND)
    for number in range(300):
        kit.take(f"account:{number}", 10, 10 * timedelta(milliseconds=1))
    pattern = kit.keys.key("limit:account:*")
    while kit.client.keys(pattern):
        time.sleep(0.01)
    for number in range(300):
        kit.take(f"late:{number}", 10, 3_600 * SECOND)
    names = {name.decode() for name in kit.client.hkeys(kit.keys.key("limited"))}
    assert {"kept", *(f"late:{number}" for number in range(300))} <= names
    assert len(names) < 301 + 200


def test_a_clock_that_was_set_back_holds_nobody_longer_than_a_window(kit: LimitKit) -> None:
    """A server took over whose clock is an hour behind."""
    ahead = microseconds(datetime.now(UTC)) + 3_600_000_000
    kit.client.rpush(kit.keys.key("limit:k"), f"{ahead - 5} 7 7", f"{ahead} 10 3")
    refused = kit.take("k", 10, 60 * SECOND)
    assert (refused.allowed, refused.remaining) == (False, {"k": 0})
    assert refused.retry_after <= 60 * SECOND + timedelta(milliseconds=1)
    ((at, _, weight),) = kit.log("k")
    assert (at, weight) == (microseconds(refused.at), 10)


def test_clocks_that_differ_a_little_are_no_matter(kit: LimitKit) -> None:
    ahead = microseconds(datetime.now(UTC)) + 500_000
    kit.client.rpush(kit.keys.key("limit:k"), f"{ahead} 3 3")
    assert kit.take("k", 10, 60 * SECOND).remaining == {"k": 6}
    assert [total for _, total, _ in kit.log("k")] == [4]
