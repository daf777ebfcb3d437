"""`penstock up` with its gateway: where it listens, when it is left out, and that rows sent there are stored."""

import json
import re
import signal
import subprocess
from importlib.metadata import requires
from pathlib import Path

import httpx
import pytest

from penstock.workers.embedded.gateway_process import LIBRARIES, USUAL_PORT, place_gateway
from penstock.workers.embedded.procfile import DEFAULT_PROCFILE, ProcessType, parse_procfile
from tests.recovery.servers import free_port
from tests.system import BIN, wait_for

FORM = {"title": "A poll", "questions": [{"id": "q", "text": "What?", "type": "text"}]}


def test_rows_sent_to_it_are_stored(tmp_path: Path) -> None:
    address, log = f"127.0.0.1:{free_port()}", tmp_path / "log"
    variables = {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PENSTOCK_HOME": str(tmp_path / "home"),
        "PENSTOCK_GATEWAY_LISTEN": address,
        "PENSTOCK_SIDECAR_LISTEN": f"127.0.0.1:{free_port()}",
    }
    with log.open("wb") as file:
        process = subprocess.Popen([BIN / "penstock", "up"], env=variables, stdout=file, stderr=file)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
            wait_for(lambda: _is_ready(client, process, log), "the gateway of `up` to be ready", 120)
            assert f"the gateway: http://{address}/v1/docs" in log.read_text()
            assert client.put("/v1/forms/poll", json=FORM).status_code == 201
            sent = client.post("/v1/forms/poll/submissions", json={"submissions": [{"answers": {"q": "x"}}]})
            path = sent.json()["status_url"]
            wait_for(lambda: client.get(path).json().get("stored") == 1, "the row to be stored")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(90)
    text = log.read_text()
    assert code == 0, text
    assert "Traceback" not in text
    assert "did not stop in time" not in text


def _is_ready(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def place(environment: dict[str, str], told: list[str]) -> tuple[list[ProcessType], dict[str, str]]:
    return place_gateway(parse_procfile(DEFAULT_PROCFILE), environment, told.append)


def test_an_address_of_ones_own_is_kept() -> None:
    told: list[str] = []
    kinds, environment = place({"PENSTOCK_GATEWAY_LISTEN": "0.0.0.0:80", "X": "y"}, told)
    assert "gateway" in {kind.name for kind in kinds}
    assert environment == {"PENSTOCK_GATEWAY_LISTEN": "0.0.0.0:80", "X": "y"}
    assert told == ["the gateway: http://0.0.0.0:80/v1/docs"]


@pytest.mark.parametrize("is_free", [True, False])
def test_the_usual_port_is_used_where_it_is_free(monkeypatch: pytest.MonkeyPatch, is_free: bool) -> None:
    monkeypatch.setattr("penstock.workers.embedded.ports.is_free", lambda _: is_free)
    _, environment = place({}, [])
    port = int(environment["PENSTOCK_GATEWAY_LISTEN"].rpartition(":")[2])
    assert (port == USUAL_PORT) == is_free


def test_without_its_libraries_it_is_left_out_and_that_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "penstock.workers.embedded.gateway_process.find_spec", lambda name: None if name == "uvloop" else 1
    )
    told: list[str] = []
    kinds, environment = place({}, told)
    assert "gateway" not in {kind.name for kind in kinds}
    assert environment == {}
    assert told == ["the gateway is not started, since uvloop is not installed: pip install 'penstock[gateway]'"]


def test_the_libraries_are_those_of_the_extra() -> None:
    extra = [line for line in requires("penstock") or () if 'extra == "gateway"' in line]
    names = {re.split(r"[^A-Za-z0-9_-]", line)[0].replace("-", "_") for line in extra} - {"penstock"}
    assert names == set(LIBRARIES), json.dumps(extra)
