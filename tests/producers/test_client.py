"""The producer against a real Redis: what it puts there, what it is told, and what it says when Redis is away."""

import secrets
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest

from penstock.producers import Code, Producer, SubmitOptions
from penstock.producers.queue.bases import NOTE_WINDOW
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobState
from penstock.schemas.errors import ConflictError, InvalidInputError, PenstockError, UnavailableError
from penstock.schemas.identity import job_id
from penstock.schemas.limits import Limits
from penstock.workers.embedded.valkey import EmbeddedValkey
from tests.producers.looks import KIND, batch, envelope, waiting
from tests.system import wait_for


def test_a_job_is_in_redis_when_the_call_returns(producer: Producer, client: Any, prefix: str) -> None:
    told = producer.enqueue(batch("b"))
    assert (told.kind, told.queue, told.durability) == (KIND, "submissions", "redis")
    assert (told.known, told.state) == (False, JobState.READY)
    assert told.job_id == job_id("acme", KIND, "b")
    assert waiting(client, prefix) == [str(told.job_id)]
    header, payload = envelope(client, prefix, told.job_id)
    assert (header["tenant"], header["enqueued_at"]) == ("acme", "2026-11-21T09:00:00Z")
    assert header["idempotency_key"] == "b"
    assert payload == {
        "form_id": "f",
        "batch_id": "b",
        "first_position": 0,
        "submissions": [{"answers": {"q": "hello"}}],
    }


def test_its_record_says_ready_by_rediss_clock(producer: Producer) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    told = producer.enqueue(batch("b"))
    record = producer.job(told.job_id)
    assert record is not None
    assert (record.state, record.kind, record.tenant, record.queue) == (JobState.READY, KIND, "acme", "submissions")
    assert (record.code, record.message) == (None, None)
    assert began < record.changed_at < datetime.now(UTC) + timedelta(seconds=1)


def test_a_job_that_waits_is_known_without_end(producer: Producer, client: Any, prefix: str) -> None:
    for told in (producer.enqueue(batch("b")), producer.enqueue(batch("c"), delay=timedelta(days=400))):
        assert client.pttl(QueueKeys(prefix, "submissions").job(told.job_id)) == -1


def test_many_jobs_keep_their_order(producer: Producer, client: Any, prefix: str) -> None:
    told = producer.enqueue_many(batch(f"b-{number}") for number in range(20))
    assert [one.job_id for one in told] == [job_id("acme", KIND, f"b-{number}") for number in range(20)]
    assert waiting(client, prefix) == [str(one.job_id) for one in told]


def due_of(client: Any, prefix: str, identity: uuid.UUID) -> datetime:
    ms = client.zscore(QueueKeys(prefix, "submissions").key("scheduled"), str(identity))
    return datetime.fromtimestamp(ms / 1000, UTC)


@pytest.mark.parametrize(
    ("when", "state"),
    [
        (timedelta(hours=1), JobState.SCHEDULED),
        (timedelta(days=365), JobState.SCHEDULED),
        (timedelta(0), JobState.READY),
        (-timedelta(days=1), JobState.READY),
    ],
    ids=["ahead", "far ahead", "now", "passed"],
)
def test_a_job_for_later_waits_and_one_whose_time_has_come_does_not(
    producer: Producer, client: Any, prefix: str, when: timedelta, state: JobState
) -> None:
    instant = datetime.now(UTC).astimezone(timezone(timedelta(hours=5, minutes=30))) + when
    told = producer.enqueue_at(batch("later"), instant)
    assert told.state is state
    record = producer.job(told.job_id)
    assert record is not None
    assert record.state is state
    if state is JobState.SCHEDULED:
        assert abs(due_of(client, prefix, told.job_id) - instant) < timedelta(milliseconds=2)
        assert waiting(client, prefix) == []
    else:
        assert waiting(client, prefix) == [str(told.job_id)]


def test_a_delay_counts_from_when_redis_has_the_job(producer: Producer, client: Any, prefix: str) -> None:
    told = producer.enqueue(batch("later"), delay=timedelta(hours=2))
    assert told.state is JobState.SCHEDULED
    # The producer's clock, which stands, has no part in it.
    ahead = due_of(client, prefix, told.job_id) - datetime.now(UTC)
    assert timedelta(hours=2) - timedelta(minutes=1) < ahead <= timedelta(hours=2, seconds=1)


def test_jobs_can_be_spread_over_a_time(producer: Producer, client: Any, prefix: str) -> None:
    told = producer.enqueue_many((batch(f"b-{number}") for number in range(4)), spread=timedelta(hours=4))
    assert [one.state for one in told] == [JobState.READY] + [JobState.SCHEDULED] * 3
    first, second, third = (due_of(client, prefix, one.job_id) for one in told[1:])
    assert second - first == third - second == timedelta(hours=1)


