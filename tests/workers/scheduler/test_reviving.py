"""Dead letters that operators requeue, from the outbox to their queue: once, however often a relay is killed."""

import json
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
import redis

from penstock.producers.queue.layout import QueueKeys
from penstock.workers.broker.leases import Verb
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.archive import Archive
from penstock.workers.scheduler.relay import Relay
from penstock.workers.scheduler.sweep import Sweep
from tests.workers.scheduler.conftest import Outbox

QUEUE = "submissions"
Requeue = Callable[..., None]


@pytest.fixture
def archive(client: "redis.Redis", namespace: str, transactions: Transactions) -> Archive:
    return Archive(client, namespace, transactions)


@pytest.fixture
def requeue(outbox: Outbox) -> Requeue:
    """As an operator does: the letter is resolved and the job stands in the outbox, in one transaction."""

    def run(job_id: UUID, payload: bytes | None = None) -> None:
        dead_id, body = outbox.database.query(
            "UPDATE penstock.dead_letters SET state = 'requeued', became = 'waiting', resolved_at = now(),"
            " resolved_by = 'ada', resolution_reason = 'a test'"
            " WHERE job_id = %s AND state = 'open' RETURNING dead_id, body",
            job_id,
        )[0]
        revive = "SELECT penstock.revive_letters(ARRAY[%s]::uuid[], ARRAY[%b]::bytea[], ARRAY[1])"
        assert outbox.database.value(revive, dead_id, body if payload is None else payload) == 1

    return run


def die(outbox: Outbox, archive: Archive) -> None:
    assert len(outbox.end(Verb.BURY)) == 1
    archive.run_round(QUEUE)


@pytest.fixture
def dead(relay: Relay, outbox: Outbox, archive: Archive) -> UUID:
    """A job of the outbox that died and is archived."""
    identity = outbox.enqueue(key=uuid4().hex, number=1)
    relay.run_once()
    die(outbox, archive)
    return identity


def waits_again(outbox: Outbox) -> None:
    """The relay was killed before it could note what it did."""
    outbox.database.query("UPDATE penstock.outbox SET state = 'waiting', checked_at = NULL, relayed_at = NULL")


def test_a_requeued_job_runs_again_with_its_payload(
    relay: Relay, sweep: Sweep, outbox: Outbox, requeue: Requeue, dead: UUID
) -> None:
    requeue(dead)
    relay.run_once()
    assert outbox.rows() == {dead: ("relayed", None)}
    (job,) = outbox.end()
    header, _, payload = job.message.partition(b"\n")
    assert (job.job_id, json.loads(header)["id"], payload) == (str(dead), str(dead), b'{"number": 1}')
    outbox.commit_effect(dead)
    sweep.run_once()
    assert outbox.rows() == {}


def test_an_edited_payload_is_what_runs(relay: Relay, outbox: Outbox, requeue: Requeue, dead: UUID) -> None:
    requeue(dead, b'{"number": 2}')
    relay.run_once()
    (job,) = outbox.lease()
    assert job.message.endswith(b'\n{"number": 2}')


@pytest.mark.parametrize("meanwhile", ["ready", "leased", "done", "died again"])
def test_a_relay_that_is_killed_offers_again_and_nothing_happens(
    relay: Relay, outbox: Outbox, archive: Archive, requeue: Requeue, dead: UUID, meanwhile: str
) -> None:
    requeue(dead)
    relay.run_once()
    if meanwhile == "leased":
        outbox.lease()
    elif meanwhile == "done":
        outbox.end()
    elif meanwhile == "died again":
        die(outbox, archive)
    waits_again(outbox)
    accepted = outbox.meta("accepted")
    relay.run_once()
    assert outbox.meta("accepted") == accepted
    assert outbox.states() == ["relayed"]
    assert outbox.state(dead) == ("dead" if meanwhile == "died again" else meanwhile)


def test_a_job_that_died_again_is_left_to_operators(
    relay: Relay, sweep: Sweep, outbox: Outbox, archive: Archive, requeue: Requeue, dead: UUID
) -> None:
    requeue(dead)
    relay.run_once()
    die(outbox, archive)
    for _ in range(3):
        sweep.run_once()
        relay.run_once()
    assert (outbox.rows(), outbox.ready()) == ({dead: ("dead", None)}, [])
    states = "SELECT state, became FROM penstock.dead_letters WHERE job_id = %s ORDER BY died_at"
    assert outbox.database.query(states, dead) == [("requeued", "died"), ("open", None)]
    requeue(dead)
    relay.run_once()
    assert outbox.ready() == [dead]


@pytest.mark.parametrize("state", ["dead", "conflict"])
def test_what_a_scheduler_of_an_earlier_release_could_not_revive_is_revived(
    sweep: Sweep, outbox: Outbox, requeue: Requeue, dead: UUID, state: str
) -> None:
    requeue(dead)
    outbox.database.query("UPDATE penstock.outbox SET state = %s, checked_at = now() - interval '1 s'", state)
    sweep.run_once()
    assert (outbox.states(), outbox.ready()) == (["relayed"], [dead])


def test_a_plain_message_goes_the_same_way(
    relay: Relay, outbox: Outbox, archive: Archive, requeue: Requeue, dead: UUID
) -> None:
    """Its letter is that of an actor whose name can be no kind's."""
    outbox.database.query("DELETE FROM penstock.outbox")
    outbox.lose_redis()
    outbox.database.query("ALTER TABLE penstock.dead_letters DISABLE TRIGGER USER")
    outbox.database.query("UPDATE penstock.dead_letters SET kind = 'send_mail' WHERE job_id = %s", dead)
    outbox.database.query("ALTER TABLE penstock.dead_letters ENABLE TRIGGER USER")
    requeue(dead)
    relay.run_once()
    keys = QueueKeys(outbox.namespace, QUEUE)
    assert outbox.client.hmget(keys.job(dead), "kind", "digest", "state") == [b"send_mail", b"message", b"ready"]


def test_a_job_whose_letter_is_there_is_not_lost_where_redis_has_forgotten_it(
    relay: Relay, sweep: Sweep, outbox: Outbox, dead: UUID
) -> None:
    outbox.lose_redis()
    sweep.run_once()
    assert (outbox.rows(), outbox.ready()) == ({dead: ("dead", None)}, [])


def test_a_requeued_job_that_redis_lost_is_enqueued_again(
    relay: Relay, sweep: Sweep, outbox: Outbox, requeue: Requeue, dead: UUID
) -> None:
    requeue(dead)
    relay.run_once()
    outbox.lose_redis()
    sweep.run_once()
    assert (outbox.states(), outbox.ready()) == (["relayed"], [dead])
