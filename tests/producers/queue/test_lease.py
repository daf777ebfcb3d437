"""Leasing: whose turn it is, who gets how much, and what a lost answer does."""

from datetime import timedelta

import pytest

from penstock.workers.broker.leases import LeasedJob, Verb
from tests.producers.queue.conftest import Bench, job


def ids(leased: list[LeasedJob]) -> list[str]:
    return [one.job_id for one in leased]


def test_a_lease_tells_all_that_a_worker_needs(bench: Bench) -> None:
    (job_id,) = bench.put(tenant="globex", text="one")
    ready_at = int(bench.record(job_id)["changed_at"])
    worker = bench.worker()
    answer = worker.ask()
    (leased,) = answer.jobs
    assert (leased.job_id, leased.kind, leased.tenant, leased.message) == (job_id, "k", "globex", b"message one")
    assert (leased.attempts, leased.recoveries, leased.crashes, leased.postpones) == (0, 0, 0, 0)
    assert (leased.postponed_at, leased.parked_at, leased.suspect) == (None, None, False)
    assert leased.ready_at == ready_at <= leased.leased_at <= bench.now()
    assert leased.token == f"{worker.boot}/1"
    assert (answer.paused, answer.next_due) == (False, None)
    assert bench.counts() == {"accepted": 1, "leased": 1}
    assert bench.record(job_id)["lease"] == leased.token


def test_what_has_happened_to_a_job_comes_with_it(bench: Bench) -> None:
    (job_id,) = bench.put()
    worker = bench.worker()
    assert worker.settle(worker.lease()[0], Verb.RETRY, delay=0)
    assert worker.settle(worker.lease()[0], Verb.POSTPONE, delay=0, blocked_by="x", limited=True)
    assert worker.settle(worker.lease()[0], Verb.PARK, key="p", blocked_by="p")
    worker.release("p", 1)
    (leased,) = worker.lease()
    record = bench.record(job_id)
    assert (leased.attempts, leased.postpones) == (1, 1)
    assert (str(leased.postponed_at), str(leased.parked_at)) == (record["postponed_at"], record["parked_at"])


def test_an_empty_queue_gives_nothing_and_notes_the_worker(bench: Bench) -> None:
    worker = bench.worker()
    assert worker.ask().jobs == []
    expiry = bench.client.zscore(bench.keys.key("workers"), worker.boot)
    assert 25_000 < expiry - bench.now() <= 30_000


def test_a_job_is_leased_by_one_worker_only(bench: Bench) -> None:
    put = bench.put(2)
    one, other = bench.worker(), bench.worker()
    assert ids(one.lease(1)) + ids(other.lease(1)) == put
    assert one.lease(5) == other.lease(5) == []


@pytest.mark.parametrize("wanted", [1, 2, 3, 7, 100])
def test_tenants_take_turns(bench: Bench, wanted: int) -> None:
    """A tenant with many jobs does not hold up one with few."""
    jobs = {tenant: bench.put(count, tenant) for tenant, count in (("a", 50), ("b", 2), ("c", 1))}
    worker = bench.worker()
    seen: list[str] = []
    while leased := worker.lease(wanted):
        seen += ids(leased)
    # Whatever is leased at once, the few jobs of the others are among the first.
    for few in [*jobs["b"][:1], *jobs["c"]]:
        assert seen.index(few) < max(3, wanted)
    for own in jobs.values():
        assert [one for one in seen if one in own] == own, "each tenant's own order"


def test_turns_go_round_one_job_at_a_time(bench: Bench) -> None:
    a, b, c = bench.put(3, "a"), bench.put(2, "b"), bench.put(1, "c")
    worker = bench.worker()
    assert [ids(worker.lease())[0] for _ in range(6)] == [a[0], b[0], c[0], a[1], b[1], a[2]]


def test_a_new_tenant_waits_for_one_turn_of_each_other(bench: Bench) -> None:
    bench.put(10, "a")
    bench.put(10, "b")
    worker = bench.worker()
    worker.lease()
    (late,) = bench.put(1, "c")
    assert late in [ids(worker.lease())[0] for _ in range(3)]


