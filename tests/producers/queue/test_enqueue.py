"""Enqueueing: each job once, in order, however often it is offered."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from penstock.producers.queue.enqueueing import BATCH_JOBS, Offer
from penstock.producers.queue.records import JobState
from penstock.workers.broker.leases import Verb
from tests.producers.queue.conftest import Bench, job


def test_jobs_stand_in_the_order_in_which_they_came(bench: Bench) -> None:
    first, second = bench.put(3), bench.put(2)
    assert bench.ready() == [*first, *second]
    assert [bench.record(job_id)["seq"] for job_id in [*first, *second]] == ["1", "2", "3", "4", "5"]
    assert bench.counts() == {"accepted": 5, "ready": 5}


def test_a_record_tells_what_the_job_is(bench: Bench) -> None:
    began = bench.now()
    (job_id,) = bench.put(tenant="globex", text="one", keep=timedelta(minutes=2))
    record = bench.record(job_id)
    assert began <= int(record.pop("accepted_at")) == int(record.pop("changed_at")) <= bench.now()
    assert record == {
        "state": "ready",
        "kind": "k",
        "tenant": "globex",
        "digest": "digest of one",
        "keep": "120000",
        "seq": "1",
        "message": "message one",
        "held": "0/11t",
    }


def test_bytes_of_any_kind_are_kept(bench: Bench) -> None:
    message = bytes(range(256)) * 3
    bench.offer(job(message=message))
    (leased,) = bench.worker().lease()
    assert leased.message == message


def test_a_known_job_adds_nothing(bench: Bench) -> None:
    new = job()
    (first,) = bench.offer(new)
    (again,) = bench.offer(new)
    assert (first.offer, again.offer) == (Offer.ACCEPTED, Offer.KNOWN)
    assert first.job_id == again.job_id == new.job_id
    assert bench.counts() == {"accepted": 1, "ready": 1}


def test_each_job_of_a_call_is_told_its_own(bench: Bench) -> None:
    """A call is parted into runs of jobs that are alike; answers keep the order of the jobs."""
    known, conflicting = job(text="known"), job(text="one")
    bench.offer(known, conflicting)
    new = [job() for _ in range(4)]
    late, globex, urgent = job(due=timedelta(hours=1)), job("globex"), job(urgent=True)
    other = job(job_id=conflicting.job_id, text="other")
    told = bench.offer(new[0], new[1], known, late, late, globex, urgent, new[2], other, new[2], new[3])
    assert [(one.offer, one.state) for one in told] == [
        (Offer.ACCEPTED, JobState.READY),
        (Offer.ACCEPTED, JobState.READY),
        (Offer.KNOWN, JobState.READY),
        (Offer.ACCEPTED, JobState.SCHEDULED),
        (Offer.KNOWN, JobState.SCHEDULED),
        (Offer.ACCEPTED, JobState.READY),
        (Offer.ACCEPTED, JobState.READY),
        (Offer.ACCEPTED, JobState.READY),
        (Offer.CONFLICT, JobState.READY),
        (Offer.KNOWN, JobState.READY),
        (Offer.ACCEPTED, JobState.READY),
    ]
    assert bench.ready() == [str(one.job_id) for one in (known, conflicting, *new)]
    assert (bench.ready("globex"), bench.urgent()) == ([str(globex.job_id)], [str(urgent.job_id)])
    assert bench.where(str(late.job_id)) == "scheduled"


def test_the_same_job_twice_in_one_call_is_one(bench: Bench) -> None:
    new = job()
    assert [one.offer for one in bench.offer(new, new)] == [Offer.ACCEPTED, Offer.KNOWN]
    assert bench.ready() == [str(new.job_id)]


def test_a_known_job_is_written_all_the_same(bench: Bench) -> None:
    """WAIT confirms a connection's last write, so there must be one."""
    new = job()
    bench.offer(new)
    assert "offered_at" not in bench.record(str(new.job_id))
    bench.offer(new)
    assert "offered_at" in bench.record(str(new.job_id))


@pytest.mark.parametrize("verb", [None, Verb.RETRY, Verb.PARK, Verb.BURY, Verb.ACK])
def test_a_known_job_is_known_wherever_it_stands(bench: Bench, verb: Verb | None) -> None:
    new = job()
    bench.offer(new)
    worker = bench.worker()
    (leased,) = worker.lease()
    details = {
        Verb.RETRY: {"delay": 60_000},
        Verb.PARK: {"key": "p", "blocked_by": "p"},
        Verb.BURY: {"code": "C", "told": "t"},
    }
    states = {Verb.RETRY: "scheduled", Verb.PARK: "parked", Verb.BURY: "dead", Verb.ACK: "done", None: "leased"}
    if verb is not None:
        assert worker.settle(leased, verb, **details.get(verb, {}))
    before = bench.counts()
    (told,) = bench.offer(new)
    assert (told.offer, told.state) == (Offer.KNOWN, states[verb])
    assert bench.counts() == before


