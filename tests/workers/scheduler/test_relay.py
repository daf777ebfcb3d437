"""The relay: every committed row goes to its queue once, in order, whatever is beside it or kills it."""

import json
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.queue.enqueueing import Enqueuer
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobState
from penstock.producers.storage.outbox import Waiting, claim_waiting, enqueue_in_transaction
from penstock.schemas.envelope import decode_envelope
from penstock.schemas.errors import PenstockError
from penstock.schemas.identity import job_id
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import Verb
from penstock.workers.database.transaction import Transactions
from penstock.workers.scheduler import relay as relay_module
from penstock.workers.scheduler.offering import Keep, Offering
from penstock.workers.scheduler.relay import Relay
from tests.system import Database
from tests.workers.scheduler.conftest import KINDS, Outbox

KEEP = Keep(timedelta(days=7), timedelta(hours=1))


def test_rows_go_to_the_queue_in_their_order(relay: Relay, outbox: Outbox) -> None:
    ids = [outbox.enqueue(number=number) for number in range(5)]
    assert relay.run_once() is False
    assert outbox.ready() == ids
    assert outbox.states() == ["relayed"] * 5
    relay.run_once()
    assert outbox.meta("accepted") == 5


def test_the_job_is_what_was_enqueued(relay: Relay, outbox: Outbox) -> None:
    identity = outbox.enqueue(key="k", text="é")
    relay.run_once()
    (job,) = outbox.lease()
    header, payload = decode_envelope(job.message)
    assert (header.id, header.kind, header.queue, header.tenant) == (identity, "test.plain", "submissions", "default")
    assert header.enqueued_at == outbox.database.value("SELECT created_at FROM penstock.outbox")
    assert json.loads(payload) == {"text": "é"}
    assert identity == job_id("default", "test.plain", "k")


@pytest.mark.parametrize(("key", "seconds"), [("k", 7 * 86_400), (None, 3_600)])
def test_a_finished_job_is_known_for_its_window(
    relay: Relay, outbox: Outbox, client: "redis.Redis", namespace: str, key: str | None, seconds: int
) -> None:
    identity = outbox.enqueue(key=key)
    relay.run_once()
    outbox.end()
    left = client.ttl(QueueKeys(namespace, "submissions").job(identity))
    assert seconds - 60 < int(left) <= seconds  # type: ignore[arg-type]


def test_each_kind_goes_to_its_own_queue(relay: Relay, outbox: Outbox) -> None:
    post, plain = outbox.enqueue("test.post"), outbox.enqueue()
    relay.run_once()
    assert (outbox.ready("posts"), outbox.ready()) == ([post], [plain])


def test_more_than_a_round_says_so(relay: Relay, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "ROUND_ROWS", 3)
    ids = [outbox.enqueue(number=number) for number in range(7)]
    assert [relay.run_once() for _ in range(3)] == [True, True, False]
    assert outbox.ready() == ids


def test_a_round_holds_no_more_payload_than_it_may(outbox: Outbox, transactions: Transactions) -> None:
    for number in range(5):
        outbox.enqueue(text="x" * 1_000, number=number)
    claimed = transactions.run(
        lambda transaction: claim_waiting(
            transaction.connection, Waiting.NOW, timedelta(0), limit=100, bytes_limit=2_500
        )
    )
    assert len(claimed) == 3


def test_many_bytes_say_that_there_is_more(relay: Relay, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "ROUND_BYTES", 2_500)
    ids = [outbox.enqueue(text="x" * 1_000, number=number) for number in range(4)]
    assert relay.run_once() is True
    assert outbox.ready() == ids[:3]
    assert relay.run_once() is False
    assert outbox.ready() == ids


def test_an_unknown_kind_is_kept_and_blocks_nobody(
    relay: Relay, outbox: Outbox, offering: Offering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "ROUND_ROWS", 3)
    monkeypatch.setattr(relay_module, "HELD_ROWS", 2)
    odd = [outbox.enqueue("test.odd", number=number) for number in range(7)]
    known = outbox.enqueue()
    for _ in range(4):
        relay.run_once()
    assert outbox.ready() == [known]
    assert [outbox.rows()[identity] for identity in odd] == [("waiting", "JOB_UNKNOWN_KIND")] * 7
    # A release that knows the kind is deployed.
    offering.kinds = KINDS | {"test.odd": KINDS["test.plain"]}
    for _ in range(4):
        relay.run_once()
    assert set(outbox.ready()) == {known, *odd}
    assert outbox.rows()[odd[0]] == ("relayed", None)


