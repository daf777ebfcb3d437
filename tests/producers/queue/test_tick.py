"""What happens every second: pulse, recovery, the guard after an outage, promotion, releases."""

import json
from datetime import timedelta

import pytest

from penstock.workers.broker.leases import GRACE, Verb
from tests.producers.queue.conftest import Bench

LEASE = timedelta(seconds=30)


def forget_the_last_tick(bench: Bench, ago: timedelta) -> None:
    """As if nobody had ticked for so long: Redis was away."""
    bench.client.hset(bench.keys.key("meta"), "ticked_at", bench.now() - ago // timedelta(milliseconds=1))


def test_a_tick_says_that_its_worker_lives(bench: Bench) -> None:
    worker = bench.worker(lease=timedelta(seconds=7))
    began = bench.now()
    worker.tick()
    expiry = bench.client.zscore(bench.keys.key("workers"), worker.boot)
    assert began + 7_000 <= expiry <= bench.now() + 7_000


def test_who_leases_nothing_is_no_worker(bench: Bench) -> None:
    scheduler = bench.worker()
    tick = scheduler.tick(member=False)
    assert tick.held == 0
    assert bench.client.zcard(bench.keys.key("workers")) == 0


def test_a_tick_tells_how_many_jobs_its_worker_holds(bench: Bench) -> None:
    bench.put(3)
    worker = bench.worker()
    worker.lease(2)
    assert worker.tick().held == 2


class TestRecovery:
    def test_the_jobs_of_a_lost_worker_are_suspects(self, bench: Bench) -> None:
        put = bench.put(3)
        lost, other = bench.worker(), bench.worker()
        lost.lease(3)
        lost.fall_silent()
        tick = other.tick()
        assert (tick.recovered, tick.buried) == (3, 0)
        assert bench.places().places["alone"] == put
        assert bench.wake_up()
        record = bench.record(put[0])
        assert (record["recoveries"], record["cause"]) == ("1", "the worker was lost")
        assert not {"attempts", "crashes"} & record.keys()
        (entry,) = json.loads(record["history"])
        assert abs(entry.pop("at") - bench.now()) < 10_000
        assert entry == {
            "outcome": "recovered",
            "cause": "the worker was lost",
            "worker": lost.boot,
            "started": False,
        }
        assert bench.client.exists(bench.keys.key(f"worker:{lost.boot}")) == 0

    def test_a_worker_that_is_heard_of_keeps_its_jobs(self, bench: Bench) -> None:
        put = bench.put()
        holder, other = bench.worker(), bench.worker()
        holder.lease()
        assert other.tick().recovered == 0
        holder.fall_silent()
        holder.tick()
        assert other.tick().recovered == 0
        assert bench.where(put[0]) == f"leased:{holder.boot}"

    def test_a_lease_that_is_not_over_yet_is_not_recovered(self, bench: Bench) -> None:
        bench.put()
        holder, other = bench.worker(), bench.worker()
        holder.lease()
        bench.client.zadd(bench.keys.key("workers"), {holder.boot: bench.now() + 60_000})
        assert other.tick().recovered == 0

    def test_it_is_done_once(self, bench: Bench) -> None:
        bench.put(2)
        lost = bench.worker()
        lost.lease(2)
        lost.fall_silent()
        assert [bench.worker().tick().recovered for _ in range(3)] == [2, 0, 0]

    def test_several_workers_are_recovered_at_once(self, bench: Bench) -> None:
        bench.put(8)
        lost = [bench.worker() for _ in range(4)]
        for worker in lost:
            worker.lease()
        for worker in lost:
            worker.fall_silent()
        assert bench.worker().tick().recovered == sum(1 for _ in lost)

    def test_a_worker_that_comes_back_can_lease_again(self, bench: Bench) -> None:
        put = bench.put(1)
        late = bench.worker()
        late.lease()
        late.fall_silent()
        bench.worker().tick()
        assert late.tick().held == 0
        assert [one.job_id for one in late.lease()] == put

    def test_the_jobs_of_a_worker_that_was_stopping_are_no_suspects(self, bench: Bench) -> None:
        put = bench.put(4)
        stopping, other = bench.worker(), bench.worker()
        (first, *_) = stopping.lease(3)
        stopping.start(first)
        stopping.tick(stopping=True)
        stopping.fall_silent()
        assert other.tick().recovered == 3
        assert bench.ready() == put, "at the head, in their order"
        record = bench.record(put[0])
        assert (record["recoveries"], record["cause"]) == ("1", "the worker was stopped")
        assert "crashes" not in record

    def test_many_jobs_of_a_stopping_worker_keep_their_order(self, bench: Bench) -> None:
        """More than one tick recovers."""
        put = bench.put(700)
        stopping, other = bench.worker(), bench.worker()
        stopping.lease(400)
        stopping.lease(300)
        stopping.tick(stopping=True)
        stopping.fall_silent()
        assert [other.tick().recovered for _ in range(3)] == [500, 200, 0]
        assert bench.ready() == put

    def test_many_jobs_of_a_lost_worker_keep_their_order(self, bench: Bench) -> None:
        put = bench.put(700)
        lost, other = bench.worker(), bench.worker()
        lost.lease(700)
        lost.fall_silent()
        assert [other.tick().recovered for _ in range(3)] == [500, 200, 0]
        assert bench.places().places["alone"] == put

    def test_a_job_whose_record_is_gone_is_dropped(self, bench: Bench) -> None:
        gone, there = bench.put(2)
        lost = bench.worker()
        lost.lease(2)
        bench.client.delete(bench.keys.job(gone))
        lost.fall_silent()
        assert bench.worker().tick().recovered == 1
        assert bench.places().ids() == [there]
        bench.clear()


class TestPoison:
    def crash(self, bench: Bench, *, started: bool, limit: int = 3) -> tuple[str, int]:
        """Lease one job and die; returns its id and how many were buried."""
        worker = bench.worker(poison_limit=limit)
        (leased,) = worker.lease()
        if started:
            assert worker.start(leased)
        worker.fall_silent()
        return leased.job_id, bench.worker(poison_limit=limit).tick().buried

    @pytest.mark.parametrize("limit", [1, 3])
    def test_a_job_that_was_running_each_time_its_worker_died_is_poison(self, bench: Bench, limit: int) -> None:
        (job_id,) = bench.put()
        told = [self.crash(bench, started=True, limit=limit) for _ in range(limit)]
        assert told == [(job_id, 0)] * (limit - 1) + [(job_id, 1)]
        record = bench.record(job_id)
        assert (record["state"], record["code"], record["crashes"]) == ("dead", "JOB_POISON", str(limit))
        assert [entry["started"] for entry in json.loads(record["history"])] == [True] * limit
        assert record["message"] == "message "
        assert bench.counts() == {"accepted": 1, "dead": 1}

    def test_a_job_that_was_only_fetched_is_never_poison(self, bench: Bench) -> None:
        (job_id,) = bench.put()
        for _ in range(10):
            assert self.crash(bench, started=False) == (job_id, 0)
        record = bench.record(job_id)
        assert (record["state"], record["recoveries"]) == ("ready", "10")
        assert "crashes" not in record

    def test_only_the_job_that_was_started_is_blamed(self, bench: Bench) -> None:
        (suspect,) = bench.suspects()
        others = bench.put(3)
        worker = bench.worker(poison_limit=1)
        leased = worker.lease(4)
        assert leased[0].suspect
        assert worker.start(leased[0])
        worker.fall_silent()
        tick = bench.worker(poison_limit=1).tick()
        assert (tick.recovered, tick.buried) == (4, 1)
        assert bench.where(suspect) == "dead"
        assert bench.places().places["alone"] == others

    def test_a_start_of_an_earlier_lease_is_no_crash(self, bench: Bench) -> None:
        (suspect,) = bench.suspects()
        worker = bench.worker()
        (leased,) = worker.lease()
        assert worker.start(leased)
        assert worker.settle(leased, Verb.RETRY, delay=0)
        (again,) = worker.lease()
        assert again.job_id == suspect
        worker.fall_silent()
        bench.worker().tick()
        assert "crashes" not in bench.record(suspect)

    def test_who_has_lost_the_lease_must_not_start(self, bench: Bench) -> None:
        bench.put()
        worker = bench.worker()
        (leased,) = worker.lease()
        assert worker.start(leased)
        assert worker.start(leased), "a replay"
        worker.fall_silent()
        bench.worker().tick()
        assert not worker.start(leased)
        assert "started" not in bench.record(leased.job_id)


class TestOutage:
    """Nobody was heard of because Redis was away: that says nothing of the workers."""

    def test_nobody_is_recovered_until_the_fleet_had_time_to_pulse(self, bench: Bench) -> None:
        bench.put(2)
        alive, dead, other = bench.worker(), bench.worker(), bench.worker()
        alive.lease()
        dead.lease()
        alive.fall_silent()
        dead.fall_silent()
        forget_the_last_tick(bench, timedelta(minutes=5))
        assert other.tick().recovered == 0
        assert other.tick().recovered == 0, "the next tick has not forgotten it"
        grace = int(bench.client.hget(bench.keys.key("meta"), "grace_until")) - bench.now()
        assert GRACE - timedelta(seconds=5) < timedelta(milliseconds=grace) <= GRACE
        alive.tick()
        # The grace is over.
        bench.client.hset(bench.keys.key("meta"), "grace_until", bench.now() - 1)
        assert other.tick().recovered == 1
        assert alive.tick().held == 1

    @pytest.mark.parametrize(
        ("silence", "recovered"),
        [(LEASE / 3, 1), (LEASE * 2 / 3, 0)],
        ids=["not long", "long"],
    )
    def test_a_silence_counts_from_half_a_lease_on(self, bench: Bench, silence: timedelta, recovered: int) -> None:
        bench.put()
        lost = bench.worker()
        lost.lease()
        lost.fall_silent()
        forget_the_last_tick(bench, silence)
        assert bench.worker(lease=LEASE).tick().recovered == recovered

    @pytest.mark.parametrize("seconds", [2, 5, 30, 3_600])
    def test_a_lone_worker_ticks_often_enough_to_be_no_outage(self, bench: Bench, seconds: int) -> None:
        lease = timedelta(seconds=seconds)
        worker = bench.worker(lease=lease)
        bench.put()
        lost = bench.worker()
        lost.lease()
        lost.fall_silent()
        # Twice as late as it means to be.
        forget_the_last_tick(bench, worker.tick_every * 2)
        assert worker.tick().recovered == 1

    def test_the_first_tick_of_all_is_no_outage(self, bench: Bench) -> None:
        bench.put()
        lost = bench.worker()
        lost.lease()
        lost.fall_silent()
        assert bench.worker().tick().recovered == 1

    def test_all_else_goes_on_meanwhile(self, bench: Bench) -> None:
        put = bench.put(due=timedelta(hours=1))
        bench.make_due(*put)
        forget_the_last_tick(bench, timedelta(minutes=5))
        assert bench.worker().tick().promoted == 1


class TestPromotion:
    def test_jobs_become_ready_in_the_order_of_their_times(self, bench: Bench) -> None:
        put = bench.put(4, due=timedelta(hours=1))
        bench.make_due(put[3], put[1], put[0])
        tick = bench.worker().tick(member=False)
        assert tick.promoted == 3
        assert bench.ready() == [put[3], put[1], put[0]]
        assert bench.where(put[2]) == "scheduled"
        assert tick.next_due is not None
        assert timedelta(minutes=59) < tick.next_due <= timedelta(hours=1)
        assert bench.wake_up()

    def test_a_tick_promotes_so_many_that_others_get_a_turn(self, bench: Bench) -> None:
        put = bench.put(2_100, due=timedelta(hours=1))
        bench.make_due(*put)
        worker = bench.worker()
        assert [worker.tick().promoted for _ in range(3)] == [2_000, 100, 0]
        assert bench.ready() == put

    def test_a_job_whose_record_is_gone_is_dropped(self, bench: Bench) -> None:
        gone, there = bench.put(2, due=timedelta(hours=1))
        bench.make_due(gone, there)
        bench.client.delete(bench.keys.job(gone))
        assert bench.worker().tick().promoted == 1
        assert bench.ready() == [there]
        bench.clear()


def test_a_tick_of_an_empty_queue_does_nothing(bench: Bench) -> None:
    tick = bench.worker().tick()
    assert (tick.held, tick.recovered, tick.buried, tick.promoted, tick.released) == (0, 0, 0, 0, 0)
    assert (tick.next_due, tick.offered_parks) == (None, ())
    assert not bench.wake_up()
