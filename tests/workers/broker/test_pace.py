"""How much a process leases ahead of its threads: a moment's work, by what the jobs before took."""

import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from penstock.schemas.envelope import EnvelopeHeader
from penstock.workers.broker.consumer import QueueConsumer
from penstock.workers.broker.delivery import OpenedJob
from penstock.workers.broker.leases import LeasedJob
from penstock.workers.broker.pace import Pace
from penstock.workers.job import Postpone
from penstock.workers.registry import Policy
from tests.system import wait_for
from tests.workers.broker.conftest import QUEUE, Chore, Floor, Gate

THREADS, GROUP = 4, 8


def opened(size: int = 100, kind: str = Chore.kind) -> OpenedJob:
    identity = uuid4()
    leased = LeasedJob(
        queue=QUEUE,
        job_id=str(identity),
        kind=kind,
        tenant="acme",
        message=b"." * size,
        token="boot/1",
        attempts=0,
        recoveries=0,
        crashes=0,
        postpones=0,
        postponed_at=None,
        parked_at=None,
        ready_at=0,
        leased_at=0,
        suspect=False,
    )
    header = EnvelopeHeader(id=identity, kind=kind, queue=QUEUE, tenant="acme", enqueued_at=datetime.now(UTC))
    return OpenedJob(leased, header, b"")


def pace_of(milliseconds: float, *, threads: int = THREADS, group: int = GROUP) -> Pace:
    """What is known when a job of 100 bytes took so long, and the last lease brought the like."""
    pace = Pace(2 * threads, group)
    pace.leased([opened().leased], group)
    pace.ran([opened()], milliseconds / 1000)
    return pace


def test_while_nothing_is_known_a_lease_is_small() -> None:
    pace = Pace(2 * THREADS, GROUP)
    assert (pace.deliveries(), pace.jobs(2 * THREADS), pace.jobs(1)) == (8, 8, 8)
    pace.leased([opened().leased, opened(kind="errand.run").leased], GROUP)
    pace.ran([opened()], 10)
    assert (pace.deliveries(), pace.jobs(8)) == (8, 8), "one of the kinds never ran"


@pytest.mark.parametrize(
    ("milliseconds", "threads", "group", "deliveries", "jobs"),
    [
        pytest.param(0.1, 4, 8, 8, 64, id="quick ones that share: two deliveries a thread, all full"),
        pytest.param(5, 4, 8, 5, 30, id="six of them share"),
        pytest.param(5, 4, 1, 8, 8, id="quick single ones: two a thread"),
        pytest.param(20, 4, 1, 6, 6, id="two may wait"),
        pytest.param(200, 4, 8, 4, 8, id="long ones that share: two a thread, and nothing waits"),
        pytest.param(200, 4, 1, 4, 4, id="long single ones: one a thread"),
        pytest.param(3_600_000, 1, 1, 1, 1, id="an hour each"),
    ],
)
def test_what_waits_is_a_moments_work(
    milliseconds: float, threads: int, group: int, deliveries: int, jobs: int
) -> None:
    pace = pace_of(milliseconds, threads=threads, group=group)
    assert (pace.deliveries(), pace.jobs(pace.deliveries())) == (deliveries, jobs)


def test_what_is_larger_is_taken_to_last_longer() -> None:
    pace = pace_of(1)
    small, large = opened(), opened(size=2_000)
    assert [len(group) for group in pace.cut([small] * 20, GROUP)] == [8, 8, 4]
    assert [len(group) for group in pace.cut([large] * 5, GROUP)] == [2, 2, 1]
    assert [len(group) for group in pace.cut([small, large, large, small, small], GROUP)] == [2, 3]
    assert [len(group) for group in pace.cut([large] * 2, 1)] == [1, 1]


def test_it_follows_what_runs_now() -> None:
    pace = pace_of(0.1)
    for _ in range(10):
        pace.ran([opened()], 0.5)
    assert pace.deliveries() == THREADS
    for _ in range(40):
        pace.ran([opened()] * 8, 0.0008)
    assert pace.deliveries() == 2 * THREADS


def test_of_far_too_much_the_last_go_back_and_threads_that_are_free_keep_theirs() -> None:
    pace = pace_of(50)
    assert pace.surplus([[opened()]] * 4, before=0) == 0
    assert pace.surplus([[opened()]] * 20, before=0) == 14, "four run, two wait for 25 ms"
    assert pace.surplus([[opened()]] * 20, before=4) == 18
    assert pace_of(10_000).surplus([[opened()]] * 20, before=0) == 16


def test_large_jobs_after_small_ones_do_not_pile_up_in_one_worker(floor: Floor) -> None:
    shop = floor.open(policy=Policy(group_limit=GROUP), threads=2)
    for number in range(40):
        floor.put(f"small-{number}")
    wait_for(lambda: floor.counts() == {"accepted": 40, "done": 40}, "the small ones to be done")
    gate = Gate()
    # All at once, so that one lease brings many; and so that no compression makes them small again.
    floor.client.hset(floor.keys.key("meta"), "paused", "1")
    ids = [floor.put(f"large-{number}-{secrets.token_hex(50_000)}", gate) for number in range(30)]
    floor.client.hdel(floor.keys.key("meta"), "paused")
    gate.wait()
    wait_for(lambda: floor.held_by_redis(shop) <= 4, "the rest to be back")
    back = [UUID(one.decode()) for one in floor.client.lrange(floor.keys.key("ready:acme"), 0, -1)]
    assert back == ids[-len(back) :]
    assert len(back) == 26
    gate.go_on.set()
    for one in ids:
        assert floor.ended(one).attempts == 0
    assert {len(floor.actor.attempts[name]) for name in floor.actor.attempts} == {1}


def test_what_was_told_not_now_says_nothing_of_how_long_its_kind_takes(floor: Floor) -> None:
    """Otherwise jobs that a gate held for a while would be leased by the dozen when it opens."""
    held = floor.put("held", lambda _: Postpone(timedelta(hours=1), "busy"))
    shop = floor.open(threads=1)
    floor.wait_until(held, "scheduled")
    consumer = shop.worker.consumers[QUEUE].consumer
    assert isinstance(consumer, QueueConsumer)
    assert consumer._pace._ran == {}
    done = floor.put("done")
    floor.ended(done)
    wait_for(lambda: set(consumer._pace._ran) == {Chore.kind}, "what ran to be known")
