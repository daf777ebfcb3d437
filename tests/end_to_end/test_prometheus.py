"""Prometheus itself scrapes a running deployment: every metric is there, and nothing that it or promtool objects to."""

import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from penstock.producers.queue.inspection import QueueInspector
from tests.debian import require_program
from tests.recovery.servers import free_port
from tests.system import BIN, Penstock, WorkerProcess, wait_for
from tests.workers.sidecar.paced_kit import KIND, QUEUE, TRACE, enqueue_paced, paced_environment

#: Those that the interface names; a release may add others and never takes one away.
NAMED = {
    "penstock_cache_requests_total",
    "penstock_circuit_state",
    "penstock_db_pool_requests_wait_seconds_total",
    "penstock_db_pool_size",
    "penstock_db_query_duration_seconds",
    "penstock_dead_letters",
    "penstock_http_request_duration_seconds",
    "penstock_http_requests_total",
    "penstock_job_duration_seconds",
    "penstock_job_wait_seconds",
    "penstock_jobs_enqueued_total",
    "penstock_jobs_finished_total",
    "penstock_jobs_unaccounted",
    "penstock_post_lateness_seconds",
    "penstock_queue_depth",
    "penstock_queue_oldest_age_seconds",
    "penstock_queue_runnable_backlog_seconds",
    "penstock_redis_evicted_keys_total",
    "penstock_redis_memory_used_bytes",
    "penstock_submissions_total",
}
#: Those of them that have a number once some jobs have run.
WITH_NUMBERS = NAMED - {"penstock_circuit_state", "penstock_post_lateness_seconds"}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def get(url: str, accept: str = "*/*") -> tuple[str, str]:
    """The text at an address, and its type."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


@pytest.fixture(scope="module")
def processes(environment: dict[str, str]) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts `penstock` processes that are stopped at the end."""
    started = []

    def start(*command: str, **env: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([BIN / "penstock", *command], env=environment | env)
        started.append(process)
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def sidecar(processes: Callable[..., Any]) -> str:
    """The address of a running sidecar."""
    address = f"127.0.0.1:{free_port()}"
    processes("sidecar", PENSTOCK_SIDECAR_LISTEN=address)

    def answers() -> bool:
        try:
            return bool(get(f"http://{address}/health/live"))
        except OSError:
            return False

    wait_for(answers, "the sidecar")
    return f"http://{address}"


@pytest.fixture(scope="module")
def deployment(
    sidecar: str,
    processes: Callable[..., Any],
    start_worker: Callable[..., WorkerProcess],
    penstock: Penstock,
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The sidecar's address, when jobs of each end and a batch have run on workers, some killed by a job."""
    folder = tmp_path_factory.mktemp("starts")
    env = paced_environment(folder) | {"PENSTOCK_LEASE_SECONDS": "2", "PENSTOCK_POISON_LIMIT": "1"}
    namespace = environment["PENSTOCK_NAMESPACE"]
    form, rows = folder / "f.json", folder / "rows.jsonl"
    form.write_text(json.dumps({"title": "T", "questions": [{"id": "q", "text": "?", "type": "text"}]}))
    rows.write_text("".join(json.dumps({"answers": {"q": text}}) + "\n" for text in ("a", "b", 3)))
    assert penstock("forms", "apply", form).code == 0
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        enqueue_paced(client, namespace, kill=True)
        # The first death makes it a suspect, the second one a dead letter.
        for _ in range(2):
            assert start_worker(**env).process.wait(60) == -signal.SIGKILL
        processes("scheduler", **env)
        start_worker(**env).wait_until_ready()
        enqueue_paced(client, namespace, 5, trace=TRACE)
        enqueue_paced(client, namespace, 2, fail=1)
        enqueue_paced(client, namespace, 3, postpone=True)
        enqueue_paced(client, namespace, 4, die=True)
        inspector = QueueInspector(client, namespace)

        def is_over() -> bool:
            counts = inspector.counts(QUEUE)
            return (counts.done, counts.dead) == (10, 5)

        wait_for(is_over, "the jobs' ends")
    assert penstock("submit", "f", rows, "--batch-id", "b", "--wait").code == 0
    wait_for(lambda: samples(sidecar).get(f"penstock_dead_letters/INTERNAL_ERROR/{KIND}/{QUEUE}") == 4, "the letters")
    return sidecar


def samples(address: str) -> dict[str, float]:
    """Each sample by its name and the values of its labels in the order of their names."""
    text, _ = get(f"{address}/metrics")
    return {
        "/".join([sample.name, *(value for _, value in sorted(sample.labels.items()))]): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def prometheus(deployment: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """Asks the API of a Prometheus that scrapes the deployment each second."""
    program = require_program("prometheus", "prometheus")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    target = deployment.removeprefix("http://")
    config = folder / "prometheus.yml"
    jobs = [{"job_name": "penstock", "static_configs": [{"targets": [target]}]}]
    config.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.PIPE, cwd=folder)
    lines: list[str] = []
    assert process.stderr is not None
    reading = threading.Thread(target=lambda: lines.extend(map(str, process.stderr or ())), daemon=True)
    reading.start()

    def ask(path: str) -> Any:
        return json.loads(get(f"http://127.0.0.1:{port}/api/v1/{path}")[0])["data"]

    def has_scraped() -> bool:
        try:
            return any(target["lastScrape"] > "1" for target in ask("targets")["activeTargets"])
        except OSError:
            assert process.poll() is None, "\n".join(lines[-10:])
            return False

    wait_for(has_scraped, "a scrape")
    yield ask
    process.terminate()
    process.wait(30)
    reading.join(10)
    process.stderr.close()


def test_prometheus_finds_no_fault_and_every_metric(prometheus: Callable[[str], Any]) -> None:
    wait_for(lambda: prometheus("targets")["activeTargets"][0]["health"] != "unknown", "a judgement")
    (target,) = prometheus("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    known = {name.removesuffix("_total") for name in prometheus("metadata")}
    assert {name.removesuffix("_total") for name in NAMED} <= known
    stored = {name.removesuffix("_bucket") for name in prometheus("label/__name__/values")}
    assert stored >= WITH_NUMBERS
    (found,) = prometheus(f"query?query=penstock_queue_depth%7Bqueue=%22{QUEUE}%22,state=%22dead%22%7D")["result"]
    assert found["value"][1] == "5"


def test_promtool_has_nothing_to_say(deployment: str) -> None:
    promtool = require_program("promtool", "prometheus")
    text, _ = get(f"{deployment}/metrics")
    done = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_openmetrics_is_told_to_who_asks_for_it_with_the_trace_of_a_job(deployment: str) -> None:
    text, content_type = get(f"{deployment}/metrics", OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    found = [sample for family in parse_openmetrics(text) for sample in family.samples if sample.exemplar]
    told = {(sample.name, sample.exemplar.labels["trace_id"]) for sample in found}
    trace = TRACE.split("-")[1]
    assert told >= {("penstock_job_duration_seconds_bucket", trace), ("penstock_jobs_finished_total", trace)}


def test_every_end_of_a_job_is_counted_once(deployment: str) -> None:
    found = samples(deployment)
    ends = {end: found.get(f"penstock_jobs_finished_total/{KIND}/{end}/{QUEUE}") for end in ("done", "retried", "dead")}
    # Four that said so, and the poison.
    assert ends == {"done": 10, "retried": 2, "dead": 5}
    assert found[f"penstock_jobs_finished_total/{KIND}/postponed/{QUEUE}"] == 3
    assert found[f"penstock_jobs_enqueued_total/{KIND}/{QUEUE}"] == 15
    assert found[f"penstock_dead_letters/JOB_POISON/{KIND}/{QUEUE}"] == 1
    assert found["penstock_jobs_unaccounted"] == 0
    stored = [found[f"penstock_submissions_total/{outcome}"] for outcome in ("stored", "rejected")]
    assert stored == [2, 1]


def test_every_process_is_there(deployment: str) -> None:
    found = samples(deployment)
    kinds = ("worker", "scheduler", "sidecar")
    assert [found[f"penstock_processes/{kind}"] for kind in kinds] == [1, 1, 1]
    assert all(found[f"penstock_process_resident_memory_bytes/{kind}"] > 2**20 for kind in kinds)
    assert found["penstock_http_requests_total/sidecar/GET//metrics/200"] >= 1
    assert found["penstock_db_query_duration_seconds_count/copy/submissions"] == 1
    # Each pod's sidecar reads the same of the shared servers.
    assert found["penstock_reading_age_seconds/redis"] < 5


def test_no_label_holds_an_id(deployment: str, environment: dict[str, str]) -> None:
    text, _ = get(f"{deployment}/metrics")
    labels = {
        (name, value) for family in parse_text(text) for one in family.samples for name, value in one.labels.items()
    }
    assert not [value for name, value in labels if name in {"job_id", "batch_id", "tenant", "worker", "pid", "host"}]
    assert not [value for _, value in labels if len(value) > 60]
    assert Path(environment["PENSTOCK_HOME"], "metrics").stat().st_mode & 0o077 == 0