@pytest.mark.parametrize("revive", [(), (JobState.DEAD, JobState.DONE)], ids=["plain", "reviving"])
def test_other_content_under_a_known_id_is_a_conflict_and_hinders_nobody_else(
    bench: Bench, revive: tuple[JobState, ...]
) -> None:
    known, before, after = job(text="one"), job(), job()
    bench.offer(known)
    told = bench.offer(before, job(text="other", job_id=known.job_id), after, revive=revive)
    assert [one.offer for one in told] == [Offer.ACCEPTED, Offer.CONFLICT, Offer.ACCEPTED]
    assert bench.ready() == [str(one.job_id) for one in (known, before, after)]
    assert bench.record(str(known.job_id))["message"] == "message one"


def test_a_dead_job_is_revived_and_not_accepted_anew(bench: Bench) -> None:
    new = job()
    bench.offer(new)
    worker = bench.worker()
    (leased,) = worker.lease()
    assert worker.settle(leased, Verb.BURY, code="C", told="t", entry='{"outcome":"dead"}', attempted=True)
    assert [one.offer for one in bench.offer(new, revive=(JobState.DONE,))] == [Offer.KNOWN]
    (told,) = bench.offer(new, revive=(JobState.DEAD,))
    assert (told.offer, told.state) == (Offer.REVIVED, JobState.READY)
    assert bench.counts() == {"accepted": 1, "ready": 1}
    record = bench.record(str(new.job_id))
    assert not {"attempts", "crashes", "postpones", "code", "told", "died_at"} & record.keys()
    assert record["history"] == '[{"outcome":"dead"}]'
    (again,) = worker.lease()
    assert (again.job_id, again.attempts) == (leased.job_id, 0)


def test_a_job_that_is_done_is_revived_and_accepted_anew(bench: Bench) -> None:
    new = job()
    bench.offer(new)
    worker = bench.worker()
    assert worker.settle(worker.lease()[0], Verb.ACK)
    assert [one.offer for one in bench.offer(new, revive=(JobState.DEAD,))] == [Offer.KNOWN]
    (told,) = bench.offer(new, revive=(JobState.DEAD, JobState.DONE))
    assert (told.offer, told.state) == (Offer.REVIVED, JobState.READY)
    assert bench.counts() == {"accepted": 2, "done": 1, "ready": 1}
    # The record would expire, and the job with it.
    assert bench.client.pttl(bench.keys.job(new.job_id)) == -1
    (again,) = worker.lease()
    assert again.message == new.message


def test_a_revived_job_goes_to_the_tail_and_may_be_due_later(bench: Bench) -> None:
    dead = job()
    bench.offer(dead)
    worker = bench.worker()
    assert worker.settle(worker.lease()[0], Verb.BURY, code="C", told="t")
    later = job(job_id=dead.job_id, due=timedelta(hours=1))
    (told,) = bench.offer(later, revive=(JobState.DEAD,))
    assert (told.offer, told.state) == (Offer.REVIVED, JobState.SCHEDULED)
    assert bench.where(str(dead.job_id)) == "scheduled"


@pytest.mark.parametrize("name", ["ready", "leased", "scheduled", "parked"])
def test_a_job_that_lives_is_never_revived(bench: Bench, name: str) -> None:
    new = job(due=timedelta(hours=1) if name == "scheduled" else None)
    bench.offer(new)
    if name in {"leased", "parked"}:
        worker = bench.worker()
        (leased,) = worker.lease()
        if name == "parked":
            assert worker.settle(leased, Verb.PARK, key="p", blocked_by="p")
    (told,) = bench.offer(new, revive=(JobState.DEAD, JobState.DONE))
    assert (told.offer, told.state) == (Offer.KNOWN, name)


@pytest.mark.parametrize(
    ("due", "state"),
    [
        (None, "ready"),
        (timedelta(0), "ready"),
        (timedelta(seconds=-5), "ready"),
        (timedelta(microseconds=1), "scheduled"),
        (timedelta(hours=2), "scheduled"),
        (datetime(2001, 1, 1, tzinfo=UTC), "ready"),
        (datetime(1969, 1, 1, tzinfo=UTC), "ready"),
        (datetime(2201, 1, 1, tzinfo=UTC), "scheduled"),
    ],
    ids=["none", "in nothing", "in the past", "in a moment", "in a while", "passed", "before 1970", "far ahead"],
)
def test_a_job_waits_for_its_time(bench: Bench, due: timedelta | datetime | None, state: str) -> None:
    began = bench.now()
    (told,) = bench.offer(job(due=due))
    ended = bench.now()
    assert told.state == state
    if state == "ready":
        assert bench.ready() == [str(told.job_id)]
        return
    assert bench.where(str(told.job_id)) == "scheduled"
    at = int(bench.record(str(told.job_id))["due"])
    if isinstance(due, datetime):
        assert at == due.timestamp() * 1000
    else:
        assert due is not None
        # Never before its time: a part of a millisecond is a whole one.
        ahead = max(1, int(due / timedelta(milliseconds=1)))
        assert began + ahead <= at <= ended + ahead


