"""Parked jobs: offered, released at once or along a ramp, always in order."""

import json
from typing import Any

import pytest

from penstock.workers.broker.leases import Settlement, Verb
from tests.producers.queue.conftest import Bench, Worker

OFFER_MS, LIMIT_MS = 60_000, 600_000


def park(bench: Bench, count: int, key: str = "p", **detail: Any) -> list[str]:
    """Jobs parked under a key."""
    ids = bench.put(count)
    worker = bench.worker()
    leased = [one for _ in range(-(-count // 500)) for one in worker.lease(500)]
    settlements = [Settlement(one, Verb.PARK, {"key": key, "blocked_by": key} | detail) for one in leased]
    assert all(worker.settle_many(settlements))
    assert worker.leave() == 0
    return ids


def let_time_pass(bench: Bench, ms: int, key: str = "p") -> None:
    """A park's next release, and the last one's time, are so much longer ago."""
    releases, parks = bench.keys.key("releases"), bench.keys.key("parks")
    bench.client.zincrby(releases, -ms, key)
    info = json.loads(bench.client.hget(parks, key))
    if "released_at" in info:
        bench.client.hset(parks, key, json.dumps(info | {"released_at": info["released_at"] - ms}))


@pytest.fixture
def worker(bench: Bench) -> Worker:
    return bench.worker()


def test_some_go_at_once_in_order(bench: Bench, worker: Worker) -> None:
    ids = park(bench, 5)
    assert worker.release("p", 2) == (2, 3)
    assert bench.ready() == ids[:2]
    assert bench.wake_up()
    assert not {"park", "blocked_by"} & bench.record(ids[0]).keys()
    assert worker.release("p", 100) == (3, 0)
    assert bench.ready() == ids
    assert bench.client.exists(bench.keys.key("parks")) == 0


def test_more_than_a_thousand_go_at_once(bench: Bench, worker: Worker) -> None:
    ids = park(bench, 1_500)
    assert worker.release("p", 10_000) == (1_500, 0)
    assert bench.ready() == ids


def test_another_key_stays(bench: Bench, worker: Worker) -> None:
    park(bench, 1)
    other = park(bench, 1, "q")
    worker.release("p", 10)
    assert bench.where(other[0]) == "parked:q"


@pytest.mark.parametrize("rate", [None, 10.0])
def test_a_key_that_holds_nothing_is_nothing(bench: Bench, worker: Worker, rate: float | None) -> None:
    assert worker.release("nobody", 5, rate) == (0, 0)
    assert bench.client.exists(bench.keys.key("parks"), bench.keys.key("releases")) == 0


def test_a_ramp_lets_so_many_go_a_second_and_never_more(bench: Bench, worker: Worker) -> None:
    ids = park(bench, 100)
    assert worker.release("p", 0, 20.0) == (0, 100)
    assert worker.tick().released <= 1, "nothing has elapsed"
    gone = len(bench.ready())
    for _ in range(3):
        let_time_pass(bench, 500)
        released = worker.tick().released
        # Half a second at 20 a second, and what has elapsed here besides.
        assert 9 <= released <= 14
        gone += released
        assert bench.ready() == ids[:gone]
    let_time_pass(bench, 3_600_000)
    assert worker.tick().released <= 21, "however long nobody ticked"


def test_a_slow_ramp_lets_a_job_go_now_and_then(bench: Bench, worker: Worker) -> None:
    park(bench, 3)
    worker.release("p", 0, 0.5)
    released = []
    for _ in range(8):
        let_time_pass(bench, 500)
        released.append(worker.tick().released)
    assert set(released) == {0, 1}
    assert 1 <= sum(released) <= 3


def test_a_ramp_that_runs_goes_on_at_the_new_rate(bench: Bench, worker: Worker) -> None:
    park(bench, 100)
    worker.release("p", 0, 1.0)
    let_time_pass(bench, 900)
    worker.release("p", 0, 50.0)
    let_time_pass(bench, 100)
    assert 40 <= worker.tick().released <= 50
    for _ in range(9):
        # Whoever knows the kind says so at each tick; that must not hold the ramp up.
        worker.release("p", 0, 50.0)
        let_time_pass(bench, 100)
        worker.tick()
    assert len(bench.ready()) >= 80


def test_a_ramp_that_nobody_asks_for_any_more_ends(bench: Bench, worker: Worker) -> None:
    """After a roll-back those that are left park its jobs again: they must not be given them 200 a second for ever."""
    park(bench, 100, offer=OFFER_MS, limit=LIMIT_MS)
    worker.release("p", 0, 50.0)
    let_time_pass(bench, 100)
    assert worker.tick().released > 0
    let_time_pass(bench, 1_000)
    forget_who_asked(bench)
    assert worker.tick().released == 10, "a few, to see whether somebody takes them by now"
    assert "rate" not in json.loads(bench.client.hget(bench.keys.key("parks"), "p"))
    assert worker.tick().released == 0
    worker.release("p", 0, 50.0)
    let_time_pass(bench, 1_000)
    assert worker.tick().released > 10


def forget_who_asked(bench: Bench) -> None:
    parks = bench.keys.key("parks")
    info = json.loads(bench.client.hget(parks, "p"))
    bench.client.hset(parks, "p", json.dumps(info | {"asked_at": info["asked_at"] - 10_001}))


def test_several_who_tick_share_one_ramp(bench: Bench) -> None:
    park(bench, 100)
    workers = [bench.worker() for _ in range(5)]
    workers[0].release("p", 0, 20.0)
    let_time_pass(bench, 1_000)
    assert sum(worker.tick().released for worker in workers) <= 22


def test_the_end_of_a_ramp_closes_the_park(bench: Bench, worker: Worker) -> None:
    ids = park(bench, 5)
    worker.release("p", 0, 100.0)
    let_time_pass(bench, 1_000)
    worker.tick()
    assert bench.ready() == ids
    assert bench.client.exists(bench.keys.key("parks"), bench.keys.key("releases")) == 0


def test_none_is_overtaken_within_its_key_though_it_is_parked_again(bench: Bench, worker: Worker) -> None:
    ids = park(bench, 6)
    worker.release("p", 3)
    leased = worker.lease(3)
    for place in (1, 2, 0):
        assert worker.settle(leased[place], Verb.PARK, key="p", blocked_by="p")
    assert bench.places().places["parked:p"] == ids


def test_a_few_are_offered_when_their_time_comes(bench: Bench, worker: Worker) -> None:
    ids = park(bench, 30, offer=OFFER_MS, limit=LIMIT_MS)
    assert worker.tick().released == 0
    assert worker.tick().offered_parks == ("p",)
    let_time_pass(bench, OFFER_MS)
    assert worker.tick().released == 10
    assert bench.ready() == ids[:10]
    assert worker.tick().released == 0, "the next offer is due after as long again"


def test_what_has_waited_too_long_is_offered_in_bulk(bench: Bench, worker: Worker) -> None:
    """Whoever takes it buries it, so that must not take days."""
    ids = park(bench, 600, offer=OFFER_MS, limit=LIMIT_MS)
    bench.client.hset(bench.keys.job(ids[0]), "parked_at", bench.now() - LIMIT_MS - 1)
    let_time_pass(bench, OFFER_MS)
    assert worker.tick().released == 500


def test_without_an_offer_a_job_is_parked_until_it_is_released(bench: Bench, worker: Worker) -> None:
    ids = park(bench, 1)
    tick = worker.tick()
    assert (tick.released, tick.offered_parks) == (0, ())
    bench.client.zadd(bench.keys.key("releases"), {"p": 1})
    assert worker.tick().released == 0
    assert bench.where(ids[0]) == "parked:p"


def test_a_release_without_a_park_is_forgotten(bench: Bench, worker: Worker) -> None:
    bench.client.zadd(bench.keys.key("releases"), {"nobody": 1})
    assert worker.tick().released == 0
    assert bench.client.exists(bench.keys.key("releases")) == 0
