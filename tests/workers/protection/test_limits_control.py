"""What operators set, clear and see of rate limits."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.producers.queue.audit import OperatorAction
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.protection.limits_control import NewOverride
from tests.workers.protection.limit_kit import SECOND, LimitKit, open_limits

MINUTE = 60 * SECOND


@pytest.fixture
def kit(redis_url: str) -> Iterator[LimitKit]:
    yield from open_limits(redis_url)


def audit(kit: LimitKit) -> list[OperatorAction]:
    return [OperatorAction.decode(entry) for entry in kit.client.lrange(kit.keys.key("audit"), 0, -1)]


def holds(kit: LimitKit, key: str, default: str = "") -> int | None:
    """The limit that holds for a key whose caller wants 1,000 a minute, where nothing of it was taken."""
    taken = kit.take(key, 1_000, MINUTE, default=default)
    kit.client.delete(kit.keys.key(f"limit:{key}"))
    left = taken.remaining[key]
    return left if left is None or not taken.allowed else left + 1


def test_an_override_replaces_the_callers_limit_and_window(kit: LimitKit) -> None:
    kit.control.set_override("account:1", NewOverride(2, timedelta(hours=1)), "asked for")
    answers = [kit.take("account:1", 1_000, MINUTE) for _ in range(3)]
    assert [answer.allowed for answer in answers] == [True, True, False]
    assert answers[-1].retry_after > timedelta(minutes=59)
    assert kit.take("account:2", 1_000, MINUTE).remaining == {"account:2": 999}


def test_an_override_can_allow_more_at_once(kit: LimitKit) -> None:
    kit.take("account:1", 1)
    assert not kit.take("account:1", 1).allowed
    kit.control.set_override("account:1", NewOverride(5, MINUTE), "quota raised")
    assert kit.take("account:1", 1).remaining == {"account:1": 3}


def test_an_override_holds_where_the_caller_has_no_limit(kit: LimitKit) -> None:
    kit.control.set_override("account:1", NewOverride(0, MINUTE), "stop")
    assert kit.take("account:1", None).blocked_by == "limit:account:1"


def test_the_most_specific_override_holds(kit: LimitKit) -> None:
    """Each that is added goes before all that are there."""
    key = "tenant:acme/kind:submission_batch.write"
    added = ["tenant/kind:submission_batch.write", "tenant:*", "tenant:acme/*", "tenant:acme/kind:*", key]
    assert holds(kit, key, default=added[0]) == 1_000
    for limit, name in enumerate(added, start=10):
        kit.control.set_override(name, NewOverride(limit, MINUTE), "a test")
        assert holds(kit, key, default=added[0]) == limit, name
    assert holds(kit, "tenant:acme2/kind:x.y") == 11
    assert holds(kit, "tenants:acme") == 1_000


def test_an_override_runs_out_by_itself(kit: LimitKit) -> None:
    kit.control.set_override("k", NewOverride(1, MINUTE, timedelta(milliseconds=150)), "for a moment")
    assert holds(kit, "k") == 1
    ends_at = time.monotonic() + 5
    while holds(kit, "k") == 1:
        assert time.monotonic() < ends_at
    assert holds(kit, "k") == 1_000
    state = kit.state("k")
    assert state is None or state.override is None
    # What has run out is cleared away with the next one.
    kit.control.set_override("other", NewOverride(1, MINUTE), "x")
    assert kit.client.hkeys(kit.keys.key("limits")) == [b"other"]


def test_an_override_is_cleared_once(kit: LimitKit) -> None:
    kit.control.set_override("k", NewOverride(1, MINUTE), "x")
    assert kit.control.clear_override("k", "done")
    assert holds(kit, "k") == 1_000
    assert not kit.control.clear_override("k", "done again")


def test_a_block_is_lifted_once(kit: LimitKit) -> None:
    kit.limits.block("k", MINUTE, "429")
    assert kit.control.unblock("k", "a mistake of theirs")
    assert kit.take("k").allowed
    assert not kit.control.unblock("k", "again")


def test_each_change_is_audited_as_the_archive_reads_it(kit: LimitKit) -> None:
    kit.control.set_override("account:*", NewOverride(5, MINUTE, timedelta(days=1)), "Grüße an alle")
    kit.control.clear_override("account:*", "done")
    kit.limits.block("k", MINUTE, "429")
    kit.control.unblock("k", "wrong")
    # What changed nothing is no action.
    kit.control.clear_override("account:*", "again")
    kit.control.unblock("k", "again")
    entries = audit(kit)
    assert [(entry.action, entry.target, entry.reason, entry.actor) for entry in entries] == [
        ("limit.set", "account:*", "Grüße an alle", "ada"),
        ("limit.default", "account:*", "done", "ada"),
        ("limit.unblock", "k", "wrong", "ada"),
    ]
    assert dict(entries[0].details) == {"limit": 5, "window_ms": 60_000, "lasting_ms": 86_400_000}


@pytest.mark.parametrize("key", ["", " ", "*", "a b", "a:", "a*", "a:*/b", "ä", "a\n", "a" * 501])
def test_what_is_no_key_has_no_override(kit: LimitKit, key: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        kit.control.set_override(key, NewOverride(1, MINUTE), "x")
    assert raised.value.code is Code.REQUEST_USAGE
    assert audit(kit) == []


@pytest.mark.parametrize(
    ("limit", "window", "lasting"),
    [(-1, MINUTE, None), (10**12 + 1, MINUTE, None), (1, timedelta(days=32), None), (1, MINUTE, timedelta())],
)
def test_an_override_has_bounds(limit: int, window: timedelta, lasting: timedelta | None) -> None:
    with pytest.raises(InvalidInputError):
        NewOverride(limit, window, lasting)


class TestView:
    def test_a_key_in_use_is_shown_as_it_stands(self, kit: LimitKit) -> None:
        first = kit.take("account:1", 10, MINUTE, weight=4)
        kit.take("account:1", 10, MINUTE, weight=6)
        state = kit.state("account:1")
        assert state is not None
        assert state.as_dict() == {
            "key": "account:1",
            "limit": 10,
            "window_seconds": 60.0,
            "used": 10,
            "remaining": 0,
            # One more fits when the oldest leaves.
            "resets_at": (first.at + MINUTE + timedelta(microseconds=1)).isoformat(),
            "override": None,
            "blocked": None,
        }

    def test_overrides_and_blocks_are_shown_even_where_nothing_is_used(self, kit: LimitKit) -> None:
        kit.control.set_override("account:*", NewOverride(7, MINUTE), "why")
        until = kit.limits.block("account:9", MINUTE, "429")
        states = {state.key: state for state in kit.view.page(10)[0]}
        assert set(states) == {"account:*", "account:9"}
        pattern, blocked = states["account:*"], states["account:9"]
        assert (pattern.limit, pattern.used, pattern.override and pattern.override.by) == (7, 0, "ada")
        assert (blocked.limit, blocked.override and blocked.override.name) == (7, "account:*")
        assert blocked.blocked is not None
        assert (blocked.blocked.until, blocked.blocked.reason) == (until, "429")
        json.dumps([state.as_dict() for state in states.values()])

    def test_the_override_of_the_callers_default_is_shown(self, kit: LimitKit) -> None:
        kit.take("account:1", 10, default="platform:instagram")
        kit.control.set_override("platform:instagram", NewOverride(3, MINUTE), "why")
        state = kit.state("account:1")
        assert state is not None
        assert (state.limit, state.used, state.remaining) == (3, 1, 2)

    def test_pages_follow_each_other(self, kit: LimitKit) -> None:
        for number in range(7):
            kit.take(f"account:{number}")
        first, after = kit.view.page(4)
        rest, end = kit.view.page(4, after)
        assert [state.key for state in first + rest] == [f"account:{number}" for number in range(7)]
        assert (after, end) == ("account:3", None)

    def test_looking_changes_nothing(self, kit: LimitKit) -> None:
        kit.take("k", 10, timedelta(milliseconds=50))
        kit.take("k", 10, timedelta(milliseconds=50))
        before = kit.log("k")
        kit.view.page(10)
        assert kit.log("k") == before
