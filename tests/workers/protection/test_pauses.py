"""Pauses of kinds, platforms, accounts and tenants: who asks is told, and what waits for them is let go in order."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.producers.queue.audit import OperatorAction
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.broker.leases import Verb
from penstock.workers.protection.connection import connect_gates
from penstock.workers.protection.keys import gate_keys
from penstock.workers.protection.pauses import OFFER_EVERY, PauseControl, Pauses, park_of_pause, pausable_key
from tests.queue_kit import QueueKit, open_kit
from tests.recovery.servers import OwnValkey
from tests.system import wait_for

KIND = "kind:post.publish"
PARK = park_of_pause(KIND)


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


@pytest.fixture
def pauses(kit: QueueKit) -> Pauses:
    return Pauses(kit.client, kit.namespace)


@pytest.fixture
def control(kit: QueueKit) -> PauseControl:
    return PauseControl(kit.client, kit.namespace, "ada")


def refresh(pauses: Pauses) -> None:
    pauses.list()


def test_nothing_is_paused_unless_somebody_says_so(pauses: Pauses) -> None:
    assert pauses.ask([KIND, "tenant:acme"]) is None
    assert pauses.ask([]) is None
    assert pauses.list() == []
    assert pauses.paused([KIND]) is None


def test_the_first_paused_key_of_a_job_blocks_it(pauses: Pauses, control: PauseControl) -> None:
    assert control.pause(KIND, "they refuse everything")
    assert control.pause("account:7", "a token was stolen")
    keys = ["platform:instagram", KIND, "account:7"]
    assert pauses.ask(keys) == (f"paused:{KIND}", "they refuse everything")
    assert pauses.ask(["account:70", "kind:post.publish2", "platform:x"]) is None
    refresh(pauses)
    found = pauses.paused(keys)
    assert found is not None
    assert (found.key, found.pause.by, found.pause.reason) == (KIND, "ada", "they refuse everything")
    assert found.pause.at is not None
    assert [one.as_dict()["key"] for one in pauses.list()] == ["account:7", KIND]


def test_a_second_pause_or_resume_changes_nothing(kit: QueueKit, pauses: Pauses, control: PauseControl) -> None:
    assert control.resume(KIND, "nothing to resume") == (False, 0)
    assert control.pause(KIND, "first")
    assert not PauseControl(kit.client, kit.namespace, "bob").pause(KIND, "second")
    assert [(one.pause.by, one.pause.reason) for one in pauses.list()] == [("ada", "first")]
    assert control.resume(KIND, "done") == (True, 0)
    assert pauses.ask([KIND]) is None
    entries = [
        OperatorAction.decode(entry)
        for entry in kit.client.lrange(gate_keys(kit.namespace).key("audit"), 0, -1)  # type: ignore[union-attr]
    ]
    assert [(one.actor, one.action, one.target, one.reason) for one in entries] == [
        ("ada", "queue.pause", KIND, "first"),
        ("ada", "queue.resume", KIND, "done"),
    ]


def park(kit: QueueKit, count: int) -> list[str]:
    """Jobs that a gate has put aside, in another order than that of their enqueueing."""
    ids = [str(one) for one in kit.put(count)]
    leased = kit.lease(count)
    detail = {"key": PARK, "blocked_by": PARK, "offer": OFFER_EVERY // timedelta(milliseconds=1)}
    kit.settle(list(reversed(leased)), Verb.PARK, **detail)
    return ids


def test_a_resume_lets_what_waits_go_in_order_and_not_all_at_once(kit: QueueKit, control: PauseControl) -> None:
    control.pause(KIND, "x")
    ids = park(kit, 60)
    assert control.resume(KIND, "over") == (True, 60)
    seen: list[str] = []

    def all_are_back() -> bool:
        released = kit.leases.tick(kit.queue).released
        # 200 a second, and a tick catches up a second at the most.
        assert released <= 50
        seen.extend(job.job_id for job in kit.lease(60))
        return len(seen) == 60

    wait_for(all_are_back, "all jobs to be released")
    assert seen == ids


def test_without_a_resume_they_stay(kit: QueueKit, control: PauseControl) -> None:
    """The control."""
    control.pause(KIND, "x")
    park(kit, 3)
    assert kit.leases.tick(kit.queue).released == 0
    assert kit.inspector.counts(kit.queue).parked == 3


def test_a_new_pause_ends_the_ramp_of_the_last_resume(kit: QueueKit, control: PauseControl) -> None:
    control.pause(KIND, "x")
    park(kit, 3)
    control.resume(KIND, "over")
    park_info = kit.keys.key("parks")
    assert "rate" in json.loads(kit.client.hget(park_info, PARK))  # type: ignore[arg-type]
    control.pause(KIND, "again")
    assert "rate" not in json.loads(kit.client.hget(park_info, PARK))  # type: ignore[arg-type]
    # What is left is the offer, which comes so seldom that nothing goes round and round.
    assert kit.leases.tick(kit.queue).released == 0


def test_a_resume_that_was_cut_short_is_done_again(kit: QueueKit, control: PauseControl) -> None:
    control.pause(KIND, "x")
    park(kit, 3)
    kit.client.hdel(gate_keys(kit.namespace).key("paused"), KIND)
    assert control.resume(KIND, "over") == (False, 3)
    wait_for(lambda: kit.leases.tick(kit.queue).released > 0, "a job to be released")


def test_a_park_is_let_go_where_its_pause_is_over_for_certain(pauses: Pauses, control: PauseControl) -> None:
    """A job can be parked an instant after its key was resumed; whoever ticks finds it by this."""
    assert not pauses.is_resumed(PARK), "nothing is known yet"
    control.pause(KIND, "x")
    refresh(pauses)
    assert not pauses.is_resumed(PARK)
    assert not pauses.is_resumed("kind:post.publish"), "that is no park of a pause"
    control.resume(KIND, "y")
    refresh(pauses)
    assert pauses.is_resumed(PARK)


def test_what_is_not_readable_is_paused_all_the_same(kit: QueueKit, pauses: Pauses) -> None:
    kit.client.hset(gate_keys(kit.namespace).key("paused"), mapping={KIND: "{", "tenant:a": "1", "tenant:b": "null"})
    for key in (KIND, "tenant:a", "tenant:b"):
        assert pauses.ask([key]) == (f"paused:{key}", "")
    assert [one.key for one in pauses.list()] == [KIND, "tenant:a", "tenant:b"]


@pytest.mark.parametrize(("what", "name"), [("queue", "posts"), ("", "x"), ("kind", ""), ("tenant", "a b")])
def test_what_can_not_be_paused(what: str, name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        pausable_key(what, name)
    assert caught.value.code is Code.REQUEST_USAGE


def test_the_copy_in_memory_follows_and_outlives_redis() -> None:
    with OwnValkey() as server, connect_gates(server.url) as client:
        pauses, control = Pauses(client, "n"), PauseControl(client, "n", "ada")
        pauses.start()
        try:
            assert pauses.paused([KIND]) is None
            control.pause(KIND, "x")
            # As the pulse does that hears of the change.
            pauses.refresh()
            wait_for(lambda: pauses.paused([KIND]) is not None, "the pause to be known")
            server.kill9()
            wait_for(lambda: (pauses.age or timedelta(0)) > timedelta(seconds=1.5), "the copy to age")
            assert pauses.paused([KIND]) is not None
            assert not pauses.is_resumed(PARK)
            server.start()
            control.resume(KIND, "y")
            pauses.refresh()
            wait_for(lambda: pauses.paused([KIND]) is None, "the resume to be known")
        finally:
            pauses.stop()