def test_an_instant_within_a_millisecond_is_not_reached_early(bench: Bench) -> None:
    (told,) = bench.offer(job(due=datetime(2201, 1, 1, 0, 0, 0, 1, tzinfo=UTC)))
    assert int(bench.record(str(told.job_id))["due"]) == datetime(2201, 1, 1, tzinfo=UTC).timestamp() * 1000 + 1


def test_jobs_of_many_tenants_take_turns_from_the_first_call_on(bench: Bench) -> None:
    bench.offer(*(job(tenant) for tenant in ["a", "b", "a", "c", "b", "a"]))
    assert bench.rotation() == ["a", "b", "c"]
    assert [len(bench.ready(tenant)) for tenant in "abc"] == [3, 2, 1]


def test_a_known_job_that_is_done_is_kept_for_its_own_time(bench: Bench) -> None:
    for keep, left in ((timedelta(minutes=3), 180_000), (timedelta(0), None)):
        new = job(keep=keep)
        bench.offer(new)
        worker = bench.worker()
        assert worker.settle(worker.lease()[0], Verb.ACK)
        ttl = bench.client.pttl(bench.keys.job(new.job_id))
        assert ttl == -2 if left is None else left - 5_000 < ttl <= left
    assert bench.counts() == {"accepted": 2, "done": 2}


def test_a_call_of_any_size_is_cut_into_steps_that_keep_the_order(bench: Bench) -> None:
    count = 2 * BATCH_JOBS + 1
    ids = bench.put(count)
    assert bench.ready() == ids
    assert bench.counts() == {"accepted": count, "ready": count}


def test_large_messages_are_parted_by_their_size(bench: Bench) -> None:
    ids = [str(one.job_id) for one in bench.offer(*(job(message=b"x" * 6_000_000) for _ in range(6)))]
    assert bench.ready() == ids


def test_a_job_without_a_message_is_a_job(bench: Bench) -> None:
    (told,) = bench.offer(job(message=b""))
    (leased,) = bench.worker().lease()
    assert (leased.job_id, leased.message) == (str(told.job_id), b"")


def test_nothing_to_enqueue_is_nothing(bench: Bench) -> None:
    untouched = Bench(bench.client, f"{bench.namespace}-untouched", counted=False)
    assert untouched.offer() == []
    assert bench.client.exists(untouched.keys.key("meta")) == 0


def test_beyond_a_hundred_kinds_they_count_together(bench: Bench) -> None:
    bench.offer(*(job(kind=f"kind-{number}") for number in range(98)))
    for kind in ("kind-98", "kind-99", "kind-100", "kind-101", "kind-98", "kind-100"):
        bench.offer(job(kind=kind), job(kind=kind))
    told = {name.decode(): int(count) for name, count in bench.client.hgetall(bench.keys.key("enqueued")).items()}
    assert len(told) == 101
    assert (told["kind-98"], told["kind-99"], told[""]) == (4, 2, 6)


def test_a_worker_that_sleeps_is_woken_once(bench: Bench) -> None:
    bench.put(3)
    bench.put(3)
    assert bench.client.llen(bench.keys.key("wake")) == 1


@pytest.mark.parametrize(
    ("due", "woken"),
    [(timedelta(minutes=30), True), (timedelta(minutes=90), False)],
    ids=["earlier", "later"],
)
def test_a_job_that_is_due_before_all_others_wakes_a_worker(bench: Bench, due: timedelta, woken: bool) -> None:
    """Whoever sleeps does so until the time that it knows of."""
    bench.put(due=timedelta(hours=1))
    assert bench.wake_up()
    bench.put(due=due)
    assert bench.wake_up() is woken


def test_a_queue_is_of_this_layout_from_its_first_job_on(bench: Bench) -> None:
    bench.put()
    assert bench.client.hget(bench.keys.key("meta"), "layout") == b"1"


def test_another_queue_knows_nothing_of_it(bench: Bench) -> None:
    new = job()
    bench.offer(new)
    other = Bench(bench.client, f"{bench.namespace}-other")
    assert [one.offer for one in other.offer(new)] == [Offer.ACCEPTED]
    assert uuid.UUID(other.ready()[0]) == new.job_id
