"""A job that no replica has is not told to be enqueued, however often and over whichever connection it is sent."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.producers.client import Producer, Replicas
from penstock.producers.queue.connection import connect
from penstock.producers.queue.counts import QueueCounts
from penstock.producers.queue.inspection import QueueInspector
from penstock.schemas.errors import Code, UnavailableError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from tests.recovery.servers import OwnValkey

ONE_REPLICA = Replicas(1, timedelta(milliseconds=300))


@pytest.fixture(scope="module")
def master() -> Iterator[OwnValkey]:
    with OwnValkey(appendfsync="no") as server:
        yield server


@pytest.fixture(scope="module")
def replica(master: OwnValkey) -> Iterator[OwnValkey]:
    with OwnValkey(appendfsync="no", replica_of=master) as server:
        yield server


@pytest.fixture
def stalled(replica: OwnValkey) -> Iterator[OwnValkey]:
    """The only replica, frozen: its connection stays open, and nothing is confirmed."""
    replica.freeze()
    yield replica
    replica.thaw()


def job(name: str) -> EncodedPayload:
    return EncodedPayload("test.kind", Queue.POSTS, 1, b"{}", idempotency_key=name)


def send(server: OwnValkey, name: str, replicas: Replicas = ONE_REPLICA) -> bool:
    """Send a job over a connection of its own; whether it was known."""
    with Producer(server.url, namespace=name, replicas=replicas) as producer:
        return producer.enqueue(job(name)).known


def counts(server: OwnValkey, name: str) -> QueueCounts:
    with connect(server.url) as client:
        return QueueInspector(client, name).counts(Queue.POSTS)


def test_a_replica_confirms(master: OwnValkey, replica: OwnValkey) -> None:
    assert not send(master, "confirmed")
    assert counts(replica, "confirmed").ready == 1
    assert send(master, "confirmed")


def test_neither_the_first_answer_nor_a_retry_says_more_than_is_true(master: OwnValkey, stalled: OwnValkey) -> None:
    for _attempt in ("first", "retry"):
        with pytest.raises(UnavailableError) as caught:
            send(master, "stalled")
        assert caught.value.code is Code.QUEUE_NOT_CONFIRMED
    stalled.thaw()
    assert send(master, "stalled")
    assert (counts(master, "stalled").ready, counts(master, "stalled").accepted) == (1, 1)
    assert counts(stalled, "stalled").ready == 1


def test_a_wait_that_follows_no_write_confirms_nothing(master: OwnValkey, stalled: OwnValkey) -> None:
    """The control: WAIT on a fresh connection counts the replica that has nothing, which is why a retry writes."""
    with pytest.raises(UnavailableError):
        send(master, "control")
    with connect(master.url) as client:
        assert client.wait(1, 300) == 1
    with pytest.raises(UnavailableError):
        send(master, "control")


def test_without_replicas_nothing_is_waited_for(master: OwnValkey, stalled: OwnValkey) -> None:
    assert not send(master, "unasked", Replicas())


def test_more_replicas_than_there_are(master: OwnValkey, replica: OwnValkey) -> None:
    with pytest.raises(UnavailableError, match="1 of 2") as caught:
        send(master, "too-many", Replicas(2, timedelta(milliseconds=300)))
    assert caught.value.code is Code.QUEUE_NOT_CONFIRMED
