"""Metrics of many processes: none is counted twice, none is lost, and counters never go back."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from penstock.workers.telemetry.exemplars import exemplar_of
from penstock.workers.telemetry.exposition import process_families, render
from penstock.workers.telemetry.exposition_reading import read_processes
from penstock.workers.telemetry.snapshots import Publisher
from penstock.workers.telemetry.snapshots_folder import MetricsFolder

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#: A process that counts 3 and lives until it is killed.
PROGRAM = """
import sys, threading
from pathlib import Path
from penstock.workers.telemetry.metrics import JOBS_FINISHED
from penstock.workers.telemetry.snapshots import published_metrics
with published_metrics(Path(sys.argv[1]), "worker") as publisher:
    JOBS_FINISHED.labels("posts", "a.b", "done").inc(3)
    publisher.publish()
    print("published", flush=True)
    threading.Event().wait()
"""


class Process:
    """A registry of its own, published as a process's."""

    def __init__(self, folder: Path, kind: str = "worker") -> None:
        registry = CollectorRegistry()
        self.jobs = Counter("penstock_jobs_finished_total", "jobs", ["kind"], registry=registry)
        self.wait = Histogram("penstock_job_wait_seconds", "wait", buckets=(1, 10), registry=registry)
        self.size = Gauge("penstock_cache_entries", "size", registry=registry)
        self.away = Gauge("penstock_dependency_away", "away", registry=registry)
        self.depth = Gauge("penstock_queue_depth", "depth", ["queue"], registry=registry)
        self.publisher = Publisher(folder, kind, registry)
        self.publisher.start()

    def end(self) -> None:
        self.publisher.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def processes(folder: Path) -> Iterator[list[Process]]:
    made = [Process(folder), Process(folder)]
    yield made
    for one in made:
        one.end()


def told(folder: Path) -> dict[str, float]:
    """Each sample by its name and labels, as an answer in text has it."""
    text, content_type = render(process_families(read_processes(folder), 0.0), None)
    assert content_type.startswith("text/plain")
    return {
        sample.name + "".join(f"/{value}" for value in sample.labels.values()): sample.value
        for family in parse_text(text.decode())
        for sample in family.samples
    }


def test_numbers_of_processes_come_together_by_their_rule(folder: Path, processes: list[Process]) -> None:
    for number, one in enumerate(processes, start=1):
        one.jobs.labels("a.b").inc(number)
        one.wait.observe(5 * number - 4.5)
        one.size.set(10 * number)
        one.away.set(number % 2)
        one.depth.labels("posts").set(7)
        one.publisher.publish()
    found = told(folder)
    assert found["penstock_jobs_finished_total/a.b"] == 3
    assert [found[f"penstock_job_wait_seconds_{name}"] for name in ("bucket/1.0", "bucket/10.0", "count", "sum")] == [
        *(1, 2, 2),
        6,
    ]
    assert found["penstock_cache_entries"] == 30
    assert found["penstock_dependency_away"] == 1
    assert not [name for name in found if name.startswith("penstock_queue_depth")], "each sidecar reads it itself"
    assert found["penstock_processes/worker"] == 2


def test_what_an_ended_process_counted_stays_and_its_gauges_go(folder: Path, processes: list[Process]) -> None:
    for one in processes:
        one.jobs.labels("a.b").inc(2)
        one.size.set(5)
        one.publisher.publish()
    processes[0].end()
    for _ in range(3):
        found = told(folder)
        assert (found["penstock_jobs_finished_total/a.b"], found["penstock_cache_entries"]) == (4, 5)
    assert MetricsFolder(folder).names() == [processes[1].publisher.name]
    processes[1].end()
    found = told(folder)
    assert found["penstock_jobs_finished_total/a.b"] == 4
    assert "penstock_cache_entries" not in found
    assert sorted(path.name for path in folder.iterdir()) == ["ended.json", "reading.lock"]


def test_a_reader_killed_between_folding_and_removing_counts_nobody_twice(folder: Path) -> None:
    one = Process(folder)
    one.jobs.labels("a.b").inc(2)
    one.end()
    left = MetricsFolder(folder).snapshot(one.publisher.name)
    content = left.read_bytes()
    assert told(folder)["penstock_jobs_finished_total/a.b"] == 2
    left.write_bytes(content)
    assert told(folder)["penstock_jobs_finished_total/a.b"] == 2
    assert not left.exists()


def test_a_killed_process_is_counted_and_not_taken_for_living(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, folder], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"published\n"
        before = told(folder)
        process.kill()
        process.wait(60)
    assert before["penstock_jobs_finished_total/a.b/done/posts"] == 3
    assert before["penstock_process_resident_memory_bytes/worker"] > 2**20
    found = told(folder)
    assert found["penstock_jobs_finished_total/a.b/done/posts"] == 3
    assert found["penstock_process_cpu_seconds_total/worker"] > 0
    assert "penstock_processes/worker" not in found
    assert "penstock_process_resident_memory_bytes/worker" not in found


def test_a_file_that_is_none_of_ours_harms_nobody(folder: Path, processes: list[Process]) -> None:
    processes[0].jobs.labels("a.b").inc()
    processes[0].publisher.publish()
    MetricsFolder(folder).snapshot(processes[1].publisher.name).write_text('{"format": 2, "families": "else"}')
    found = told(folder)
    assert found["penstock_jobs_finished_total/a.b"] == 1
    assert found["penstock_process_snapshots_unreadable"] == 1


def test_files_are_private_and_a_folder_of_everybody_is_refused(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = Process(folder)
    one.publisher.publish()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    one.end()
    folder.chmod(0o777)
    two = Process(folder)
    two.publisher.publish()
    assert not MetricsFolder(folder).snapshot(two.publisher.name).exists()
    assert [record.message for record in caplog.records] == [
        "the metrics of this process can't be published (PermissionError)"
    ]
    two.end()


def test_exemplars_are_told_to_who_asks_for_openmetrics(folder: Path, processes: list[Process]) -> None:
    for one in processes:
        one.wait.observe(0.5)
        one.wait.observe(3, exemplar_of(TRACE))
        one.jobs.labels("a.b").inc(exemplar=exemplar_of(TRACE))
        one.publisher.publish()
    text, content_type = render(process_families(read_processes(folder), 0.0), "application/openmetrics-text")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    samples = [sample for family in parse_openmetrics(text.decode()) for sample in family.samples]
    with_exemplar = {sample.name: sample.exemplar.labels for sample in samples if sample.exemplar}
    trace = {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    assert with_exemplar == {"penstock_job_wait_seconds_bucket": trace, "penstock_jobs_finished_total": trace}
    processes[0].end()
    processes[1].end()
    text, _ = render(process_families(read_processes(folder), 0.0), "application/openmetrics-text;version=1.0.0")
    assert text.count(b"# {trace_id=") == 2, "they outlive their process"


@pytest.mark.parametrize("trace", [None, "", "x", TRACE[:-1], TRACE.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01"])
def test_what_is_no_trace_is_no_exemplar(trace: str | None) -> None:
    assert exemplar_of(trace) is None


def test_a_snapshot_is_whole_at_any_moment(folder: Path, processes: list[Process]) -> None:
    file = MetricsFolder(folder).snapshot(processes[0].publisher.name)
    processes[0].publisher.publish()
    for _ in range(200):
        processes[0].publisher.publish()
        assert json.loads(file.read_bytes())["process"] == "worker"
