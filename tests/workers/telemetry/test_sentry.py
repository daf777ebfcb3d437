"""What Sentry hears: one event for each job that died, by its cause, and nothing that people wrote."""

import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
import sentry_sdk

from penstock.producers.queue.connection import connect
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.dead_letters.deaths import letter_of
from penstock.workers.dead_letters.fingerprint import group_of
from penstock.workers.dead_letters.telling import tell_of, with_event
from penstock.workers.dead_letters.unarchived import Death as QueueDeath
from penstock.workers.telemetry.scrubbing import scrub
from penstock.workers.telemetry.sentry import FLUSH, Death, event_of, new_event_id, tell_death, telling_sentry
from tests.sentry_server import SentryServer, sentry_server, wait_for_events
from tests.system import WorkerProcess, wait_for
from tests.workers.telemetry.failing_kit import FAILING, QUEUE, TRACE, WAYS, enqueue_failing

SECRET = "swordfish"
FAILURES = int(os.environ.get("PENSTOCK_TEST_FAILURES", "70"))
ENTRY = {
    "attempt": 3,
    "outcome": "dead",
    "worker": "b00t",
    "host": "h",
    "pid": 1,
    "release": "1.2.3",
    "error": "builtins.ValueError",
    "traceback": ["/lib/python3.11/json/x.py:3 in loads", "/app/penstock/workers/actors/a.py:7 in run"],
    "own": [1],
    "sentry": "a" * 32,
}


@pytest.fixture
def sentry() -> Iterator[SentryServer]:
    with sentry_server() as server:
        yield server


def a_death(**changes: Any) -> Death:
    facts: dict[str, Any] = {
        "job_id": "j-1",
        "kind": "k",
        "queue": QUEUE,
        "tenant": "acme",
        "attempts": 3,
        "code": "INTERNAL_ERROR",
        "told": "the actor raised ValueError",
        "entry": json.dumps(ENTRY),
        "trace": TRACE,
    }
    return Death(**facts | changes)


def test_an_event_has_ids_a_cause_and_our_stack() -> None:
    event: Any = event_of(a_death())
    assert event["event_id"] == "a" * 32
    group, _ = group_of("k", "INTERNAL_ERROR", "builtins.ValueError", "the actor raised ValueError", [ENTRY])
    assert event["fingerprint"] == [group]
    assert event["tags"] == {
        "kind": "k",
        "queue": QUEUE,
        "tenant": "acme",
        "code": "INTERNAL_ERROR",
        "worker": "b00t",
        "group": group,
    }
    assert event["contexts"]["job"] == {"type": "job", "id": "j-1", "attempt": 3}
    assert event["contexts"]["trace"] == {"trace_id": TRACE[3:35], "span_id": TRACE[36:52]}
    (told,) = event["exception"]["values"]
    assert (told["type"], told["module"]) == ("ValueError", "builtins")
    frames = [(frame["function"], frame["lineno"], frame["in_app"]) for frame in told["stacktrace"]["frames"]]
    assert frames == [("loads", 3, False), ("run", 7, True)]
    plain: Any = event_of(a_death(entry="", trace=None))
    assert plain["message"] == "INTERNAL_ERROR: the actor raised ValueError"
    assert "trace" not in plain["contexts"]


def test_the_last_guard_lets_nothing_through_that_it_does_not_know() -> None:
    frame = {"function": "f", "lineno": 1, "vars": {"x": SECRET}, "context_line": SECRET, "pre_context": [SECRET]}
    event: Any = {
        "event_id": "e" * 32,
        "message": SECRET,
        "logentry": {"message": SECRET},
        "request": {"data": SECRET, "headers": {"authorization": SECRET}},
        "user": {"email": SECRET},
        "extra": {"x": SECRET},
        "modules": {SECRET: "1"},
        "tags": {"kind": "k", "unknown": SECRET},
        "contexts": {"job": {"id": "j", "payload": SECRET}, "unknown": {"x": SECRET}},
        "exception": {"values": [{"type": "E", "value": SECRET, "stacktrace": {"frames": [frame]}}]},
        "breadcrumbs": {
            "values": [
                {"category": "query", "message": SECRET, "data": {"x": SECRET}},
                {"category": "circuit", "message": "the circuit mastodon is open", "data": {"x": SECRET}},
            ]
        },
        "threads": {"values": [{"stacktrace": {"frames": [frame]}}]},
    }
    told: Any = scrub(event, is_ours=False)
    assert SECRET not in json.dumps(told)
    assert told["tags"] == {"kind": "k"}
    assert told["contexts"] == {"job": {"id": "j"}}
    assert told["exception"]["values"][0]["stacktrace"]["frames"] == [{"function": "f", "lineno": 1}]
    assert told["breadcrumbs"]["values"][1]["message"] == "the circuit mastodon is open"
    ours: Any = scrub(event | {"message": "ours"}, is_ours=True)
    assert ours["message"] == "ours"


def test_a_death_that_no_worker_told_is_told_by_the_archive_under_the_letters_own_id(sentry: SentryServer) -> None:
    history = [{"outcome": "retried", **{name: ENTRY[name] for name in ("error", "traceback", "own")}}, {"at": "x"}]
    fields = {"kind": b"k", "tenant": b"t", "code": b"JOB_POISON", "told": b"it died 3 time(s)"}
    fields["history"] = json.dumps(history).encode()
    letter = letter_of(QueueDeath(QUEUE, str(uuid.uuid4()).encode(), b"1700000000000", b"no envelope", fields))
    assert with_event(letter) is letter
    with telling_sentry(sentry.dsn, "test", "scheduler"):
        named = with_event(letter)
        assert named.sentry == letter.dead_id.hex
        tell_of(named, b"no envelope")
        # A worker has told this one.
        known = replace(letter, sentry="a" * 32)
        assert with_event(known) is known
        tell_of(known, b"no envelope")
    (event,) = sentry.events
    assert event["event_id"] == named.sentry
    group, _ = group_of(letter.kind, letter.code, letter.error, letter.message, letter.history)
    assert event["fingerprint"] == [group]


