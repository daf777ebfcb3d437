"""What an operator changes wakes the jobs that it held: in their order, no other ones, and not all at one instant."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from penstock.producers.queue.scripts import Scripts
from penstock.workers.broker.leases import Verb
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_view import CircuitState
from penstock.workers.protection.limits import LimitUse, RateLimits
from penstock.workers.protection.limits_control import LimitControl, NewOverride
from penstock.workers.protection.waking import wake_held
from tests.queue_kit import QueueKit, open_kit

HOUR_MS = 3_600_000
NEW = NewOverride(1_000, timedelta(minutes=1))


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


def hold(kit: QueueKit, blocked_by: str, count: int = 1) -> list[UUID]:
    """Jobs that a gate told a turn, a second after each other from an hour on; the last enqueued has the first."""
    ids = kit.put(count)
    leased = {job.job_id: job for job in kit.lease(count)}
    for place, one in enumerate(reversed(ids)):
        kit.settle([leased[str(one)]], Verb.POSTPONE, delay=HOUR_MS + 1_000 * place, blocked_by=blocked_by)
    return ids[::-1]


def due(kit: QueueKit, ids: list[UUID]) -> list[float]:
    """Milliseconds from now until each is due."""
    seconds, microseconds = kit.client.time()  # type: ignore[misc]
    found: list[float] = kit.client.zmscore(kit.keys.key("scheduled"), [str(one) for one in ids])  # type: ignore[assignment]
    return [one - seconds * 1_000 - microseconds / 1_000 for one in found]


def woken(kit: QueueKit, ids: list[UUID]) -> list[bool]:
    return [left < 2_000 for left in due(kit, ids)]


def limits(kit: QueueKit) -> LimitControl:
    return LimitControl(kit.client, kit.namespace, "ada")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("account:1", [True, False, False, False]),
        ("account:*", [True, True, False, False]),
        ("account:10", [False, True, False, False]),
        ("acc", [False, False, False, False]),
    ],
)
def test_a_limit_wakes_those_that_it_held(kit: QueueKit, name: str, expected: list[bool]) -> None:
    ids = [
        hold(kit, blocked_by)[0]
        for blocked_by in ("limit:account:1", "limit:account:10", "circuit:account:1", "blocked:account:1")
    ]
    limits(kit).set_override(name, NEW, "they raised it")
    assert woken(kit, ids) == expected


def test_a_limit_that_is_cleared_and_a_block_that_is_lifted_wake(kit: QueueKit) -> None:
    limits(kit).set_override("account:1", NEW, "r")
    RateLimits(kit.client, kit.namespace).block("account:1", timedelta(hours=1), "429")
    limited, blocked = hold(kit, "limit:account:1"), hold(kit, "blocked:account:1")
    assert limits(kit).unblock("account:1", "r")
    assert woken(kit, limited + blocked) == [False, True]
    assert limits(kit).clear_override("account:1", "r")
    assert woken(kit, limited) == [True]


def test_a_default_wakes_the_keys_that_give_it(kit: QueueKit) -> None:
    uses = [LimitUse(f"account:{number}", 5, timedelta(minutes=1), default_key=f"platform:{number}") for number in "ab"]
    RateLimits(kit.client, kit.namespace).take(uses)
    of_a, of_b = hold(kit, "limit:account:a"), hold(kit, "limit:account:b")
    limits(kit).set_override("platform:a", NEW, "r")
    assert woken(kit, of_a + of_b) == [True, False]


def test_a_circuit_that_is_closed_or_let_go_wakes(kit: QueueKit) -> None:
    control = CircuitControl(kit.client, kit.namespace)
    ids = hold(kit, "circuit:platform:x")
    control.force("platform:x", CircuitState.OPEN, "r", "ada")
    assert woken(kit, ids) == [False]
    control.force("platform:x", CircuitState.CLOSED, "r", "ada")
    assert woken(kit, ids) == [True]
    again = hold(kit, "circuit:platform:x")
    control.auto("platform:x", "r", "ada")
    assert woken(kit, again) == [True]


def test_they_are_woken_in_their_order_one_after_the_other(kit: QueueKit) -> None:
    ids = hold(kit, "limit:k", 600)
    assert wake_held(kit.client, kit.namespace, lambda blocked_by: blocked_by == "limit:k") == 600
    waits = due(kit, ids)
    assert waits == sorted(waits)
    assert {round(later - sooner) for sooner, later in pairwise(waits[:500])} == {1}
    assert kit.client.llen(kit.keys.key("wake")) == 1, "an idle worker is woken, too"
    assert kit.client.hmget(kit.keys.job(ids[0]), "postpones", "attempts") == [None, None]


def test_nobody_is_made_later_and_what_has_changed_is_left_alone(kit: QueueKit) -> None:
    ids = hold(kit, "limit:k", 2)
    before = due(kit, ids)
    steps = Scripts(kit.client)
    assert steps.run("hasten", kit.keys, 2 * HOUR_MS, 1, str(ids[0]), "limit:k") == 0
    assert steps.run("hasten", kit.keys, 0, 1, str(ids[1]), "limit:other") == 0
    assert due(kit, ids) == pytest.approx(before, abs=2_000)


def test_who_was_asked_again_meanwhile_keeps_its_new_turn(kit: QueueKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look is for those that were being told their turns, not for those that were told anew."""
    first, late = hold(kit, "limit:k"), list[UUID]()

    def meanwhile(_seconds: float) -> None:
        (again,) = kit.lease()
        kit.settle([again], Verb.POSTPONE, delay=HOUR_MS, blocked_by="limit:k")
        late.extend(hold(kit, "limit:k"))

    monkeypatch.setattr("penstock.workers.protection.waking.time.sleep", meanwhile)
    assert wake_held(kit.client, kit.namespace, lambda blocked_by: blocked_by == "limit:k") == 2
    assert woken(kit, first + late) == [False, True]