def test_what_is_held_is_left_alone_for_a_while(
    transactions: Transactions, offering: Offering, outbox: Outbox, database: Database
) -> None:
    relay = Relay(transactions, offering, hold=timedelta(hours=1), patience=lambda: 1)
    identity = outbox.enqueue("test.odd")
    relay.run_once()
    offering.kinds = KINDS | {"test.odd": KINDS["test.plain"]}
    relay.run_once()
    assert outbox.ready() == []
    database.query("UPDATE penstock.outbox SET checked_at = now() - interval '61 minutes'")
    relay.run_once()
    assert outbox.ready() == [identity]


def test_a_scheduler_that_does_not_know_a_kind_does_not_always_come_first(
    transactions: Transactions, offering: Offering, outbox: Outbox, client: "redis.Redis", database: Database
) -> None:
    """In a deploy both look at the row at the same instants, and each look has it left alone anew."""
    old = Relay(transactions, offering, hold=timedelta(hours=1), patience=lambda: 2)
    knowing = Offering(Enqueuer(client, outbox.namespace), KINDS | {"test.odd": KINDS["test.plain"]}, KEEP)
    new = Relay(transactions, knowing, hold=timedelta(hours=1), patience=lambda: 1)
    identity = outbox.enqueue("test.odd")
    old.run_once()
    database.query("UPDATE penstock.outbox SET checked_at = now() - interval '61 minutes'")
    old.run_once()
    new.run_once()
    assert outbox.ready() == [identity]
    drawn = {Relay(transactions, offering, hold=timedelta(hours=1))._patience() for _ in range(100)}
    assert len(drawn) > 1
    assert all(1 <= one <= 2 for one in drawn)


def test_the_far_future_waits_in_postgresql(relay: Relay, outbox: Outbox, database: Database) -> None:
    far = outbox.enqueue_at("now() + interval '2 hours'")
    near = outbox.enqueue_at("now() + interval '10 minutes'")
    relay.run_once()
    assert (outbox.state(far), outbox.state(near)) == (None, JobState.SCHEDULED)
    assert outbox.rows() == {far: ("waiting", None), near: ("relayed", None)}
    scheduled = outbox.client.zrange(
        QueueKeys(outbox.namespace, "submissions").key("scheduled"), 0, -1, withscores=True
    )
    (due,) = [datetime.fromtimestamp(float(score) / 1000, UTC) for _, score in scheduled]  # type: ignore[misc]
    run_at = database.value("SELECT run_at FROM penstock.outbox WHERE job_id = %s", near)
    assert abs(due - run_at) < timedelta(milliseconds=2)
    database.query("UPDATE penstock.outbox SET run_at = run_at - interval '70 minutes'")
    relay.run_once()
    assert outbox.state(far) is JobState.SCHEDULED


def test_a_key_that_the_queue_knows_with_another_payload_is_a_conflict(relay: Relay, outbox: Outbox) -> None:
    first = outbox.enqueue(key="k", number=1)
    relay.run_once()
    outbox.database.query("DELETE FROM penstock.outbox")
    assert outbox.enqueue(key="k", number=2) == first
    other = outbox.enqueue()
    relay.run_once()
    assert outbox.rows() == {first: ("conflict", "JOB_CONFLICT"), other: ("relayed", None)}
    assert outbox.ready() == [first, other]


def test_a_job_that_is_dead_already_is_told_so(relay: Relay, outbox: Outbox) -> None:
    identity = outbox.enqueue(key="k")
    relay.run_once()
    outbox.end(Verb.BURY)
    outbox.database.query("DELETE FROM penstock.outbox")
    outbox.enqueue(key="k")
    relay.run_once()
    assert outbox.rows() == {identity: ("dead", None)}
    assert outbox.state(identity) is JobState.DEAD