def test_without_a_dsn_nobody_is_told() -> None:
    with telling_sentry(None, "test", "worker"):
        assert new_event_id() is None
        tell_death(a_death())
        assert not sentry_sdk.get_client().is_active()


def test_a_dsn_that_is_none_is_named_without_its_value() -> None:
    with pytest.raises(PenstockError) as failed, telling_sentry(f"not-a-dsn-{SECRET}", "test", "worker"):
        pass
    assert failed.value.code is Code.CONFIG_INVALID
    assert SECRET not in failed.value.message
    assert failed.value.__cause__ is None


def test_what_others_capture_goes_without_its_text(sentry: SentryServer) -> None:
    with telling_sentry(sentry.dsn, "test", "worker"):
        try:
            int(SECRET)
        except ValueError:
            sentry_sdk.capture_exception()
    (event,) = wait_for_events(sentry, 1)
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert SECRET not in json.dumps(event)


@pytest.mark.parametrize(("status", "retry_after"), [(429, 60), (500, 0)])
def test_a_sentry_that_refuses_disturbs_nobody(sentry: SentryServer, status: int, retry_after: int) -> None:
    sentry.status, sentry.retry_after = status, retry_after
    began = time.monotonic()
    with telling_sentry(sentry.dsn, "test", "worker"):
        for _ in range(20):
            tell_death(a_death())
    assert time.monotonic() - began < FLUSH.total_seconds() + 20
    assert sentry.requests >= 1
    assert not sentry.events
    if status == 429:
        assert sentry.requests < 20  # it was told to wait


def test_a_sentry_that_hangs_holds_a_stop_no_longer_than_its_time(sentry: SentryServer) -> None:
    sentry.hangs = True
    began = time.monotonic()
    with telling_sentry(sentry.dsn, "test", "worker"):
        for _ in range(5_000):
            tell_death(a_death())
        assert sentry.requests <= 1, "nobody waits for an answer, which is in vain"
        assert time.monotonic() - began < 30
    assert time.monotonic() - began < 30 + FLUSH.total_seconds()


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with connect(redis_url) as found:
        yield found


@pytest.fixture
def worker(start_worker: Callable[..., WorkerProcess], sentry: SentryServer) -> Iterator[WorkerProcess]:
    started = start_worker(**FAILING, SENTRY_DSN=sentry.dsn, PENSTOCK_ENVIRONMENT="test").wait_until_ready()
    yield started
    if started.process.poll() is None:
        assert started.stop() == 0


def test_each_death_is_one_event_and_retries_are_none(
    worker: WorkerProcess, sentry: SentryServer, client: "redis.Redis", namespace: str
) -> None:
    ids = enqueue_failing(client, namespace, [n % WAYS for n in range(FAILURES)], secret=SECRET, trace=TRACE)
    events = wait_for_events(sentry, FAILURES)
    assert worker.stop() == 0
    events = sentry.events
    told = Counter(event["contexts"]["job"]["id"] for event in events)
    assert told == Counter(str(one) for one in ids)
    assert len({event["fingerprint"][0] for event in events}) == WAYS
    assert {event["environment"] for event in events} == {"test"}
    assert {event["contexts"]["trace"]["trace_id"] for event in events} == {TRACE[3:35]}
    assert {event["tags"]["process"] for event in events} == {"worker"}
    everything = json.dumps(sentry.items)
    assert SECRET not in everything
    assert '"vars"' not in everything
    lines = [json.loads(line) for line in worker.lines if line.startswith("{")]
    of_jobs = [line for line in lines if line.get("job_id") in told]
    assert len(of_jobs) >= FAILURES
    assert {(line["trace_id"], line["queue"], line["tenant"]) for line in of_jobs} == {(TRACE[3:35], QUEUE, "acme")}
    # The record of each death names its event, and the group of the letter is the event's.
    keys = QueueKeys(namespace, QUEUE)
    by_id = {event["contexts"]["job"]["id"]: event for event in events}
    for one in ids:
        kind, code, message, history = client.hmget(keys.key(f"job:{one}"), "kind", "code", "told", "history")
        entries = json.loads(history)
        assert entries[-1]["sentry"] == by_id[str(one)]["event_id"]
        assert not any("sentry" in entry for entry in entries[:-1])
        group, _ = group_of(kind.decode(), code.decode(), entries[-1].get("error"), message.decode(), entries)
        assert by_id[str(one)]["fingerprint"] == [group]


def test_jobs_run_at_full_speed_while_sentry_hangs(
    worker: WorkerProcess, sentry: SentryServer, client: "redis.Redis", namespace: str
) -> None:
    sentry.hangs = True
    inspector = QueueInspector(client, namespace)
    before = inspector.counts(QUEUE).dead
    began = time.monotonic()
    enqueue_failing(client, namespace, [-1] * 300)
    wait_for(lambda: inspector.counts(QUEUE).dead == before + 300, "all jobs dead")
    print(f"300 jobs died in {time.monotonic() - began:.2f} s while Sentry hung")
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < FLUSH.total_seconds() + 20
