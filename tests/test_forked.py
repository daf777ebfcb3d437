"""A forked `penstock` is what the installed script is: its answers, its streams, its end."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import forked
from tests.system import BIN, WorkerProcess


def environment_at(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(home), "PENSTOCK_HOME": str(home / "none"), **more}


@pytest.mark.parametrize(
    "words", [["queue", "list", "--json"], ["schemas"], ["forms", "--help"], ["forms", "apply", "-"]], ids=" ".join
)
def test_it_says_and_returns_what_the_script_does(tmp_path: Path, words: list[str]) -> None:
    environment = environment_at(tmp_path)
    script = subprocess.run(
        [BIN / "penstock", *words], env=environment, input=b"{}", capture_output=True, check=False, timeout=120
    )
    own = forked.run(words, environment, b"{}")
    assert (own.returncode, own.stdout, own.stderr) == (script.returncode, script.stdout, script.stderr)


def test_it_is_a_process_of_its_own_that_can_be_killed(environment: dict[str, str]) -> None:
    process = forked.start(["worker"], environment, stderr=subprocess.PIPE)
    worker = WorkerProcess(process)
    worker.reader.start()
    worker.wait_until_ready()
    assert process.pid != os.getpid()
    assert process.poll() is None
    worker.kill()
    assert process.returncode == -signal.SIGKILL
    assert any("the worker is ready" in line for line in worker.lines)
    assert process.stderr is not None
    process.stderr.close()


def test_it_stops_as_it_is_told(environment: dict[str, str]) -> None:
    worker = WorkerProcess(forked.start(["worker"], environment, stderr=subprocess.PIPE))
    worker.reader.start()
    worker.wait_until_ready()
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(0.01)
    assert worker.stop() == 0
    assert "the worker has stopped" in worker.lines[-1]
    assert worker.process.stderr is not None
    worker.process.stderr.close()


@pytest.mark.parametrize(
    ("words", "more"), [(["up"], {}), (["worker"], {"OTEL_SDK_DISABLED": "true"}), (["queue"], {"LC_ALL": "C"})]
)
def test_what_could_differ_is_run_by_the_script(tmp_path: Path, words: list[str], more: dict[str, str]) -> None:
    assert not forked._may_be_forked(words, environment_at(tmp_path, **more))
    assert forked._may_be_forked(["queue"], environment_at(tmp_path)) is (os.environ.get("PENSTOCK_TEST_FULL") != "1")
