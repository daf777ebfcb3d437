"""Ending leases: each verb, whoever has no lease, and answers that were lost."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from penstock.producers.queue.enqueueing import Offer
from penstock.workers.broker.leases import LeasedJob, Settlement, Verb
from tests.producers.queue.conftest import Bench, Worker, job

ENTRY = '{"attempt":1,"outcome":"x"}'
#: A detail for each verb, which sends the job somewhere whence it does not come back by itself.
DETAILS: dict[Verb, dict[str, Any]] = {
    Verb.ACK: {},
    Verb.RETRY: {"delay": 60_000, "code": "C", "told": "t", "entry": ENTRY},
    Verb.POSTPONE: {"delay": 60_000, "blocked_by": "b"},
    Verb.BURY: {"code": "C", "told": "t", "entry": ENTRY},
    Verb.RELEASE: {},
    Verb.PARK: {"key": "p", "blocked_by": "b"},
}
PLACES = {
    Verb.ACK: None,
    Verb.RETRY: "scheduled",
    Verb.POSTPONE: "scheduled",
    Verb.BURY: "dead",
    Verb.RELEASE: "ready:acme",
    Verb.PARK: "parked:p",
}

each_verb = pytest.mark.parametrize("verb", list(Verb))


@pytest.fixture
def worker(bench: Bench) -> Worker:
    return bench.worker()


@pytest.fixture
def leased(bench: Bench, worker: Worker) -> LeasedJob:
    bench.put()
    return worker.lease()[0]


@each_verb
def test_each_verb_sends_the_job_to_its_place(bench: Bench, worker: Worker, leased: LeasedJob, verb: Verb) -> None:
    assert worker.settle(leased, verb, **DETAILS[verb])
    assert bench.where(leased.job_id) == PLACES[verb]
    assert "leased" not in bench.counts()


def test_an_ack_leaves_a_record_without_the_message(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    assert worker.settle(leased, Verb.ACK)
    record = bench.record(leased.job_id)
    assert int(record.pop("changed_at")) <= bench.now()
    assert record == {
        "state": "done",
        "kind": "k",
        "tenant": "acme",
        "digest": "digest of ",
        "attempts": "0",
        "settled": leased.token,
    }
    assert bench.counts() == {"accepted": 1, "done": 1}


def test_jobs_that_are_done_together_leave_a_record_each(bench: Bench, worker: Worker) -> None:
    """Records that are alike are copies of one; what differs between jobs stays theirs."""
    facts = [{"text": "a"}, {"text": "b"}, {"text": "c", "tenant": "globex"}, {"text": "d", "kind": "other"}]
    facts += [{"text": "e", "keep": timedelta(minutes=2)}, {"text": "f"}, {"text": "g", "keep": timedelta(0)}]
    ids = [job_id for fact in facts for job_id in bench.put(**fact)]  # type: ignore[arg-type]  # of several types
    leased = {one.job_id: one for one in worker.lease(10)}
    assert worker.settle_many([Settlement(leased[job_id], Verb.ACK) for job_id in ids]) == [True] * 7
    *kept, gone = ids
    for job_id, fact in zip(kept, facts, strict=False):
        record = bench.record(job_id)
        assert int(record.pop("changed_at")) <= bench.now()
        assert record == {
            "state": "done",
            "kind": fact.get("kind", "k"),
            "tenant": fact.get("tenant", "acme"),
            "digest": f"digest of {fact['text']}",
            "attempts": "0",
            "settled": leased[job_id].token,
        }
        limit = fact.get("keep", timedelta(hours=1))
        assert limit - timedelta(minutes=1) < timedelta(milliseconds=bench.client.pttl(bench.keys.job(job_id))) <= limit
        assert bench.client.object("encoding", bench.keys.job(job_id)) == b"listpack"
    assert bench.record(gone) == {}
    assert bench.counts() == {"accepted": 7, "done": 7}
    assert [told.offer for told in bench.offer(job(job_id=UUID(ids[1]), text="b"))] == [Offer.KNOWN]


def test_a_job_that_is_told_of_twice_ends_once(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    told = [Settlement(leased, Verb.ACK), Settlement(leased, Verb.RELEASE), Settlement(leased, Verb.ACK)]
    assert worker.settle_many(told) == [True, True, True]
    assert bench.counts() == {"accepted": 1, "done": 1}


def test_a_retry_is_due_after_its_delay_and_costs_an_attempt(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    began = bench.now()
    assert worker.settle(leased, Verb.RETRY, **DETAILS[Verb.RETRY])
    record = bench.record(leased.job_id)
    assert began + 60_000 <= int(record["due"]) <= bench.now() + 60_000
    assert (record["attempts"], record["code"], record["told"]) == ("1", "C", "t")
    assert json.loads(record["history"]) == [json.loads(ENTRY)]


def test_a_postponement_costs_no_attempt_and_is_counted(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    assert worker.settle(leased, Verb.POSTPONE, delay=0, blocked_by="one", limited=True)
    first = bench.record(leased.job_id)
    assert (first["blocked_by"], first["postpones"], first.get("attempts")) == ("one", "1", None)
    assert worker.settle(worker.lease()[0], Verb.POSTPONE, delay=60_000, blocked_by="two", limited=True)
    second = bench.record(leased.job_id)
    assert (second["blocked_by"], second["postpones"]) == ("two", "2")
    assert second["postponed_at"] == first["postponed_at"], "of the first time"


def test_a_postponement_that_is_nobodys_doing_has_no_end(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    """PostgreSQL may be away for days; what the actor says then must not be held against that."""
    assert worker.settle(leased, Verb.POSTPONE, delay=0, blocked_by="storage")
    record = bench.record(leased.job_id)
    assert (record["postpones"], record.get("postponed_at")) == ("1", None)


def test_a_retry_is_blocked_by_nothing(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    assert worker.settle(leased, Verb.POSTPONE, delay=0, blocked_by="one")
    assert worker.settle(worker.lease()[0], Verb.RETRY, delay=60_000)
    assert "blocked_by" not in bench.record(leased.job_id)


@pytest.mark.parametrize(("attempted", "attempts"), [(True, "1"), (False, None)])
def test_a_dead_letter_keeps_all_and_never_expires(
    bench: Bench, worker: Worker, leased: LeasedJob, attempted: bool, attempts: str | None
) -> None:
    assert worker.settle(leased, Verb.BURY, **DETAILS[Verb.BURY], attempted=attempted)
    record = bench.record(leased.job_id)
    assert (record["state"], record["code"], record["told"], record["message"]) == ("dead", "C", "t", "message ")
    assert record.get("attempts") == attempts
    assert json.loads(record["history"]) == [json.loads(ENTRY)]
    assert bench.client.zscore(bench.keys.key("dead"), leased.job_id) == int(record["died_at"])
    assert bench.client.pttl(bench.keys.job(leased.job_id)) == -1


def test_released_jobs_go_back_to_the_head_in_their_order(bench: Bench, worker: Worker) -> None:
    put = bench.put(6)
    leased = worker.lease(4)
    assert all(worker.settle_many([Settlement(one, Verb.RELEASE) for one in leased]))
    assert bench.ready() == put
    assert bench.wake_up()
    assert [one.attempts for one in worker.lease(6)] == [0] * 6


def test_released_jobs_of_several_tenants_go_first_again(bench: Bench, worker: Worker) -> None:
    a, b = bench.put(3, "a"), bench.put(3, "b")
    leased = worker.lease(4)
    bench.put(1, "c")
    assert all(worker.settle_many([Settlement(one, Verb.RELEASE) for one in leased]))
    assert (bench.ready("a"), bench.ready("b")) == (a, b)
    assert sorted(bench.rotation()) == ["a", "b", "c"]


def test_a_tenant_that_has_nothing_else_goes_to_the_head_of_the_rotation(bench: Bench, worker: Worker) -> None:
    bench.put(1, "a")
    (leased,) = worker.lease()
    bench.put(1, "b")
    assert worker.settle(leased, Verb.RELEASE)
    assert bench.rotation() == ["a", "b"]


def test_a_job_can_be_released_to_be_leased_singly(bench: Bench, worker: Worker) -> None:
    put = bench.put(3)
    leased = worker.lease(3)
    assert all(worker.settle_many([Settlement(one, Verb.RELEASE, {"alone": True}) for one in leased]))
    assert bench.places().places["alone"] == put
    assert bench.ready() == []
    again = worker.lease(3)
    assert [(one.job_id, one.suspect) for one in again] == [(put[0], True)]


def test_parked_jobs_stand_in_the_order_in_which_they_were_enqueued(bench: Bench, worker: Worker) -> None:
    put = bench.put(4)
    leased = worker.lease(4)
    for place in (2, 0, 3, 1):
        assert worker.settle(leased[place], Verb.PARK, key="p", blocked_by="b")
    assert bench.places().places["parked:p"] == put
    assert bench.record(put[0])["park"] == "p"


def test_the_first_parked_job_says_when_its_key_is_offered(bench: Bench, worker: Worker) -> None:
    bench.put(2)
    first, second = worker.lease(2)
    began = bench.now()
    assert worker.settle(first, Verb.PARK, key="p", blocked_by="b", offer=60_000, limit=90_000)
    info = json.loads(bench.client.hget(bench.keys.key("parks"), "p"))
    assert began <= info.pop("since") <= bench.now()
    assert info == {"reason": "b", "offer": 60_000, "limit": 90_000}
    offered_at = bench.client.zscore(bench.keys.key("releases"), "p")
    assert began + 60_000 <= offered_at <= bench.now() + 60_000
    assert worker.settle(second, Verb.PARK, key="p", blocked_by="other", offer=1)
    assert bench.client.zscore(bench.keys.key("releases"), "p") == offered_at


def test_how_long_a_job_is_parked_counts_from_the_first_time(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    assert worker.settle(leased, Verb.PARK, key="p", blocked_by="b")
    first = bench.record(leased.job_id)["parked_at"]
    worker.release("p", 1)
    assert worker.settle(worker.lease()[0], Verb.PARK, key="q", blocked_by="b")
    assert bench.record(leased.job_id)["parked_at"] == first


@each_verb
def test_a_replay_changes_nothing_and_is_told_the_same(
    bench: Bench, worker: Worker, leased: LeasedJob, verb: Verb
) -> None:
    assert worker.settle(leased, verb, **DETAILS[verb])
    before = bench.places(), bench.record(leased.job_id), bench.counts()
    assert worker.settle(leased, verb, **DETAILS[verb])
    assert (bench.places(), bench.record(leased.job_id), bench.counts()) == before


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.POSTPONE, Verb.RELEASE, Verb.PARK])
def test_a_replay_after_the_next_lease_leaves_that_one_alone(bench: Bench, worker: Worker, verb: Verb) -> None:
    bench.put()
    (first,) = worker.lease()
    assert worker.settle(first, verb, **DETAILS[verb] | {"delay": 0})
    worker.release("p", 1)
    (second,) = bench.worker().lease()
    before = bench.places(), bench.record(first.job_id)
    assert worker.settle(first, verb, **DETAILS[verb])
    assert (bench.places(), bench.record(first.job_id)) == before
    assert bench.record(first.job_id)["lease"] == second.token


@each_verb
def test_who_has_lost_the_lease_ends_nothing(bench: Bench, worker: Worker, leased: LeasedJob, verb: Verb) -> None:
    worker.fall_silent()
    other = bench.worker()
    other.tick()
    (again,) = other.lease()
    assert again.job_id == leased.job_id
    before = bench.places(), bench.record(leased.job_id), bench.counts()
    assert not worker.settle(leased, verb, **DETAILS[verb])
    assert (bench.places(), bench.record(leased.job_id), bench.counts()) == before
    assert other.settle(again, Verb.ACK)
    assert not worker.settle(leased, verb, **DETAILS[verb])
    assert bench.counts() == {"accepted": 1, "done": 1}


@each_verb
def test_a_job_that_nobody_knows_is_ended_by_nobody(
    bench: Bench, worker: Worker, leased: LeasedJob, verb: Verb
) -> None:
    assert worker.settle(leased, Verb.ACK)
    bench.client.delete(bench.keys.job(leased.job_id))
    assert not worker.settle(leased, verb, **DETAILS[verb])
    assert bench.places().ids() == []


def test_many_leases_end_in_one_step_each_in_its_own_way(bench: Bench, worker: Worker) -> None:
    put = bench.put(6)
    leased = worker.lease(6)
    settlements = [Settlement(one, verb, DETAILS[verb]) for one, verb in zip(leased, Verb, strict=True)]
    # One that is not held, in the middle.
    lost = LeasedJob("q", "nobody", "k", "t", b"", "x/1", 0, 0, 0, 0, None, None, 0, 0, suspect=False)
    told = worker.settle_many([*settlements[:3], Settlement(lost, Verb.ACK), *settlements[3:]])
    assert told == [True, True, True, False, True, True, True]
    assert [bench.where(job_id) for job_id in put] == [PLACES[verb] for verb in Verb]


def test_the_same_lease_twice_in_one_step_ends_once(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    twice = [Settlement(leased, Verb.RETRY, DETAILS[Verb.RETRY])] * 2
    assert worker.settle_many(twice) == [True, True]
    assert bench.record(leased.job_id)["attempts"] == "1"


def test_five_hundred_leases_end_at_once(bench: Bench, worker: Worker) -> None:
    put = bench.put(500)
    leased = worker.lease(500)
    assert all(worker.settle_many([Settlement(one, Verb.RELEASE) for one in leased]))
    assert bench.ready() == put


def test_the_history_of_a_job_that_goes_round_for_ever_does_not_grow_for_ever(
    bench: Bench, worker: Worker, leased: LeasedJob
) -> None:
    entry = json.dumps({"text": "x" * 100_000})
    for _ in range(6):
        assert worker.settle(leased, Verb.RETRY, delay=0, entry=entry)
        (leased,) = worker.lease()
    history = json.loads(bench.record(leased.job_id)["history"])
    assert 2 <= len(history) <= 3
    assert leased.attempts == 6


def test_an_entry_may_hold_any_text(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    entry = json.dumps({"message": 'é "quoted" \\ \u0000 \ud83d\ude00 ]},{['})
    assert worker.settle(leased, Verb.RETRY, delay=60_000, entry=entry)
    assert json.loads(bench.record(leased.job_id)["history"]) == [json.loads(entry)]


def test_a_message_can_be_replaced(bench: Bench, worker: Worker, leased: LeasedJob) -> None:
    message = bytes(range(256)) + b"\n\n"
    assert worker.settle_many([Settlement(leased, Verb.RETRY, {"delay": 0}, message)]) == [True]
    (again,) = worker.lease()
    assert (again.message, again.attempts) == (message, 1)
    assert worker.settle_many([Settlement(again, Verb.BURY, {"code": "C", "told": "t"}, b"")]) == [True]
    assert bench.record(leased.job_id)["message"] == ""


@pytest.mark.parametrize("delay", [60_000, 90 * 86_400_000], ids=["a minute", "ninety days"])
def test_an_earlier_due_time_wakes_who_sleeps_for_a_later_one(bench: Bench, worker: Worker, delay: int) -> None:
    bench.put(2)
    first, second = worker.lease(2)
    assert worker.settle(first, Verb.RETRY, delay=delay)
    assert bench.wake_up()
    assert worker.settle(second, Verb.RETRY, delay=delay + 60_000)
    assert not bench.wake_up()
    assert worker.ask().next_due is not None


def test_a_job_without_a_window_is_forgotten_when_it_is_done(bench: Bench, worker: Worker) -> None:
    new = job(keep=timedelta(0))
    bench.offer(new)
    assert worker.settle(worker.lease()[0], Verb.ACK)
    assert bench.record(str(new.job_id)) == {}
    assert bench.counts() == {"accepted": 1, "done": 1}
