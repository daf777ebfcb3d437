"""The sweep: a job of the outbox has an effect or a dead letter in the end, whatever Redis forgot."""

from datetime import timedelta

import pytest

from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobRecords, JobState
from penstock.workers.broker.leases import Verb
from penstock.workers.database.transaction import Transactions
from penstock.workers.scheduler import sweep as sweep_module
from penstock.workers.scheduler.offering import Offering
from penstock.workers.scheduler.relay import Relay
from penstock.workers.scheduler.sweep import Sweep
from penstock.workers.telemetry.metrics import JOBS_REENQUEUED
from tests.workers.scheduler.conftest import Outbox


def reenqueued(kind: str = "test.plain") -> float:
    return JOBS_REENQUEUED.labels("submissions", kind)._value.get()


def test_a_row_goes_when_its_effect_is_there(relay: Relay, sweep: Sweep, outbox: Outbox) -> None:
    done, waiting = outbox.enqueue(number=1), outbox.enqueue(number=2)
    relay.run_once()
    (first, _) = outbox.lease()
    assert first.job_id == str(done)
    outbox.commit_effect(done)
    assert sweep.run_once() is False
    assert outbox.rows() == {waiting: ("relayed", None)}


def test_an_effect_counts_also_where_redis_has_lost_everything(relay: Relay, sweep: Sweep, outbox: Outbox) -> None:
    identity = outbox.enqueue()
    relay.run_once()
    outbox.commit_effect(identity)
    outbox.lose_redis()
    before = reenqueued()
    sweep.run_once()
    assert (outbox.rows(), outbox.ready(), reenqueued()) == ({}, [], before)


@pytest.mark.parametrize("state", ["ready", "leased", "scheduled"])
def test_a_job_that_its_queue_has_is_left_alone(relay: Relay, sweep: Sweep, outbox: Outbox, state: str) -> None:
    identity = outbox.enqueue_at("now() + interval '1 minute'") if state == "scheduled" else outbox.enqueue()
    relay.run_once()
    if state == "leased":
        outbox.lease()
    checked = outbox.database.value("SELECT checked_at FROM penstock.outbox")
    sweep.run_once()
    assert outbox.state(identity) == state
    assert outbox.database.query("SELECT state, times_relayed, checked_at > %s FROM penstock.outbox", checked) == [
        ("relayed", 1, True)
    ]


def test_a_job_that_redis_lost_is_enqueued_again(relay: Relay, sweep: Sweep, outbox: Outbox) -> None:
    identity = outbox.enqueue(key="k")
    relay.run_once()
    outbox.lose_redis()
    before = reenqueued()
    sweep.run_once()
    assert (outbox.ready(), outbox.rows(), reenqueued()) == ([identity], {identity: ("relayed", None)}, before + 1)
    assert outbox.database.value("SELECT times_relayed FROM penstock.outbox") == 2
    sweep.run_once()
    assert (outbox.meta("accepted"), reenqueued()) == (1, before + 1)


def test_a_job_whose_commit_postgresql_lost_runs_again_once(relay: Relay, sweep: Sweep, outbox: Outbox) -> None:
    identity = outbox.enqueue()
    relay.run_once()
    outbox.end()
    assert outbox.state(identity) is JobState.DONE
    before = reenqueued()
    sweep.run_once()
    assert (outbox.ready(), reenqueued()) == ([identity], before + 1)
    # It is asked about while it waits, and that does not wipe out what is known of it.
    sweep.run_once()
    assert outbox.rows() == {identity: ("relayed", "JOB_UNACCOUNTED")}
    outbox.end()
    # Done twice and no effect: then its effect is not to be had under this id, and to run it for ever helps nobody.
    sweep.run_once()
    assert (outbox.rows(), outbox.ready(), reenqueued()) == ({}, [], before + 1)


def test_of_a_kind_without_ledger_redis_is_believed(relay: Relay, sweep: Sweep, outbox: Outbox) -> None:
    outbox.enqueue("test.unledgered")
    relay.run_once()
    outbox.end()
    sweep.run_once()
    assert (outbox.rows(), outbox.ready()) == ({}, [])


def test_a_dead_letter_is_noted_and_its_later_life_too(
    relay: Relay, sweep: Sweep, outbox: Outbox, offering: Offering
) -> None:
    identity = outbox.enqueue()
    relay.run_once()
    outbox.end(Verb.BURY)
    sweep.run_once()
    assert outbox.rows() == {identity: ("dead", None)}
    sweep.run_once()
    assert (outbox.rows(), outbox.ready()) == ({identity: ("dead", None)}, [])
    # An operator requeues it.
    row = outbox.database.value("SELECT id FROM penstock.outbox")
    keys = QueueKeys(outbox.namespace, "submissions")
    outbox.client.zrem(keys.key("dead"), str(identity))
    outbox.client.hset(keys.job(identity), "state", "ready")
    outbox.client.rpush(keys.key("ready:default"), str(identity))
    sweep.run_once()
    assert outbox.rows() == {identity: ("relayed", None)}
    assert outbox.database.value("SELECT id FROM penstock.outbox") == row


def test_a_dead_letter_that_was_discarded_does_not_come_back(relay: Relay, sweep: Sweep, outbox: Outbox) -> None:
    identity = outbox.enqueue()
    relay.run_once()
    outbox.end(Verb.BURY)
    sweep.run_once()
    outbox.lose_redis()
    sweep.run_once()
    assert (outbox.rows(), outbox.ready()) == ({identity: ("dead", None)}, [])


def test_what_was_asked_about_lately_is_not_asked_again(
    relay: Relay, transactions: Transactions, offering: Offering, outbox: Outbox
) -> None:
    records = JobRecords(outbox.client, outbox.namespace)
    patient = Sweep(transactions, offering, records, age=timedelta(hours=1))
    identity = outbox.enqueue()
    relay.run_once()
    outbox.lose_redis()
    patient.run_once()
    assert outbox.ready() == []
    outbox.database.query("UPDATE penstock.outbox SET checked_at = now() - interval '61 minutes'")
    patient.run_once()
    assert outbox.ready() == [identity]


def test_waiting_rows_are_none_of_its_business(sweep: Sweep, outbox: Outbox) -> None:
    identity = outbox.enqueue()
    sweep.run_once()
    assert (outbox.rows(), outbox.ready()) == ({identity: ("waiting", None)}, [])


def test_a_lost_job_of_a_kind_that_is_unknown_now_waits(
    relay: Relay, sweep: Sweep, outbox: Outbox, offering: Offering
) -> None:
    identity = outbox.enqueue()
    relay.run_once()
    outbox.lose_redis()
    offering.kinds = {}
    sweep.run_once()
    assert outbox.rows() == {identity: ("waiting", "JOB_UNKNOWN_KIND")}


def test_a_round_enqueues_no_more_than_it_may(
    relay: Relay, sweep: Sweep, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "ROUND_BYTES", 2_500)
    ids = [outbox.enqueue(text="x" * 1_000, number=number) for number in range(5)]
    relay.run_once()
    outbox.lose_redis()
    assert sweep.run_once() is True
    assert outbox.ready() == ids[:3]
    while sweep.run_once():
        pass
    assert outbox.ready() == ids
    assert outbox.meta("accepted") == 5
