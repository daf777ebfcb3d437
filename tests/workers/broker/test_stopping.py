"""Stopping a worker: nothing new is leased, the unstarted goes back at once, what runs may finish within the grace."""

import threading
import time
from datetime import timedelta

import pytest

from penstock.producers import JobState
from penstock.producers.queue.connection import connect
from penstock.workers.broker.broker import LeasePolicy
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Policy
from tests.system import wait_for
from tests.workers.broker.conftest import Floor, Gate, Shop
from tests.workers.broker.faults import FaultyClient


def stopping(shop: Shop, grace: timedelta) -> "tuple[threading.Thread, list[int]]":
    """Stops a worker in a thread; the list gets what the stop returns."""
    left: list[int] = []
    thread = threading.Thread(target=lambda: left.append(shop.stop(grace)))
    thread.start()
    return thread, left


def test_an_idle_worker_stops_at_once(floor: Floor) -> None:
    shop = floor.open()
    floor.ended(floor.put("b"))
    began = time.monotonic()
    assert shop.stop(timedelta(seconds=60)) == 0
    assert time.monotonic() - began < 30
    assert floor.client.zcard(floor.keys.key("workers")) == 0, "it has taken leave"


def test_what_runs_finishes_and_what_has_not_begun_goes_back_in_order(floor: Floor) -> None:
    gate = Gate()
    running = floor.put("running", gate)
    waiting = [floor.put(f"w{number}") for number in range(6)]
    shop = floor.open(threads=1)
    gate.wait()
    thread, left = stopping(shop, timedelta(seconds=60))

    def ready() -> list[str]:
        return [one.decode() for one in floor.client.lrange(floor.keys.key("ready:acme"), 0, -1)]

    wait_for(lambda: ready() == list(map(str, waiting)), "the unstarted to be back, in order")
    assert floor.view(running).state == "leased"
    gate.go_on.set()
    thread.join(60)
    assert left == [0]
    assert floor.view(running).state == "done"
    assert list(floor.actor.attempts) == ["running"]
    # Attempts are untouched, and nobody is suspected.
    for job_id in waiting:
        view = floor.view(job_id)
        assert (view.attempts, view.recoveries, view.history) == (0, 0, [])
    floor.open(threads=1)
    for job_id in waiting:
        assert floor.ended(job_id).state == "done"
    started = [name for names in floor.actor.deliveries for name in names]
    assert started == ["running", *(f"w{number}" for number in range(6))]


@pytest.mark.parametrize("how", ["Penstock's stop", "dramatiq's stop"])
def test_many_that_have_not_begun_go_back_in_order(floor: Floor, how: str) -> None:
    """Some wait in dramatiq's work queue, some still in the consumer."""
    gate = Gate()
    ids = [str(floor.put(f"w{number}", gate)) for number in range(60)]
    shop = floor.prepare(threads=1)
    shop.worker.queue_prefetch = 40
    shop.worker.start()
    gate.wait()
    wait_for(lambda: floor.held_by_redis(shop) >= 30, "many to be leased")
    if how == "Penstock's stop":
        thread, _ = stopping(shop, timedelta(seconds=60))
    else:
        thread = threading.Thread(target=shop.worker.stop)
        thread.start()
        wait_for(lambda: not shop.worker.workers[0].running, "the stop")
        gate.go_on.set()

    def ready() -> list[str]:
        return [one.decode() for one in floor.client.lrange(floor.keys.key("ready:acme"), 0, -1)]

    wait_for(lambda: "leased" not in floor.counts() or floor.counts()["leased"] == 1, "the unstarted to be back")
    back = ready()
    assert back == ids[-len(back) :]
    assert len(back) > 25
    gate.go_on.set()
    thread.join(60)


def test_nothing_new_is_leased(floor: Floor) -> None:
    gate = Gate()
    shop = floor.open(threads=2)
    floor.put("running", gate)
    gate.wait()
    thread, left = stopping(shop, timedelta(seconds=60))
    wait_for(shop.broker.tools.stopping.is_set, "the stop")
    late = floor.put("late")
    time.sleep(0.3)  # a worker that still leased would have it
    assert floor.view(late).state == "ready"
    gate.go_on.set()
    thread.join(60)
    assert left == [0]
    assert "late" not in floor.actor.attempts


