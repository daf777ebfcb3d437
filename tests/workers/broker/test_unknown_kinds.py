"""Jobs that no worker here can run: they wait for one that can, and not for ever."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from penstock.producers import JobState
from penstock.workers.broker.broker import LeasePolicy
from penstock.workers.broker.consumer import UnknownKinds
from tests.system import wait_for
from tests.workers.broker.conftest import ANSWER, Chore, Errand, Floor, message

#: Offered only where a worker says that it knows the kind.
RARELY = LeasePolicy(unknown_kinds=UnknownKinds(offer_every=timedelta(hours=1)))


def test_an_unknown_kind_is_parked_and_others_go_on(floor: Floor) -> None:
    unknown = [floor.put(f"u{number}", kind=Errand.kind) for number in range(3)]
    known = floor.put("k")
    floor.open(leases=RARELY)
    assert floor.ended(known).state == "done"
    for job_id in unknown:
        view = floor.wait_until(job_id, JobState.PARKED)
        assert (view.blocked_by, view.code, view.attempts) == ("kind:errand.run", "JOB_UNKNOWN_KIND", 0)
        assert "'errand.run'" in str(view.message)
    assert floor.counts() == {"accepted": 4, "done": 1, "parked": 3}


def test_parked_jobs_run_in_order_as_soon_as_a_worker_knows_their_kind(floor: Floor) -> None:
    ids = [floor.put(f"u{number}", kind=Errand.kind) for number in range(20)]
    old = floor.open(leases=RARELY)
    for job_id in ids:
        floor.wait_until(job_id, JobState.PARKED)
    # As in a deploy: the new worker comes, and the old one is still there.
    floor.open(kinds=(Chore, Errand), threads=1, leases=RARELY)
    old.stop()
    for job_id in ids:
        assert floor.ended(job_id).state == "done"
    started = [name for names in floor.actor.deliveries for name in names]
    assert started == [f"u{number}" for number in range(20)]


def test_a_later_version_of_the_payload_waits_for_a_worker_that_reads_it(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = floor.put("later", version=Chore.payload_version + 1)
    readable = floor.put("readable", version=Chore.payload_version)
    shop = floor.open(leases=RARELY)
    assert floor.ended(readable).state == "done"
    view = floor.wait_until(later, JobState.PARKED)
    assert view.blocked_by == "kind:chore.do:v3"
    assert "version 3" in str(view.message)
    shop.stop()
    monkeypatch.setattr(Chore, "payload_version", 3)
    floor.open(leases=RARELY)
    assert floor.ended(later).state == "done"


def test_a_job_that_nobody_knows_is_a_dead_letter_after_its_limit(floor: Floor) -> None:
    limit = timedelta(seconds=1)
    floor.open(leases=LeasePolicy(unknown_kinds=UnknownKinds(offer_every=timedelta(milliseconds=200), limit=limit)))
    job_id = floor.put("u", kind=Errand.kind)
    floor.wait_until(job_id, JobState.PARKED)
    view = floor.ended(job_id)
    assert (view.state, view.code, view.attempts) == ("dead", "JOB_UNKNOWN_KIND", 0)
    assert view.died_at is not None
    assert view.parked_at is not None
    assert view.died_at - view.parked_at >= limit
    assert "no worker knew the kind 'errand.run'" in str(view.message)
    assert ANSWER.encode() in floor.client.hget(floor.keys.job(job_id), "message")


@pytest.mark.parametrize(
    "rubbish",
    [
        pytest.param(b"\x00\xff\xfe" + ANSWER.encode(), id="bytes"),
        pytest.param(b"", id="nothing"),
        pytest.param(ANSWER.encode() + b"\n{}", id="no header"),
        pytest.param(message(uuid.uuid4(), b"{}", enqueued_at=ANSWER), id="a header that is wrong"),
        pytest.param(message(uuid.uuid4(), b"{}", tenant=f"{ANSWER}/.."), id="a tenant that is no name"),
        pytest.param(message(uuid.uuid4(), b"{}", v=2), id="an envelope to come"),
    ],
)
def test_what_is_no_message_is_a_dead_letter_with_its_bytes(floor: Floor, rubbish: bytes) -> None:
    job_id = uuid.uuid4()
    floor.put_raw(job_id, rubbish)
    good = floor.put("good")
    floor.open()
    view = floor.ended(job_id)
    assert (view.state, view.code, view.attempts) == ("dead", "JOB_PAYLOAD_INVALID", 0)
    assert [(entry["outcome"], entry["code"]) for entry in view.history] == [("dead", "JOB_PAYLOAD_INVALID")]
    assert floor.client.hget(floor.keys.job(job_id), "message") == rubbish
    assert ANSWER not in json.dumps(view.as_dict())
    assert floor.ended(good).state == "done"


@pytest.mark.parametrize(
    ("payload", "header", "code"),
    [
        pytest.param(ANSWER.encode(), {}, "JOB_PAYLOAD_INVALID", id="no JSON"),
        pytest.param(b"", {}, "JOB_PAYLOAD_INVALID", id="nothing"),
        pytest.param(b'{"name": ["' + ANSWER.encode() + b'"]}', {}, "JOB_PAYLOAD_INVALID", id="another shape"),
        pytest.param(b'{"name": "x"}', {"encoding": "zstd"}, "JOB_PAYLOAD_INVALID", id="no zstd frame"),
        pytest.param(b" " * 1_000_001, {}, "BATCH_TOO_LARGE", id="too large"),
    ],
)
def test_a_payload_that_can_not_be_used_is_a_dead_letter_with_its_reason(
    floor: Floor, payload: bytes, header: dict[str, Any], code: str
) -> None:
    job_id = uuid.uuid4()
    floor.put_raw(job_id, message(job_id, payload, **header))
    good = floor.put("good")
    floor.open()
    view = floor.ended(job_id)
    assert (view.state, view.code) == ("dead", code)
    assert len(view.history) == 1
    assert ANSWER not in json.dumps(view.as_dict())
    assert floor.ended(good).state == "done"


def test_a_message_whose_header_names_another_id_is_known_by_the_queues(floor: Floor) -> None:
    """The id under which a job is enqueued is the one under which it is leased and ended."""
    job_id = uuid.uuid4()
    floor.put_raw(job_id, message(uuid.uuid4(), json.dumps({"name": "x", "answer": ANSWER}).encode()))
    floor.open()
    assert floor.ended(job_id).state == "done"
    wait_for(lambda: floor.counts() == {"accepted": 1, "done": 1}, "the end")
