"""`penstock sidecar` as a process: where it listens, what it refuses, and how it ends."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from penstock.workers.sidecar.access.credentials import parse_credentials
from penstock.workers.sidecar.access.gatekeeper import PROBES
from tests import forked
from tests.recovery.servers import free_port
from tests.system import Penstock, wait_for


@contextmanager
def running(environment: dict[str, str], **changes: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = forked.start(["sidecar"], environment | changes, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def status(address: str, path: str) -> int:
    try:
        return httpx.get(f"http://{address}{path}", timeout=5).status_code
    except httpx.TransportError:
        return 0


def test_the_second_address_has_the_probes_alone(environment: dict[str, str], penstock: Penstock) -> None:
    line = penstock("sidecar", "credential", "ana", "--role", "viewer", "--json").json["line"]
    main, probes = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = {
        "PENSTOCK_SIDECAR_LISTEN": main,
        "PENSTOCK_SIDECAR_PROBE_LISTEN": probes,
        "PENSTOCK_SIDECAR_CREDENTIALS": line,
    }
    with running(environment, **settings) as process:
        wait_for(lambda: status(probes, "/health/ready") == 200, "the probes to answer")
        assert {path: status(probes, path) for path in PROBES} == dict.fromkeys(PROBES, 200)
        others = ("/", "/log-in", "/api/v1/queues", "/api/v1/openapi.json")
        assert {status(probes, path) for path in others} == {404}
        assert set(httpx.get(f"http://{probes}/health").json()) == {"status", "checks"}
        assert status(main, "/api/v1/queues") == 401
        assert status(main, "/health/live") == 200
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert time.monotonic() - started < 20, "of about 1 s on an idle machine"


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:9191"])
def test_off_loopback_it_does_not_start_without_a_credential(penstock: Penstock, address: str) -> None:
    run = penstock("sidecar", env={"PENSTOCK_SIDECAR_LISTEN": address})
    assert run.code == 1
    assert "CONFIG_INVALID" in run.err
    assert "penstock sidecar credential" in run.err


def test_credentials_that_are_none_are_told_without_their_hash(penstock: Penstock) -> None:
    wrong = "ana:emperor:" + "c0ffee" * 10 + "c0ff"
    run = penstock("sidecar", env={"PENSTOCK_SIDECAR_LISTEN": "0.0.0.0:0", "PENSTOCK_SIDECAR_CREDENTIALS": wrong})
    assert run.code == 1
    assert "line 1 of PENSTOCK_SIDECAR_CREDENTIALS" in run.err
    assert "c0ffee" not in run.err


def test_an_address_that_is_taken_is_told(penstock: Penstock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = penstock("sidecar", env={"PENSTOCK_SIDECAR_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}"})
    assert run.code == 1
    assert "can't listen on 127.0.0.1" in run.err


def test_a_credential_is_made_for_a_name_and_a_role(penstock: Penstock) -> None:
    made = penstock("sidecar", "credential", "ana", "--role", "operator", "--json").json
    again = penstock("sidecar", "credential", "ana", "--role", "operator", "--json").json
    assert made["token"] != again["token"]
    assert made["token"] not in made["line"]
    assert str(parse_credentials(made["line"])["ana"].role) == "operator"
    assert penstock("sidecar", "credential", "a b", "--role", "viewer", "--json").error["code"] == "CONFIG_INVALID"
    assert penstock("sidecar", "credential", "ana", "--role", "owner").code == 2