class KilledError(Exception):
    """Stands for `kill -9` at that point."""


def test_a_relay_that_is_killed_before_its_commit_repeats_nothing(
    relay: Relay, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [outbox.enqueue(number=number) for number in range(3)]

    def killed(*_arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(relay_module, "note_answers", killed)
        with pytest.raises(KilledError):
            relay.run_once()
    # Redis has them and PostgreSQL does not know.
    assert (outbox.ready(), outbox.states()) == (ids, ["waiting"] * 3)
    (job,) = outbox.lease(limit=1)
    relay.run_once()
    assert outbox.states() == ["relayed"] * 3
    assert outbox.meta("accepted") == 3
    assert [UUID(job.job_id), *outbox.ready()] == ids


def test_a_relay_that_is_killed_after_its_job_was_done_does_not_run_it_again(
    relay: Relay, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = outbox.enqueue()

    def killed(*_arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(relay_module, "note_answers", killed)
        with pytest.raises(KilledError):
            relay.run_once()
    outbox.end()
    relay.run_once()
    assert outbox.rows() == {identity: ("relayed", None)}
    assert outbox.lease() == []


def test_relays_beside_each_other_relay_each_row_once(
    transactions: Transactions, offering: Offering, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "ROUND_ROWS", 7)
    outbox.database.query(
        "SELECT penstock.enqueue('test.plain', jsonb_build_object('n', n)) FROM generate_series(1, 300) AS n"
    )

    def relay_all() -> None:
        relay = Relay(transactions, offering, timedelta(0))
        while "waiting" in outbox.states():
            relay.run_once()

    threads = [threading.Thread(target=relay_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outbox.database.query("SELECT state, times_relayed, count(*) FROM penstock.outbox GROUP BY 1, 2") == [
        ("relayed", 1, 300)
    ]
    assert (len(set(outbox.ready())), outbox.meta("accepted")) == (300, 300)


def test_while_redis_is_away_rows_wait(
    transactions: Transactions, outbox: Outbox, namespace: str, relay: Relay
) -> None:
    identity = outbox.enqueue()
    with connect("redis://127.0.0.1:9/0", replays=0) as nowhere:
        away = Relay(
            transactions, Offering(Enqueuer(nowhere, namespace), KINDS, Keep(timedelta(1), timedelta(1))), timedelta(0)
        )
        with pytest.raises(PenstockError, match="QUEUE_UNAVAILABLE"):
            away.run_once()
    assert outbox.rows() == {identity: ("waiting", None)}
    relay.run_once()
    assert outbox.ready() == [identity]


def test_a_queue_of_a_later_release_holds_its_own_rows_alone(relay: Relay, outbox: Outbox) -> None:
    outbox.client.hset(QueueKeys(outbox.namespace, "posts").key("meta"), "layout", 99)
    post, plain = outbox.enqueue("test.post"), outbox.enqueue()
    relay.run_once()
    assert outbox.ready() == [plain]
    assert outbox.rows() == {post: ("waiting", "QUEUE_LAYOUT_NEWER"), plain: ("relayed", None)}


def test_a_row_that_names_its_queue_needs_no_known_kind(relay: Relay, outbox: Outbox) -> None:
    payload = EncodedPayload("test.odd", Queue.POSTS, 3, b'{"b":1, "a":2}', None)
    with psycopg.connect(outbox.database.url) as connection:
        identity = enqueue_in_transaction(connection, payload)
    relay.run_once()
    assert outbox.ready("posts") == [identity]
    message = outbox.client.hget(QueueKeys(outbox.namespace, "posts").job(identity), "message")
    header, body = decode_envelope(message)  # type: ignore[arg-type]
    assert (header.payload_version, body) == (3, payload.body)


def test_a_queue_that_is_none_is_told(relay: Relay, outbox: Outbox) -> None:
    identity = outbox.database.value("SELECT penstock.enqueue_bytes('test.plain', '{}'::bytea, queue => 'nowhere')")
    relay.run_once()
    assert outbox.rows() == {identity: ("waiting", "QUEUE_NOT_FOUND")}
