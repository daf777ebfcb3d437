"""Who gets how much of a backlog: tenants by their weights, and urgent jobs before the others."""

from collections import Counter
from datetime import timedelta
from itertools import groupby
from uuid import UUID

import pytest

from penstock.producers.queue.records import JobState
from penstock.workers.broker.leases import LeasedJob, Verb
from tests.producers.queue.conftest import QUEUE, Bench, Worker, job

PLAIN = 400


def flood(bench: Bench, **weights: int) -> Worker:
    """A backlog of each tenant that no lease below works off."""
    for tenant, weight in weights.items():
        bench.weigh(tenant, weight)
        bench.put(PLAIN, tenant)
    return bench.worker()


def tenants(leased: list[LeasedJob]) -> list[str]:
    return [one.tenant for one in leased]


def ids(leased: list[LeasedJob]) -> list[str]:
    return [one.job_id for one in leased]


class TestWeights:
    """A tenant of weight w gets w jobs a turn."""

    def test_each_turn_is_as_long_as_its_tenant_weighs(self, bench: Bench) -> None:
        worker = flood(bench, a=1, b=3, c=2)
        seen = [tenant for _ in range(24) for tenant in tenants(worker.lease())]
        assert "".join(seen) == "abbbcc" * 4

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7, 10, 64, 200])
    def test_each_gets_its_part_however_much_a_lease_takes(self, bench: Bench, limit: int) -> None:
        worker = flood(bench, a=1, b=3, c=2)
        seen: list[str] = []
        while len(seen) < 300:
            seen += tenants(worker.lease(limit))
        # Whatever leases cut short, each is at the most a turn ahead or behind.
        part, rounds = Counter(seen), len(seen) / 6
        assert abs(part["a"] - rounds) <= 1, part
        assert abs(part["b"] - 3 * rounds) <= 3, part
        assert abs(part["c"] - 2 * rounds) <= 2, part

    @pytest.mark.parametrize("limit", [2, 100])
    def test_without_weights_one_lease_gives_all_the_same(self, bench: Bench, limit: int) -> None:
        worker = flood(bench, a=1, b=1)
        assert Counter(tenants(worker.lease(limit))) == {"a": limit / 2, "b": limit / 2}

    def test_no_lease_gives_a_turn_more_than_its_weight_ahead_of_the_others(self, bench: Bench) -> None:
        """A large lease takes many rounds at once, and what it cuts short must not be owed by the next ones."""
        worker = flood(bench, a=100, b=1)
        worker.lease(350)
        seen = [tenant for _ in range(150) for tenant in tenants(worker.lease())]
        assert max(len(list(turn)) for tenant, turn in groupby(seen) if tenant == "a") <= 100

    def test_a_weight_does_not_hold_up_who_waits_alone(self, bench: Bench) -> None:
        worker = flood(bench, a=2)
        assert len(worker.lease(100)) == 100

    def test_a_tenant_that_comes_waits_for_one_turn_of_each_other(self, bench: Bench) -> None:
        worker = flood(bench, a=5)
        worker.lease()
        (late,) = bench.put(1, "z")
        assert late in [ids(worker.lease())[0] for _ in range(5)]

    def test_it_changes_at_once_and_is_undone_without_a_trace(self, bench: Bench) -> None:
        worker = flood(bench, a=4, b=1)
        worker.lease()
        assert (bench.weigh("a", 2), bench.weigh("a", 2)) == (4, 2)
        assert tenants([worker.lease()[0] for _ in range(4)]) == ["a", "a", "b", "a"]
        assert bench.weigh("a", 1) == 2
        assert tenants([worker.lease()[0] for _ in range(4)]) == ["a", "b", "a", "b"]
        assert bench.client.exists(*(bench.keys.key(name) for name in ("weights", "credits"))) == 0
        assert bench.client.hget(bench.keys.key("meta"), "surplus") is None

    def test_what_changes_nothing_is_not_audited(self, bench: Bench) -> None:
        bench.weigh("a", 1)
        bench.weigh("a", 7)
        bench.weigh("a", 7)
        assert bench.client.llen(bench.keys.key("audit")) == 1

    def test_a_replay_takes_no_second_turn(self, bench: Bench) -> None:
        worker = flood(bench, a=3, b=1)
        first = worker.lease(2)
        assert ids(worker.ask(2, again=True).jobs) == ids(first)
        assert tenants(worker.lease(2)) == ["a", "b"]

    def test_a_purge_ends_a_turn(self, bench: Bench) -> None:
        worker = flood(bench, a=3)
        worker.lease()
        bench.scripts.run("purge", bench.keys, "ready", "a", 1_000, "", 0)
        assert bench.client.exists(bench.keys.key("credits")) == 0

    @pytest.mark.parametrize("leased_before", [0, 1, 2, 5])
    def test_the_estimate_of_what_goes_first_knows_them(self, bench: Bench, leased_before: int) -> None:
        for tenant, count, weight in (("a", 9, 4), ("b", 3, 1), ("c", 7, 2)):
            bench.weigh(tenant, weight)
            bench.put(count, tenant)
        worker = bench.worker()
        for _ in range(leased_before):
            worker.lease()
        waiting = [one.job_id for one in bench.inspector.peek(QUEUE, JobState.READY).jobs]
        told = {one: ahead_of(bench, one) for one in waiting}
        taken = [ids(worker.lease())[0] for _ in waiting]
        assert {one: place for place, one in enumerate(taken)} == told