def test_a_small_backlog_is_parted_among_the_workers(bench: Bench) -> None:
    workers = [bench.worker() for _ in range(3)]
    for worker in workers:
        worker.lease()
    bench.put(9)
    assert [len(worker.lease(100)) for worker in workers] == [3, 2, 2]
    assert bench.counts()["ready"] == 2


def test_a_large_backlog_is_not(bench: Bench) -> None:
    workers = [bench.worker() for _ in range(3)]
    for worker in workers:
        worker.lease()
    bench.put(400)
    assert [len(worker.lease(10)) for worker in workers] == [10, 10, 10]


def test_what_is_too_little_to_be_parted_goes_to_whoever_asks_first(bench: Bench) -> None:
    """Each part of it would have a transaction of its own, which takes longer than all of its jobs."""
    waiting = bench.put(12)
    first, second = bench.worker(), bench.worker()
    second.tick()
    assert [job.job_id for job in first.lease(10, least=5)] == waiting[:6], "half of it, which is more"
    assert [job.job_id for job in second.lease(10, least=5)] == waiting[6:11], "no less than that"
    assert [job.job_id for job in second.lease(10, least=5)] == waiting[11:]


def test_no_more_than_wanted_is_leased(bench: Bench) -> None:
    bench.put(5)
    worker = bench.worker()
    assert len(worker.lease(3)) == 3
    assert worker.lease(0) == []


def test_a_replay_gives_the_same_jobs_in_the_same_order(bench: Bench) -> None:
    for tenant in "abc":
        bench.put(20, tenant)
    worker = bench.worker()
    worker.lease(5)
    first = worker.ask(40)
    bench.put(20, "d")
    again = worker.ask(40, again=True)
    assert ids(again.jobs) == ids(first.jobs)
    assert [one.token for one in again.jobs] == [one.token for one in first.jobs]
    assert len(first.jobs) == 40
    assert bench.counts()["leased"] == 45


def test_a_replay_keeps_its_order_though_ids_and_numbers_are_large(bench: Bench) -> None:
    """The order is kept in a sorted set's scores, beside the number of the request."""
    put = bench.put(1_000)
    worker = bench.worker()
    worker.request = 3_000_000_000
    assert ids(worker.lease(1_000)) == put
    assert ids(worker.ask(1_000, again=True).jobs) == put


def test_a_replay_of_an_empty_answer_may_find_what_has_come(bench: Bench) -> None:
    worker = bench.worker()
    assert worker.lease() == []
    put = bench.put()
    assert ids(worker.ask(again=True).jobs) == put


def test_a_replay_of_a_lease_that_was_settled_in_part_gives_the_rest(bench: Bench) -> None:
    put = bench.put(3)
    worker = bench.worker()
    first = worker.lease(3)
    assert worker.settle(first[1], Verb.ACK)
    assert ids(worker.ask(3, again=True).jobs) == [put[0], put[2]]


def test_a_paused_queue_leases_nothing_but_a_replay(bench: Bench) -> None:
    put = bench.put(2)
    worker = bench.worker()
    worker.lease(1)
    bench.scripts.run("pause", bench.keys, "me", "because", "{}")
    answer = worker.ask(1, again=True)
    assert (ids(answer.jobs), answer.paused) == (put[:1], True)
    answer = worker.ask(1)
    assert (answer.jobs, answer.paused) == ([], True)
    assert not bench.wake_up()


def test_due_jobs_are_leased_without_a_tick_in_the_order_of_their_times(bench: Bench) -> None:
    put = bench.put(3, due=timedelta(hours=1))
    later = bench.put(due=timedelta(hours=2))
    bench.make_due(put[2], put[0], put[1])
    worker = bench.worker()
    answer = worker.ask(10)
    assert ids(answer.jobs) == [put[2], put[0], put[1]]
    assert answer.next_due is not None
    assert timedelta(hours=1, minutes=59) < answer.next_due <= timedelta(hours=2)
    assert bench.where(later[0]) == "scheduled"


