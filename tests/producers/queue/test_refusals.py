"""Refusals: a flood of them becomes a few rows, by the minute and the network."""

import pytest

from penstock.producers.queue.refusals import ELSEWHERE, KINDS, Refusal, RefusalCounts, prefix_of

ONE = Refusal("unknown", "api_key.refused", "203.0.113.0/24", "AUTH_TOKEN_INVALID")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_first_of_a_minute_is_told_at_once_and_the_others_are_counted(clock: Clock) -> None:
    counts = RefusalCounts(clock)
    first = counts.note(ONE)
    assert first is not None
    assert (first.actor, first.action, first.target) == ("unknown", "api_key.refused", "203.0.113.0/24")
    assert first.details == {"code": "AUTH_TOKEN_INVALID"}
    assert [counts.note(ONE) for _ in range(1_000)] == [None] * 1_000
    clock.now += 59.9
    assert counts.take() == []
    clock.now += 0.2
    (counted,) = counts.take()
    assert (counted.target, counted.details["count"], counted.details["code"]) == (
        "203.0.113.0/24",
        1_000,
        "AUTH_TOKEN_INVALID",
    )
    assert counts.take() == []
    assert counts.note(ONE) is not None


def test_one_alone_is_told_once(clock: Clock) -> None:
    counts = RefusalCounts(clock)
    counts.note(ONE)
    assert counts.take(every=True) == []


def test_a_stop_tells_what_was_counted_so_far(clock: Clock) -> None:
    counts = RefusalCounts(clock)
    for _ in range(3):
        counts.note(ONE)
    (counted,) = counts.take(every=True)
    assert counted.details["count"] == 2


def test_a_flood_from_everywhere_is_bounded_and_none_is_lost(clock: Clock) -> None:
    counts = RefusalCounts(clock)
    told = [counts.note(Refusal("unknown", "api_key.refused", f"network {number}")) for number in range(5_000)]
    at_once = [entry for entry in told if entry is not None]
    assert len(at_once) == KINDS + 1
    (counted,) = counts.take(every=True)
    assert counted.target == ELSEWHERE
    assert len(at_once) + counted.details["count"] == 5_000


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("", "unknown"),
        ("testclient", "unknown"),
    ],
)
def test_a_network_and_no_address_is_told(address: str, prefix: str) -> None:
    assert prefix_of(address) == prefix