def ahead_of(bench: Bench, job_id: str) -> int | None:
    """What the queue tells of a job."""
    view = bench.inspector.find(UUID(job_id))
    assert view is not None
    return view.ahead


class TestUrgent:
    """Jobs that must not be late."""

    def test_they_go_before_a_flood_whosever_they_are(self, bench: Bench) -> None:
        worker = flood(bench, a=1)
        urgent = bench.put(1, "a", urgent=True) + bench.put(1, "b", urgent=True)
        assert ids(worker.lease(4))[:2] == urgent

    def test_those_that_are_not_wait_their_turn(self, bench: Bench) -> None:
        """The control."""
        worker = flood(bench, a=1)
        (late,) = bench.put(1, "a")
        assert late not in ids(worker.lease(200))

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 8])
    def test_they_leave_half_to_the_others(self, bench: Bench, limit: int) -> None:
        worker = flood(bench, a=1)
        urgent = set(bench.put(PLAIN, "b", urgent=True))
        seen = [one for _ in range(120 // limit) for one in ids(worker.lease(limit))]
        assert len(seen) == 120
        assert abs(sum(one in urgent for one in seen) - 60) <= 1

    def test_they_take_all_where_nobody_else_waits(self, bench: Bench) -> None:
        urgent = bench.put(9, urgent=True)
        assert ids(bench.worker().lease(9)) == urgent

    def test_they_take_what_the_others_leave(self, bench: Bench) -> None:
        (other,) = bench.put()
        urgent = bench.put(9, urgent=True)
        assert ids(bench.worker().lease(10)) == [*urgent[:5], other, *urgent[5:]]

    def test_a_few_leave_the_rest_to_the_others(self, bench: Bench) -> None:
        worker = flood(bench, a=1)
        bench.put(1, urgent=True)
        assert len(worker.lease(50)) == 50

    def test_suspects_go_before_them(self, bench: Bench) -> None:
        suspects = bench.suspects()
        urgent = bench.put(1, urgent=True)
        assert ids(bench.worker().lease(5)) == [*suspects, *urgent]

    def test_they_are_parted_among_the_workers(self, bench: Bench) -> None:
        workers = [bench.worker() for _ in range(3)]
        for worker in workers:
            worker.lease()
        bench.put(9, urgent=True)
        assert [len(worker.lease(100)) for worker in workers] == [3, 2, 2]

    def test_a_due_one_comes_into_the_lane(self, bench: Bench) -> None:
        worker = flood(bench, a=1)
        put = bench.put(2, due=timedelta(hours=1), urgent=True)
        bench.make_due(*put)
        assert worker.tick().promoted == 2
        assert bench.urgent() == put
        assert ids(worker.lease(4))[:2] == put

    @pytest.mark.parametrize("verb", [Verb.RETRY, Verb.POSTPONE, Verb.PARK, Verb.RELEASE])
    def test_it_stays_urgent_however_it_comes_back(self, bench: Bench, verb: Verb) -> None:
        first, second = bench.put(2, urgent=True)
        worker = bench.worker()
        leased = worker.lease(1)
        assert worker.settle(leased[0], verb, delay=0, key="p", blocked_by="p")
        worker.release("p", 1)
        worker.tick()
        assert bench.urgent() == ([first, second] if verb is Verb.RELEASE else [second, first])

    def test_a_stopped_worker_gives_them_back_in_order(self, bench: Bench) -> None:
        put = bench.put(3, urgent=True)
        worker = bench.worker()
        worker.lease(3)
        worker.tick(stopping=True)
        worker.leave()
        assert bench.worker().tick(member=False).recovered == 3
        assert bench.urgent() == put

    @pytest.mark.parametrize("urgent", [True, False])
    def test_a_new_life_is_as_urgent_as_its_job_is_now(self, bench: Bench, urgent: bool) -> None:
        new = job(urgent=not urgent)
        bench.offer(new)
        worker = bench.worker()
        assert worker.settle(worker.lease()[0], Verb.BURY, code="C", told="t")
        bench.offer(job(job_id=new.job_id, urgent=urgent), revive=(JobState.DEAD,))
        assert bench.where(str(new.job_id)) == ("urgent" if urgent else "ready:acme")

    def test_they_count_as_ready_and_are_looked_at_first(self, bench: Bench) -> None:
        others, urgent = bench.put(2), bench.put(2, urgent=True)
        assert bench.counts() == {"accepted": 4, "ready": 4}
        assert [one.job_id for one in bench.inspector.peek(QUEUE, JobState.READY).jobs] == urgent + others
        pages = [bench.inspector.peek(QUEUE, JobState.READY, 3, cursor) for cursor in (None, "3")]
        assert [one.job_id for page in pages for one in page.jobs] == urgent + others

    def test_the_oldest_job_may_be_one(self, bench: Bench) -> None:
        bench.put()
        (old,) = bench.put(urgent=True)
        bench.client.hincrby(bench.keys.job(old), "changed_at", -3_600_000)
        age = bench.inspector.counts(QUEUE).oldest_ready_age
        assert age is not None
        assert age > timedelta(minutes=59)

    @pytest.mark.parametrize(("others", "urgent"), [(6, 3), (2, 5), (4, 4), (0, 3)])
    def test_the_estimate_of_what_goes_first_knows_them(self, bench: Bench, others: int, urgent: int) -> None:
        put = bench.put(others) + bench.put(urgent, urgent=True)
        told = {one: ahead_of(bench, one) for one in put}
        worker = bench.worker()
        taken = [ids(worker.lease())[0] for _ in put]
        assert {one: place for place, one in enumerate(taken)} == told

    @pytest.mark.parametrize("limit", [1, 2, 1_000])
    @pytest.mark.parametrize("tenant", ["", "a"])
    def test_a_purge_takes_them_by_tenant(self, bench: Bench, tenant: str, limit: int) -> None:
        for _ in range(3):
            bench.put(2, "a", urgent=True)
            bench.put(1, "b", urgent=True)
        bench.put(2, "a")
        removed, position, seen = 0, 0, limit
        while seen >= limit:
            count, seen, position = bench.scripts.run("purge", bench.keys, "ready", tenant, limit, "", position)
            removed += count
        assert removed == (8 if tenant else 11)
        assert {bench.record(one)["tenant"] for one in bench.urgent()} == ({"b"} if tenant else set())

    def test_a_sleeping_worker_hears_of_one(self, bench: Bench) -> None:
        bench.wake_up()
        bench.put(urgent=True)
        assert bench.wake_up()

    def test_a_lease_that_leaves_one_behind_wakes_the_next_worker(self, bench: Bench) -> None:
        bench.put(2, urgent=True)
        bench.worker().lease(1)
        assert bench.wake_up()
