"""`run_up` as its own process, driven by signals and watched by its output."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from penstock.workers.embedded.home import read_servers
from tests.workers.embedded.processes import LIMIT_SECONDS, Script, python, wait_for_end

UP = """
import json, os, sys
from datetime import timedelta
from pathlib import Path
from penstock.schemas.errors import PenstockError
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.up import run_up

home, procfile, options = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])

def on_ready(pages):
    print("ready", pages, flush=True)
    if options.get("fail"):
        raise RuntimeError("the demonstration failed")

try:
    status = run_up(
        Home(home),
        environment={**os.environ, **options.get("environment", {})},
        migrate=lambda url: print("migrate", url.split("@")[-1], flush=True),
        announce=lambda line: print("up:", line, flush=True),
        on_ready=on_ready,
        procfile=procfile,
        grace=timedelta(seconds=options.get("grace", 20)),
    )
except PenstockError as error:
    raise SystemExit(f"{error} {error.remedy}")
raise SystemExit(status)
"""

#: The supervisor's tests need no server: nobody connects to these.
ELSEWHERE = {"DATABASE_URL": "postgresql://user:hidden@db.test/x", "REDIS_URL": "redis://redis.test/0"}

#: A bare Debian has no program named `python`.
PYTHON = shlex.quote(sys.executable)
POLITE = f"{PYTHON} -c 'import os,signal; print(os.getpid(),flush=True); signal.pause()'"
#: `exec` because a compound statement can't follow on one line.
STUBBORN = (
    f"{PYTHON} -c 'import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); print(os.getpid(), flush=True);"
    ' exec("while signal.sigwait([15]): print(\\"no\\", flush=True)")\''
)

Start = Callable[..., Script]


@pytest.fixture
def up(tmp_path: Path, run: Start) -> Start:
    def start(procfile: str, **options: object) -> Script:
        return run(UP, tmp_path / "home", procfile, json.dumps({"environment": ELSEWHERE, **options}))

    return start


def pid_of(script: Script, name: str) -> int:
    line = script.wait_for(lambda line: re.match(rf"{name} +\| \d+$", line) is not None)
    return int(line.split("| ")[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_stops_all(up: Start, number: signal.Signals) -> None:
    script = up(f"one: {POLITE}\ntwo: {POLITE}\n")
    pids = [pid_of(script, "one"), pid_of(script, "two")]
    script.process.send_signal(number)
    assert script.end() == 0
    wait_for_end(*pids)
    assert "up: stopping" in script.text()


def test_servers_of_ones_own_are_migrated_and_passed_on_and_not_told(up: Start) -> None:
    tell = PYTHON + ' -c \'import os; print(os.environ["DATABASE_URL"], os.environ["REDIS_URL"])\''
    script = up(f"tell: {tell}\n")
    script.wait_for("migrate db.test/x")
    script.wait_for(f"tell | {ELSEWHERE['DATABASE_URL']} {ELSEWHERE['REDIS_URL']}")
    assert [line for line in script.seen if "hidden" in line and not line.startswith("tell")] == []


def test_a_process_that_dies_is_started_again(up: Start) -> None:
    script = up(f"one: {POLITE}\ntwo: {PYTHON} -c 'raise SystemExit(3)'\n")
    first = pid_of(script, "one")
    script.wait_for("two ended with exit code 3; it is started again in 1 s")
    os.kill(first, signal.SIGKILL)
    script.wait_for("one was killed by SIGKILL; it is started again in 1 s")
    assert pid_of(script, "one") != first
    script.wait_for("two ended with exit code 3; it is started again in 4 s")
    script.process.terminate()
    assert script.end() == 0


def test_a_program_that_is_not_there_is_named(up: Start) -> None:
    script = up("one: no-such-program\n")
    script.wait_for("one | no-such-program can't be run: No such file or directory")


def test_what_does_not_stop_in_time_is_killed(up: Start) -> None:
    script = up(f"one: {STUBBORN}\n", grace=0.3)
    pid = pid_of(script, "one")
    script.process.terminate()
    script.wait_for("one | no")
    script.wait_for("one did not stop in time and is killed")
    assert script.end() == 0
    wait_for_end(pid)


def test_a_second_signal_insists(up: Start) -> None:
    script = up(f"one: {STUBBORN}\n", grace=600)
    pid = pid_of(script, "one")
    script.process.send_signal(signal.SIGINT)
    script.wait_for("one | no")
    script.process.send_signal(signal.SIGINT)
    assert script.end() == 0
    wait_for_end(pid)


def test_processes_die_with_a_killed_up(up: Start) -> None:
    script = up(f"one: {STUBBORN}\n")
    pid = pid_of(script, "one")
    script.process.kill()
    wait_for_end(pid)


def test_a_failure_of_on_ready_stops_everything_and_is_told(up: Start) -> None:
    script = up(f"one: {POLITE}\n", fail=True)
    assert script.end() == 1
    assert "RuntimeError: the demonstration failed" in script.text()


def test_a_reader_that_is_gone_stops_everything(tmp_path: Path) -> None:
    talk = f"one: {PYTHON} -c 'while True: print(1)'\n"
    command = python(UP, tmp_path / "home", talk, json.dumps({"environment": ELSEWHERE}))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(b"one"):
            continue
        process.stdout.close()
        assert process.wait(LIMIT_SECONDS) != 0


def test_a_secret_file_that_is_not_there_is_named(up: Start) -> None:
    script = up(f"one: {POLITE}\n", environment={"DATABASE_URL_FILE": "/nowhere/url", "DATABASE_URL": ""})
    script.wait_for("CONFIG_INVALID: DATABASE_URL_FILE: /nowhere/url can't be read")
    assert script.end() == 1


def test_embedded_servers_from_start_to_stop(tmp_path: Path, up: Start) -> None:
    home = tmp_path / "home"
    script = up(f"worker: {POLITE}\n", environment={})
    script.wait_for("migrate 127.0.0.1:")
    script.wait_for("postgres listens on 127.0.0.1:")
    script.wait_for("valkey listens on 127.0.0.1:")
    worker = pid_of(script, "worker")
    servers = read_servers(home)
    assert servers is not None
    assert servers.pid == script.process.pid
    assert servers.database_url is not None
    environment = Path(f"/proc/{worker}/environ").read_text()
    assert f"DATABASE_URL={servers.database_url}" in environment
    assert f"REDIS_URL={servers.redis_url}" in environment

    refused = up(f"worker: {POLITE}\n", environment={})
    assert refused.end() == 1
    assert "CONFIG_INVALID" in refused.text()

    postmaster = int((home / "postgres/data/postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)
    script.wait_for("postgres ended; it is started again")
    script.process.terminate()
    assert script.end() == 0
    wait_for_end(worker)
    assert read_servers(home) is None
    assert not (home / "run/servers.json").exists()
    assert servers.database_url.split("@")[0].split(":")[2] not in script.text()


def test_killed_at_any_moment_it_comes_up_again(tmp_path: Path, up: Start) -> None:
    for moment in ("postgres/password", "migrate", "worker | "):
        script = up(f"worker: {POLITE}\n", environment={})
        if moment != "postgres/password":
            script.wait_for(moment)
        script.process.kill()
    script = up(f"worker: {POLITE}\n", environment={})
    pid_of(script, "worker")
    servers = read_servers(tmp_path / "home")
    assert servers is not None
    assert servers.database_url is not None
    with psycopg.connect(servers.database_url) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("penstock_app",)
    script.process.terminate()
    assert script.end() == 0
