"""The trace and the request of a job: from the producer to the message, whatever becomes of a wrong one."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from penstock.producers import AsyncProducer, InvalidInputError, Producer, SubmitOptions, WriteSubmissionBatch, traced
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.tracing import current_cause
from penstock.schemas.envelope import decode_envelope
from penstock.schemas.trace import parse_trace, span_id_of, trace_id_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"


@pytest.fixture
def producer(redis_url: str, namespace: str) -> Iterator[Producer]:
    with Producer(redis_url, namespace=namespace) as made:
        yield made


def batch(name: str) -> WriteSubmissionBatch:
    return WriteSubmissionBatch.model_validate(
        {"form_id": "f", "batch_id": name, "submissions": [{"answers": {"q": "a"}}]}
    )


def header_of(redis_url: str, namespace: str, job_id: Any) -> Any:
    with redis.Redis.from_url(redis_url) as client:
        message = client.hget(QueueKeys(namespace, "submissions").key(f"job:{job_id}"), "message")
    assert isinstance(message, bytes)
    return decode_envelope(message)[0]


def test_a_job_bears_the_trace_that_it_was_given(producer: Producer, redis_url: str, namespace: str) -> None:
    plain = header_of(redis_url, namespace, producer.enqueue(batch("plain")).job_id)
    assert (plain.trace, plain.request_id) == (None, None)
    given = header_of(redis_url, namespace, producer.enqueue(batch("given"), trace=TRACE).job_id)
    assert given.trace == TRACE
    with traced(TRACE, "req-1"):
        bound = header_of(redis_url, namespace, producer.enqueue(batch("bound")).job_id)
        over = header_of(redis_url, namespace, producer.enqueue(batch("over"), trace=OTHER).job_id)
        many = producer.enqueue_many([batch("many-1"), batch("many-2")])
    assert (bound.trace, bound.request_id, over.trace, over.request_id) == (TRACE, "req-1", OTHER, "req-1")
    assert {header_of(redis_url, namespace, one.job_id).trace for one in many} == {TRACE}
    assert current_cause().trace is None


def test_batches_that_threads_send_belong_to_whoever_submits(
    producer: Producer, redis_url: str, namespace: str
) -> None:
    with traced(TRACE):
        producer.submit("f", [{"answers": {"q": n}} for n in range(3)], batch_id="s", options=SubmitOptions(1))
    with redis.Redis.from_url(redis_url) as client:
        keys = [key.decode() for key in client.scan_iter(match=f"*{namespace}*job:*")]
        headers = [json.loads(client.hget(key, "message").split(b"\n")[0]) for key in keys]  # type: ignore[union-attr]
    assert [header.get("trace") for header in headers].count(TRACE) >= 3


def test_an_asynchronous_producer_takes_its_tasks_trace(producer: Producer, redis_url: str, namespace: str) -> None:
    async def enqueue() -> Any:
        with traced(TRACE):
            return await AsyncProducer(producer).enqueue(batch("async"))

    assert header_of(redis_url, namespace, asyncio.run(enqueue()).job_id).trace == TRACE


def test_a_span_of_opentelemetry_is_the_trace_where_none_is_given() -> None:
    api = pytest.importorskip("opentelemetry.trace")
    flags = api.TraceFlags(1)
    context = api.SpanContext(int("ab" * 16, 16), int("cd" * 8, 16), is_remote=False, trace_flags=flags)
    with api.use_span(api.NonRecordingSpan(context)):
        assert current_cause().trace == f"00-{'ab' * 16}-{'cd' * 8}-01"
        with traced(TRACE):
            assert current_cause().trace == TRACE
    assert current_cause().trace is None


WRONG = ["", "x", TRACE.upper(), f"ff{TRACE[2:]}", f"{TRACE}-more", f"00-{'0' * 32}-{TRACE[36:]}", f"{TRACE}\n"]


@pytest.mark.parametrize("text", WRONG, ids=repr)
def test_what_is_no_trace_is_refused_from_a_caller_and_left_out_of_a_message(producer: Producer, text: str) -> None:
    with pytest.raises(InvalidInputError):
        producer.enqueue(batch("wrong"), trace=text)
    # A job must not die of it.
    header = {"id": "0193f2a0-0000-7000-8000-000000000000", "kind": "k", "queue": "q"}
    header |= {"enqueued_at": "2026-01-01T00:00:00Z", "trace": text, "request_id": f"{text} x"}
    found, _ = decode_envelope(json.dumps(header).encode() + b"\n")
    assert (found.trace, found.request_id) == (None, None)


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse_trace(f"01{TRACE[2:]}-more") == f"01{TRACE[2:]}"
    assert (trace_id_of(TRACE), span_id_of(TRACE)) == (TRACE[3:35], TRACE[36:52])
    assert trace_id_of(None) is None
