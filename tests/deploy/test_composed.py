"""The whole of deploy/compose at work, from nothing: secrets, servers with its configuration, commands of the image.

No engine runs here, so the processes are this machine's: the image's environment (no editable install, no library of
developers), the variables that the file gives them, and its own health checks.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
import redis

from tests.debian import require_program
from tests.deploy.clean_environment import make_clean_environment
from tests.deploy.composed import Composed
from tests.deploy.connections import of_process
from tests.deploy.kubernetes_kit import containers, templates, the
from tests.system import wait_for

PROCESSES = ("gateway", "worker", "scheduler", "sidecar")
FORM = {"title": "A poll", "questions": [{"id": "q", "text": "What?", "type": "text"}]}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """Everything up and healthy, as `docker compose up --wait` leaves it."""
    with Composed(make_clean_environment(tmp_path_factory.mktemp("image"))) as made:
        done = made.command("release")
        assert done.returncode == 0, done.stderr
        assert "applied 0001" in done.stdout
        for name in PROCESSES:
            made.start(name)
        for name in PROCESSES:
            made.wait_until_healthy(name)
        yield made


@pytest.fixture(scope="module")
def key(composed: Composed) -> str:
    """An API key, made as docs/deployment.md says."""
    scopes = ("submissions:write", "forms:write", "status:read")
    options = [word for scope in scopes for word in ("--scope", scope)]
    done = composed.command("release", "keys", "create", "--name", "first", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0].split()[-1]


def test_releasing_again_changes_nothing(composed: Composed) -> None:
    done = composed.command("release")
    assert (done.returncode, done.stdout) == (0, "nothing to do\n"), done.stderr


def test_what_the_gateway_takes_is_stored(composed: Composed, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=composed.address(8080), headers=headers, timeout=30) as client:
        assert client.put("/v1/forms/poll", json=FORM).status_code == 201
        rows = [{"answers": {"q": f"answer {number}"}} for number in range(100)]
        sent = client.post("/v1/forms/poll/submissions", json={"submissions": rows})
        assert sent.status_code == 202, sent.text
        path = sent.json()["status_url"]
        wait_for(lambda: client.get(path).json().get("stored") == 100, "the rows to be stored")
        assert httpx.get(f"{composed.address(8080)}/v1/forms/poll").status_code == 401
    with psycopg.connect(composed.admin_url) as connection:
        assert connection.execute("SELECT count(*) FROM penstock.submissions").fetchone() == (100,)


def test_one_sidecar_tells_of_all_processes(composed: Composed) -> None:
    def living() -> set[str]:
        lines = httpx.get(f"{composed.address(9192)}/metrics", timeout=30).text.splitlines()
        return {line for line in lines if line.startswith("penstock_processes{")}

    wanted = {f'penstock_processes{{process="{name}"}} 1.0' for name in PROCESSES}
    wait_for(lambda: living() == wanted, "all four processes among the metrics")
    assert httpx.get(f"{composed.address(9192)}/api/v1/autoscale").status_code == 200


def test_all_that_kubernetes_asks_is_answered(composed: Composed) -> None:
    asked = {(8080, "/health/live"), (8080, "/health/ready")}
    asked |= {(9192, path) for path in ("/health/live", "/health/ready", "/metrics", "/api/v1/autoscale")}
    found = set()
    for template in templates("production").values():
        for container in containers(template):
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for name in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(name, {}).get("httpGet")
                found |= {(ports[probe["port"]], probe["path"])} if probe else set()
    # And what KEDA and Prometheus ask, which the manifests' rules have at the probes' port.
    assert found <= asked
    for port, path in asked:
        assert httpx.get(composed.address(port) + path, timeout=30).status_code == 200, path
    backlog = httpx.get(f"{composed.address(9192)}/api/v1/autoscale").json()
    trigger = the("production", "ScaledObject", "penstock-worker")["spec"]["triggers"][0]["metadata"]
    assert isinstance(backlog[trigger["valueLocation"]], (int, float))


def test_the_pages_want_a_log_in_and_the_printed_token_is_one(composed: Composed) -> None:
    # By the name that the service has in its network.
    headers = {"Host": "sidecar:9191"}
    address = f"{composed.address(9191)}/api/v1/queues"
    assert httpx.get(address, headers=headers).status_code == 401
    assert httpx.get(address, headers=headers | {"Authorization": f"Bearer {composed.token}"}).status_code == 200
    # What probes may see shows neither pages nor API.
    assert httpx.get(f"{composed.address(9192)}/api/v1/queues").status_code == 404


def test_no_process_has_more_connections_than_the_deployments_count_with(composed: Composed) -> None:
    with psycopg.connect(composed.admin_url) as connection:
        statement = "SELECT application_name, count(*) FROM pg_stat_activity WHERE usename = 'penstock_app' GROUP BY 1"
        found: dict[str, int] = dict(connection.execute(statement).fetchall())
    for kind in PROCESSES:
        held = sum(count for name, count in found.items() if name.startswith(f"penstock-{kind}"))
        assert 1 <= held <= of_process(kind, composed.environment(kind)), found


def test_processes_log_in_as_a_login_that_may_not_change_the_schema(composed: Composed) -> None:
    with psycopg.connect(composed.secret("database_url"), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE penstock.submissions")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE ROLE another")


def test_redis_keeps_jobs_and_lets_its_user_do_no_harm(composed: Composed) -> None:
    with redis.Redis.from_url(composed.secret("redis_url"), decode_responses=True) as client:
        told: dict[str, Any] = client.config_get("*")
        assert (told["maxmemory-policy"], told["appendonly"]) == ("noeviction", "yes")
        assert int(told["maxmemory"]) > 0
        for command in (
            ("FLUSHALL",),
            ("CONFIG", "SET", "appendonly", "no"),
            ("SHUTDOWN",),
            ("REPLICAOF", "NO", "ONE"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)
    # Without a password nobody does anything.
    with (
        redis.Redis(port=composed.ports[6379]) as stranger,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        stranger.ping()


def test_the_health_check_of_redis_needs_no_password(composed: Composed) -> None:
    kind, program, *arguments = composed.services["redis"]["healthcheck"]["test"]
    assert kind == "CMD"
    client = require_program(program, "redis-tools")

    def look(port: int) -> int:
        return subprocess.run([client, "-p", str(port), *arguments], capture_output=True, check=False).returncode

    assert look(composed.ports[6379]) == 0
    assert look(1) != 0


def test_a_frozen_worker_is_found_out(composed: Composed) -> None:
    worker = composed.processes["worker"]
    worker.send_signal(signal.SIGSTOP)
    try:
        (snapshot,) = (composed.run / "metrics").glob("worker-*.json")

        def is_found_out() -> bool:
            # Its last snapshot may have come between; time goes by at once.
            os.utime(snapshot, (0, 0))
            done = composed.health("worker")
            return done.returncode == 1 and done.stderr.startswith("silent for ")

        wait_for(is_found_out, "the frozen worker to be found out", seconds=10)
        # The others are none of its business.
        assert composed.health("scheduler").returncode == 0
    finally:
        worker.send_signal(signal.SIGCONT)
    composed.wait_until_healthy("worker")


def test_nothing_is_written_but_where_containers_may(composed: Composed) -> None:
    assert {path.name for path in composed.run.iterdir()} == {"metrics"}


def test_all_stop_in_time_and_are_no_longer_alive(composed: Composed) -> None:
    for name in PROCESSES:
        assert composed.stop(name) == 0, composed.log(name)
        done = composed.health(name)
        assert done.returncode == 1
        assert done.stderr
        assert "Traceback" not in composed.log(name)