def test_what_overruns_the_grace_is_interrupted_and_given_back(floor: Floor) -> None:
    gate = Gate()
    job_id = floor.put("overrun", gate)
    shop = floor.open()
    gate.wait()
    began = time.monotonic()
    assert shop.stop(timedelta(seconds=2)) == 1
    assert time.monotonic() - began < 30
    view = floor.view(job_id)
    assert (view.state, view.attempts, view.crashes, view.history) == ("ready", 0, 0, [])
    assert floor.effects(job_id) == 0, "its transaction was rolled back"
    gate.go_on.set()
    floor.open()
    assert floor.ended(job_id).state == "done"
    assert (floor.effects(job_id), floor.actor.attempts["overrun"]) == (1, [1, 1])


def test_what_does_not_notice_the_interrupt_is_given_back_all_the_same(floor: Floor) -> None:
    """It sits in C code; the process that stops ends, and the database with it rolls back what it was at."""
    entered, go_on = threading.Event(), threading.Event()

    def deaf(_: Job) -> Outcome:
        entered.set()
        # One call into C, where no interrupt lands.
        assert go_on.wait(30)
        return Done()

    job_id = floor.put("deaf", deaf)
    shop = floor.open()
    assert entered.wait(20)
    thread, left = stopping(shop, timedelta(seconds=1))
    floor.wait_until(job_id, JobState.READY)
    view = floor.view(job_id)
    assert (view.attempts, view.recoveries) == (0, 0)
    go_on.set()
    thread.join(30)
    assert left == [1]
    # Its own end comes too late and changes nothing.
    assert floor.view(job_id).state == "ready"


def test_a_group_that_overruns_is_given_back_whole(floor: Floor) -> None:
    gate = Gate()
    floor.actor.behaviours["g0"] = gate
    ids = [floor.put(f"g{number}") for number in range(4)]
    shop = floor.open(policy=Policy(group_limit=8), threads=1)
    gate.wait()
    together = floor.actor.deliveries[0]
    assert shop.stop(timedelta(seconds=1)) == len(together)
    assert [one.decode() for one in floor.client.lrange(floor.keys.key("ready:acme"), 0, -1)] == list(map(str, ids))
    assert floor.client.exists(floor.keys.key("alone")) == 0, "it was nobody's fault"
    gate.go_on.set()


def test_what_cannot_be_given_back_in_time_is_recovered_as_interrupted(floor: Floor) -> None:
    gate = Gate()
    client = FaultyClient(connect(floor.settings.redis_url, replays=0))
    shop = floor.open(client=client, leases=LeasePolicy(lease=timedelta(seconds=2)))
    job_id = floor.put("overrun", gate)
    gate.wait()
    thread, _ = stopping(shop, timedelta(seconds=2))
    ticks = client.tried["tick"]
    # The fleet hears that it is stopping; then Redis takes nothing more from it.
    wait_for(lambda: client.tried["tick"] > ticks + 1, "a pulse")
    client.fail("settle", 1_000)
    client.fail("leave", 1_000)
    thread.join(60)
    gate.go_on.set()
    assert floor.view(job_id).state == "leased"
    again = Gate()
    floor.actor.behaviours["overrun"] = again
    floor.open(leases=LeasePolicy(lease=timedelta(seconds=2)))
    again.wait()
    view = floor.view(job_id)
    assert (view.recoveries, view.crashes, view.cause) == (1, 0, "the worker was stopped")
    again.go_on.set()
    assert floor.ended(job_id).state == "done"


@pytest.mark.parametrize("threads", [1, 4])
def test_a_stop_in_the_midst_of_many_jobs_loses_and_doubles_none(floor: Floor, threads: int) -> None:
    ids = [floor.put(f"m{number}") for number in range(300)]
    for _ in range(4):
        shop = floor.open(threads=threads)
        seen = len(floor.actor.deliveries)
        wait_for(lambda seen=seen: len(floor.actor.deliveries) > seen + 10, "some work")  # type: ignore[misc]
        assert shop.stop(timedelta(seconds=5)) == 0
        assert "leased" not in floor.counts()
    floor.open(threads=4)
    for job_id in ids:
        assert floor.ended(job_id).state == "done"
    assert set(map(tuple, floor.actor.attempts.values())) == {(1,)}
