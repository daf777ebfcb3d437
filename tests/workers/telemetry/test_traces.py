"""One trace from a request, or a command, through Redis and the worker to the SQL: of real processes, decoded."""

import json
from pathlib import Path

import pytest

from tests.otlp_collector import Collector, Seen, tree
from tests.producers.gateway.gateway_kit import FORM_ID, Gateway
from tests.system import Database, Penstock, WorkerProcess, wait_for
from tests.workers.telemetry.traces_kit import (
    CALLER,
    COPY,
    SECRET,
    TRACE_ID,
    TRACEPARENT,
    UNSAMPLED,
    child_of,
    of_job,
    texts_of,
)

PAGE = Path(__file__).parents[3] / "docs" / "tracing.md"
ROUTE = "POST /v1/forms/{form_id}/submissions"


@pytest.fixture(scope="module")
def trace(traced_gateway: Gateway, traced_worker: WorkerProcess, collector: Collector) -> list[Seen]:
    """What one request with two rows makes, once all of it has come."""
    # The form is read for the first job that needs it.
    assert traced_gateway.submit("x", key="before").status_code == 202
    collector.wait_for(COPY)
    answer = traced_gateway.submit(SECRET, SECRET, key="one", headers={"traceparent": TRACEPARENT})
    assert answer.status_code == 202, answer.text
    return collector.whole(TRACE_ID, COPY, "COMMIT", "process submissions", ROUTE, outside=CALLER)


def test_a_request_is_one_trace_down_to_the_copy(trace: list[Seen]) -> None:
    (request,) = [span for span in trace if span.parent == CALLER]
    assert (request.name, request.kind, request.service) == (ROUTE, "server", "penstock-gateway")
    enqueue = child_of(trace, request, "enqueue submissions")
    process = child_of(trace, enqueue, "process submissions")
    transaction = child_of(trace, process, "transaction")
    assert (enqueue.kind, process.kind, transaction.kind) == ("producer", "consumer", "internal")
    for name in ("INSERT submission_batches", COPY, "COMMIT"):
        assert child_of(trace, transaction, name).kind == "client"
    assert {span.service for span in trace} == {"penstock-gateway", "penstock-worker"}
    assert not any(span.is_error for span in trace)


def test_spans_speak_by_the_convention(trace: list[Seen]) -> None:
    told = {span.name: span.attributes for span in trace}
    assert told[ROUTE] == {
        "http.request.method": "POST",
        "http.route": "/v1/forms/{form_id}/submissions",
        "http.response.status_code": 202,
        "url.scheme": "http",
    }
    messaging = {"messaging.system": "penstock", "messaging.destination.name": "submissions"}
    assert told["enqueue submissions"].items() >= {
        **messaging,
        "messaging.operation.type": "send",
        "messaging.operation.name": "enqueue",
        "messaging.batch.message_count": 1,
    }.items()  # fmt: skip
    assert told["process submissions"].items() >= {
        **messaging,
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "penstock.job.kind": "submission_batch.write",
        "penstock.job.attempt": 1,
        "penstock.job.outcome": "done",
        "penstock.tenant": "default",
    }.items()  # fmt: skip
    assert told[COPY] == {
        "db.system.name": "postgresql",
        "db.operation.name": "COPY",
        "db.collection.name": "submissions",
        "db.query.summary": "COPY submissions",
    }


def test_nothing_that_people_wrote_is_in_a_span(trace: list[Seen]) -> None:
    assert len(trace) >= 6
    told = texts_of(trace)
    assert SECRET not in told
    assert FORM_ID not in told


def test_the_page_shows_this_trace(trace: list[Seen]) -> None:
    shown = PAGE.read_text().split("```text\n")[1].split("```")[0]
    assert tree(trace) == shown.rstrip("\n"), tree(trace)


def test_who_says_that_a_trace_is_not_sampled_is_heard_by_all(
    traced_gateway: Gateway, traced_worker: WorkerProcess, collector: Collector, database: Database
) -> None:
    before = database.value("SELECT count(*) FROM penstock.submission_batches")
    answer = traced_gateway.submit("unseen", key="unsampled", headers={"traceparent": UNSAMPLED})
    assert answer.status_code == 202
    wait_for(lambda: database.value("SELECT count(*) FROM penstock.submission_batches") > before, "the batch")
    # What is sampled and was sent later has come: so would this have.
    assert traced_gateway.submit("seen", key="sampled").status_code == 202
    collector.wait_for(COPY, 3)
    assert collector.trace(UNSAMPLED[3:35]) == []


def test_a_request_without_a_trace_begins_one(
    traced_gateway: Gateway, traced_worker: WorkerProcess, collector: Collector
) -> None:
    (job_id,) = [one["job_id"] for one in traced_gateway.submit("x", key="untraced").json()["batches"]]
    (found,) = of_job(collector, "process submissions", job_id)
    (root,) = [span for span in collector.whole(found.trace_id, ROUTE) if not span.parent]
    assert root.name == ROUTE


def test_a_refusal_is_told_and_no_failure(traced_gateway: Gateway, collector: Collector) -> None:
    trace_id = "6bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-{CALLER}-01"}
    assert traced_gateway.ask("GET", "/v1/forms/nowhere", headers=headers).status_code == 404
    wait_for(lambda: bool(collector.trace(trace_id)), "the span of a refused request")
    (span,) = collector.trace(trace_id)
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (404, "FORM_NOT_FOUND")
    assert not span.is_error


def test_a_file_that_is_submitted_is_one_trace(
    penstock: Penstock,
    traced: dict[str, str],
    traced_worker: WorkerProcess,
    traced_gateway: Gateway,
    collector: Collector,
    tmp_path: Path,
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"answers": {"q": f"{SECRET} {n}"}}) + "\n" for n in range(6)))
    run = penstock("submit", FORM_ID, file, "--batch-id", "cut", "--batch-size", "2", "--wait", env=traced)
    assert run.code == 0, run.err
    (root,) = collector.wait_for("penstock submit")
    assert (root.parent, root.service) == ("", "penstock-submit")
    wait_for(lambda: counted(collector, root, COPY) == 3, "three batches' rows in the trace")
    for name in ("enqueue submissions", "process submissions"):
        wait_for(lambda name=name: counted(collector, root, name) == 3, f"three spans {name!r}")
    spans = collector.trace(root.trace_id)
    assert [span.parent for span in spans if span.name == "enqueue submissions"] == [root.span_id] * 3
    assert SECRET not in texts_of(spans)


def counted(collector: Collector, root: Seen, name: str) -> int:
    return sum(span.name == name for span in collector.trace(root.trace_id))