def test_an_instant_without_a_time_zone_is_refused(producer: Producer, client: Any, prefix: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        producer.enqueue_at(batch("naive"), datetime(2026, 11, 22, 9, 0))  # noqa: DTZ001 - the point of the test
    assert caught.value.code is Code.REQUEST_USAGE
    assert list(client.scan_iter(f"{prefix}*")) == []


def test_what_is_over_a_limit_is_never_sent(redis_url: str, client: Any, prefix: str) -> None:
    with (
        Producer(redis_url, namespace=prefix, limits=Limits(row_bytes=50)) as small,
        pytest.raises(InvalidInputError) as caught,
    ):
        small.enqueue(batch("large", "x" * 100))
    assert caught.value.code is Code.SUBMISSION_TOO_LARGE
    assert list(client.scan_iter(f"{prefix}*")) == []


def test_several_records_are_read_at_once(producer: Producer) -> None:
    known = [producer.enqueue(batch(f"b-{number}")).job_id for number in range(3)]
    unknown = uuid.uuid4()
    assert set(producer.jobs([*known, unknown])) == set(known)
    assert producer.jobs([]) == {}
    assert producer.job(unknown) is None


def test_a_file_is_cut_one_way(producer: Producer, client: Any, prefix: str) -> None:
    producer.claim_base("file", "f", 100)
    producer.claim_base("file", "f", 100)
    for form_id, size in (("g", 100), ("f", 50)):
        with pytest.raises(ConflictError) as caught:
            producer.claim_base("file", form_id, size)
        assert caught.value.code is Code.BATCH_CONFLICT
    left = timedelta(milliseconds=client.pttl(f"{prefix}:base:acme/file"))
    assert NOTE_WINDOW - timedelta(minutes=1) < left <= NOTE_WINDOW


def test_another_tenants_file_may_be_cut_otherwise(producer: Producer, redis_url: str, prefix: str) -> None:
    producer.claim_base("file", "f", 100)
    with Producer(redis_url, tenant="globex", namespace=prefix) as other:
        other.claim_base("file", "g", 7)


def test_a_conflicting_submit_sends_nothing(producer: Producer, client: Any, prefix: str) -> None:
    rows = [{"answers": {"q": "a"}}] * 3
    producer.submit("f", rows, batch_id="file")
    before = waiting(client, prefix)
    with pytest.raises(ConflictError):
        producer.submit("g", rows, batch_id="file")
    assert waiting(client, prefix) == before


def test_closing_leaves_no_connection_open(redis_url: str, client: Any, prefix: str) -> None:
    name = f"closing-{secrets.token_hex(4)}"

    def connected() -> int:
        return sum(one["name"] == name for one in client.client_list())

    joint = "&" if urlsplit(redis_url).query else "?"
    with Producer(f"{redis_url}{joint}client_name={name}", namespace=prefix) as producer:
        producer.submit("f", [{"answers": {"q": "a"}}] * 4, batch_id="x")
        assert connected() >= 1
    wait_for(lambda: connected() == 0, "the connections to be closed")


@pytest.fixture
def nobody() -> str:
    """The URL of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        return f"redis://:hunter2@127.0.0.1:{closed_soon.getsockname()[1]}/0"


@pytest.mark.parametrize("call", ["enqueue", "enqueue_many", "submit", "job", "claim_base", "ping"])
def test_redis_that_is_away_is_told_soon(nobody: str, call: str) -> None:
    calls: dict[str, Any] = {
        "enqueue": lambda it: it.enqueue(batch("b")),
        "enqueue_many": lambda it: it.enqueue_many([batch("b")]),
        "submit": lambda it: it.submit("f", [{"answers": {}}], batch_id="b"),
        "job": lambda it: it.job(uuid.uuid4()),
        "claim_base": lambda it: it.claim_base("b", "f", 1),
        "ping": lambda it: it.ping(),
    }
    began = time.monotonic()
    with Producer(nobody) as producer, pytest.raises(UnavailableError) as caught:
        calls[call](producer)
    assert caught.value.code is Code.QUEUE_UNAVAILABLE
    assert time.monotonic() - began < 15
    assert "hunter2" not in str(caught.value.as_dict())


def test_redis_that_is_full_refuses_and_the_same_call_works_later(own_valkey: EmbeddedValkey, own_redis: Any) -> None:
    with Producer(own_valkey.url) as producer:
        producer.enqueue(batch("before"))
        own_redis.config_set("maxmemory", 1)
        with pytest.raises(PenstockError) as caught:
            producer.enqueue(batch("full", "my-private-answer"))
        assert caught.value.code is Code.QUEUE_OUT_OF_MEMORY
        assert caught.value.message == "Redis is out of memory while enqueueing"
        assert "my-private-answer" not in str(caught.value.as_dict())
        assert waiting(own_redis, "penstock", "default") == [str(job_id("default", KIND, "before"))]
        own_redis.config_set("maxmemory", 0)
        producer.enqueue(batch("full"))
        assert len(waiting(own_redis, "penstock", "default")) == 2


def test_a_submit_that_fills_redis_up_says_how_far_it_came(own_valkey: EmbeddedValkey, own_redis: Any) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for number in range(30):
            if number == 20:
                own_redis.config_set("maxmemory", 1)
            yield {"answers": {"q": f"a{number}"}}

    with Producer(own_valkey.url) as producer, pytest.raises(PenstockError) as caught:
        producer.submit("f", rows(), batch_id="b", options=SubmitOptions(on_full="raise"))
    assert caught.value.code is Code.QUEUE_OUT_OF_MEMORY
    assert caught.value.details["batches_sent"] == len(waiting(own_redis, "penstock", "default")) == 0


def test_a_wrong_password_is_refused_and_not_told(own_valkey: EmbeddedValkey) -> None:
    url = urlsplit(own_valkey.url)._replace(netloc=f":hunter2@127.0.0.1:{own_valkey.port}").geturl()
    with Producer(url) as producer, pytest.raises(PenstockError) as caught:
        producer.enqueue(batch("b"))
    assert caught.value.code is Code.QUEUE_REFUSED
    assert "hunter2" not in str(caught.value.as_dict())


def test_a_url_that_is_none_is_told() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Producer("gopher://:hunter2@localhost")
    assert caught.value.code is Code.CONFIG_INVALID
    assert "hunter2" not in str(caught.value.as_dict())
