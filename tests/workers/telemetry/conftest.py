"""Real processes that send their traces to a collector of the module's own."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.workers.demo import FORM_FILE
from tests.otlp_collector import Collector, otlp_collector
from tests.producers.gateway.gateway_kit import FORM, FORM_ID, Gateway, serving
from tests.system import BIN, PATIENCE_SECONDS, Penstock, WorkerProcess
from tests.workers.telemetry.failing_kit import FAILING


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with otlp_collector() as found:
        yield found


@pytest.fixture(scope="module")
def traced(collector: Collector, environment: dict[str, str]) -> dict[str, str]:
    """The module's environment, with the collector in it."""
    return environment | collector.env


@pytest.fixture(scope="module")
def traced_gateway(traced: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    with serving(traced, folder) as found:
        assert found.ask("PUT", f"/v1/forms/{FORM_ID}", json=FORM).status_code == 201
        yield found


@pytest.fixture(scope="module")
def traced_worker(start_worker: Callable[..., WorkerProcess], collector: Collector) -> WorkerProcess:
    return start_worker(**collector.env, **FAILING, PENSTOCK_WORKER_THREADS="1").wait_until_ready()


@pytest.fixture(scope="module")
def traced_scheduler(traced: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A scheduler with the collector; it must stop cleanly."""
    process = subprocess.Popen([BIN / "penstock", "scheduler"], env=traced | FAILING, stderr=subprocess.DEVNULL)
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 0


@pytest.fixture(scope="module")
def strikes(penstock: Penstock) -> str:
    """A form of the demonstration's, by its id."""
    assert penstock("forms", "apply", FORM_FILE, "--id", "wildlife-strikes").code == 0
    return "wildlife-strikes"