def test_an_answer_tells_when_the_next_job_is_due(bench: Bench) -> None:
    worker = bench.worker()
    assert worker.ask().next_due is None
    bench.put(due=timedelta(milliseconds=900))
    told = worker.ask().next_due
    assert told is not None
    assert timedelta(0) <= told <= timedelta(milliseconds=900)


def test_a_job_without_a_record_is_not_handed_out(bench: Bench) -> None:
    gone, there = bench.put(2)
    bench.client.delete(bench.keys.job(gone))
    worker = bench.worker()
    assert ids(worker.lease(2)) == [there]
    assert bench.places().ids() == [there]
    # It was removed by hand, and is unaccounted for from now on.
    assert bench.inspector.counts(bench.keys.queue).unaccounted == 1
    bench.clear()


def test_a_tenant_whose_list_is_gone_is_passed_over(bench: Bench) -> None:
    bench.put(2, "a")
    there = bench.put(1, "b")
    bench.client.delete(bench.keys.key("ready:a"))
    assert ids(bench.worker().lease(2)) == there
    assert bench.rotation() == []
    bench.clear()


class TestSuspects:
    """Jobs that were lost with a worker."""

    def test_they_come_first_and_one_at_a_time(self, bench: Bench) -> None:
        suspects = bench.suspects(2)
        others = bench.put(3)
        worker = bench.worker()
        leased = worker.lease(10)
        assert ids(leased) == [suspects[0], *others]
        assert [one.suspect for one in leased] == [True, False, False, False]
        assert worker.lease(10) == []
        assert worker.settle(leased[0], Verb.ACK)
        assert [(one.job_id, one.suspect) for one in worker.lease(10)] == [(suspects[1], True)]

    def test_each_worker_takes_one(self, bench: Bench) -> None:
        suspects = bench.suspects(3)
        assert [ids(bench.worker().lease(5)) for _ in range(4)] == [[suspects[0]], [suspects[1]], [suspects[2]], []]

    def test_a_replay_knows_its_suspect(self, bench: Bench) -> None:
        (suspect,) = bench.suspects()
        bench.put()
        worker = bench.worker()
        first = worker.ask(2)
        assert worker.ask(2, again=True).jobs[0].suspect
        assert ids(first.jobs)[0] == suspect

    @pytest.mark.parametrize("verb", [Verb.RETRY, Verb.POSTPONE, Verb.PARK, Verb.RELEASE, Verb.BURY])
    def test_any_end_of_one_makes_room_for_the_next(self, bench: Bench, verb: Verb) -> None:
        suspects = bench.suspects(2)
        worker = bench.worker()
        detail = {"delay": 60_000, "key": "p", "blocked_by": "p", "code": "C", "told": "t"}
        (first,) = worker.lease(1)
        assert worker.settle(first, verb, **detail)
        assert bench.wake_up()
        assert suspects[1] in ids(worker.lease(1))

    def test_they_count_as_ready(self, bench: Bench) -> None:
        bench.suspects(2)
        bench.put()
        assert bench.counts() == {"accepted": 3, "ready": 3}

    def test_a_suspect_that_waits_for_another_worker_does_not_keep_this_one_awake(self, bench: Bench) -> None:
        """An idle worker sleeps until there is a token; one that woke itself would never sleep."""
        bench.suspects(3)
        worker = bench.worker()
        (leased,) = worker.lease()
        assert bench.wake_up(), "somebody else may take the next one"
        assert worker.lease() == []
        assert not bench.wake_up()
        assert worker.settle(leased, Verb.ACK)
        assert bench.wake_up()


@pytest.mark.parametrize(("wanted", "woken"), [(1, True), (2, False), (9, False)], ids=["some left", "none", "no more"])
def test_a_lease_that_leaves_jobs_behind_wakes_the_next_worker(bench: Bench, wanted: int, woken: bool) -> None:
    bench.put(2)
    bench.worker().lease(wanted)
    assert bench.wake_up() is woken


def test_five_thousand_tenants_are_served_at_once(bench: Bench) -> None:
    bench.offer(*(job(f"t{number}") for number in range(5_000)))
    leased = bench.worker().lease(512)
    assert [one.tenant for one in leased] == [f"t{number}" for number in range(512)]
