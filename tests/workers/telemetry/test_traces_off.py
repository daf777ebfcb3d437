"""Where nobody wants traces nothing of OpenTelemetry is touched, and where they can't be sent nobody waits."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.producers import Producer, WriteSubmissionBatch
from penstock.workers.telemetry.exporting import wants_export
from penstock.workers.telemetry.otlp import FLUSH
from tests.otlp_collector import otlp_collector
from tests.system import Database, WorkerProcess, wait_for

#: Runs before everything else in a process, keeps OpenTelemetry from it, and notes which of our files asked for it.
BLOCKER = """
import os, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "opentelemetry":
            return None
        frame = sys._getframe(1)
        while frame and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        with open(os.environ["ASKED_FOR"], "a") as file:
            print(frame.f_globals.get("__name__") if frame else "?", file=file)
        raise ImportError(name)

sys.meta_path.insert(0, Blocker())
"""
JOBS = 200


@pytest.fixture
def blocked(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which OpenTelemetry can't be imported."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    return {"PYTHONPATH": str(tmp_path), "ASKED_FOR": str(tmp_path / "asked")}


def ours(blocked: dict[str, str]) -> set[str]:
    """Which of our modules asked for OpenTelemetry."""
    asked = Path(blocked["ASKED_FOR"])
    return {name for name in (asked.read_text().split() if asked.exists() else []) if name.startswith("penstock")}


@pytest.fixture
def form(database: Database, penstock: Callable[..., object], tmp_path: Path) -> str:
    file = tmp_path / "poll.json"
    file.write_text('{"title": "A poll", "questions": [{"id": "q", "text": "What?", "type": "text"}]}')
    penstock("forms", "apply", file)
    return "poll"


def send(environment: dict[str, str], form: str, count: int, name: str) -> None:
    batches = [
        WriteSubmissionBatch.model_validate(
            {"form_id": form, "batch_id": f"{name}-{n}", "submissions": [{"answers": {"q": "x"}}]}
        )
        for n in range(count)
    ]
    with Producer.from_environment(environment) as producer:
        producer.enqueue_many(batches)


def stored(database: Database, name: str) -> int:
    statement = "SELECT count(*) FROM penstock.submission_batches WHERE batch_id LIKE %s"
    found: int = database.value(statement, f"{name}-%")
    return found


def test_nothing_of_ours_asks_for_opentelemetry(
    start_worker: Callable[..., WorkerProcess],
    environment: dict[str, str],
    blocked: dict[str, str],
    database: Database,
    form: str,
) -> None:
    worker = start_worker(**blocked).wait_until_ready()
    send(environment, form, 5, "off")
    wait_for(lambda: stored(database, "off") == 5, "five jobs")
    assert worker.stop() == 0
    assert ours(blocked) == set()


def test_without_the_extra_a_worker_says_so_and_works(
    start_worker: Callable[..., WorkerProcess],
    environment: dict[str, str],
    blocked: dict[str, str],
    database: Database,
    form: str,
) -> None:
    worker = start_worker(**blocked, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9").wait_until_ready()
    send(environment, form, 5, "missing")
    wait_for(lambda: stored(database, "missing") == 5, "five jobs")
    assert worker.stop() == 0
    assert any("penstock[otel]" in line for line in worker.lines)
    assert ours(blocked) == {"penstock.workers.telemetry.otlp"}


def test_a_collector_that_hangs_holds_up_neither_jobs_nor_the_stop(
    start_worker: Callable[..., WorkerProcess], environment: dict[str, str], database: Database, form: str
) -> None:
    with otlp_collector() as collector:
        collector.hangs = True
        # A small queue overflows, too.
        env = collector.env | {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "32"}
        worker = start_worker(**env, PENSTOCK_WORKER_THREADS="2").wait_until_ready()
        send(environment, form, JOBS, "frozen")
        wait_for(lambda: stored(database, "frozen") == JOBS, "all jobs")
        assert collector.requests >= 1, "it has asked, and has no answer"
        began = time.monotonic()
        assert worker.stop() == 0
        # A job's end and Redis take no time here; a bound of the SDK's own would be 10 or 30 seconds.
        assert time.monotonic() - began < FLUSH.total_seconds() + 20
        assert not collector.let_go.is_set()
        assert collector.spans == []
    assert any("some traces were not sent" in line for line in worker.lines)


def test_a_stop_sends_what_waits(
    start_worker: Callable[..., WorkerProcess], environment: dict[str, str], database: Database, form: str
) -> None:
    with otlp_collector() as collector:
        # Nothing is sent before the stop.
        worker = start_worker(**collector.env | {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}).wait_until_ready()
        send(environment, form, 3, "late")
        wait_for(lambda: stored(database, "late") == 3, "three jobs")
        assert worker.stop() == 0
        assert collector.names().count("process submissions") == 3


SERVICE = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from penstock.producers import Producer, WriteSubmissionBatch

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
job = {"form_id": "f", "batch_id": "service", "submissions": [{"answers": {"q": "a"}}]}
with Producer.from_environment() as producer, trace.get_tracer("shop").start_as_current_span("checkout"):
    producer.enqueue(WriteSubmissionBatch.model_validate(job))
enqueue, checkout = spans.get_finished_spans()
assert enqueue.name == "enqueue submissions", enqueue.name
assert enqueue.parent.span_id == checkout.context.span_id
assert enqueue.instrumentation_scope.name == "penstock"
"""


def test_a_service_with_opentelemetry_of_its_own_gets_the_producers_spans(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVICE], env=environment, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318"}, False),
    ],
    ids=str,
)
def test_opentelemetrys_own_settings_decide(told: dict[str, str], expected: bool) -> None:
    assert wants_export(told) is expected


def test_another_protocol_is_said_and_keeps_nobody_from_working(environment: dict[str, str]) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    code = """
import os
from penstock.workers.telemetry.exporting import exporting_traces
with exporting_traces(os.environ, "x"):
    print("works")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | env, capture_output=True, check=True, timeout=60
    )
    assert (done.stdout.strip(), b"http/protobuf" in done.stderr) == (b"works", True)
