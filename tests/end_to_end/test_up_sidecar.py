"""`penstock up` with its sidecar: pages and metrics of a whole system, from start to stop."""

import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import requires
from pathlib import Path

import httpx
import pytest

from penstock.workers.embedded.procfile import DEFAULT_PROCFILE, ProcessType, parse_procfile
from penstock.workers.embedded.sidecar_process import LIBRARIES, USUAL_PORT, place_sidecar
from tests.system import BIN, wait_for

PAGES = (
    "/",
    "/queues",
    "/dead-letters",
    "/dead-letters/list",
    "/replays",
    "/circuits",
    "/posts",
    "/audit",
    "/search?q=x",
)
#: PostgreSQL, Valkey, the migrations and all processes start within it, on a busy machine too.
PATIENCE_SECONDS = 120
SIDECAR = ProcessType("sidecar", ("penstock", "sidecar"))


@dataclass(slots=True)
class Up:
    """A running `penstock up`."""

    process: "subprocess.Popen[bytes]"
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())

    def text(self) -> str:
        """What it has said; all of it where it has ended."""
        if self.process.poll() is not None:
            self.reader.join(PATIENCE_SECONDS)
        return "\n".join(self.lines)

    def wait_for_line(self, pattern: str) -> "re.Match[str]":
        """The first line in which the pattern is."""
        found: list[re.Match[str]] = []

        def seen() -> bool:
            ended = self.process.poll() is not None
            found.extend(match for line in self.text().splitlines() if (match := re.search(pattern, line)))
            assert found or not ended, self.text()
            return bool(found)

        wait_for(seen, f"a line with {pattern!r}", PATIENCE_SECONDS)
        return found[0]


Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `penstock up` in a home of its own; kills what is left."""
    started: list[Up] = []

    def run(*arguments: str, **env: str) -> Up:
        variables = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(tmp_path), "PENSTOCK_HOME": str(tmp_path / "home")}
        process = subprocess.Popen(
            [BIN / "penstock", "up", *arguments],
            env=variables | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        up = Up(process)
        started.append(up)
        return up

    yield run
    for up in started:
        up.process.kill()
        up.process.wait()
        up.reader.join(10)
        assert up.process.stdout is not None
        up.process.stdout.close()


@pytest.fixture
def usual_port_taken() -> Iterator[None]:
    """Somebody listens on the usual port: this test, or who keeps it."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Another test's `up` gives it back; where something else has it for good, that is what is wanted.
        with suppress(AssertionError):
            wait_for(lambda: _takes(taken), "the usual port", 20)
        yield


def _takes(taken: socket.socket) -> bool:
    try:
        taken.bind(("127.0.0.1", USUAL_PORT))
        taken.listen()
    except OSError:
        return False
    return True


def assert_pages(up: Up) -> str:
    """The pages and metrics of a demonstration that is over, not at the usual port; returns the address."""
    address = up.wait_for_line(r"the operators' pages: (http://127\.0\.0\.1:(\d+)/)$")
    url, port = address[1], int(address[2])
    assert port != USUAL_PORT
    up.wait_for_line(rf"In a browser: {re.escape(url)}$")
    with httpx.Client(base_url=url, timeout=60) as browser:
        assert browser.get("/health/ready").status_code == 200
        wait_for(lambda: _done(browser, "submissions") == 10, "the metrics of the worker")
        for path in PAGES:
            answer = browser.get(path, headers={"Accept": "text/html"})
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), path
        metrics = browser.get("/metrics").text
        assert all(f'penstock_processes{{process="{name}"}} 1.0' in metrics for name in ("worker", "scheduler"))
        # The demonstration's bad rows are rejections of good jobs: nothing dies.
        assert browser.get("/api/v1/dead-letters?state=any").json()["items"] == []
    return url


def _done(browser: httpx.Client, queue: str) -> float:
    lines = browser.get("/metrics").text.splitlines()
    done = [line for line in lines if line.startswith("penstock_jobs_finished_total{") and 'outcome="done"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in done if f'queue="{queue}"' in line)


def place(environment: dict[str, str], told: list[str]) -> tuple[list[ProcessType], dict[str, str], str | None]:
    return place_sidecar(parse_procfile(DEFAULT_PROCFILE), environment, told.append)


def test_an_address_of_ones_own_is_kept() -> None:
    told: list[str] = []
    kinds, environment, pages = place({"PENSTOCK_SIDECAR_LISTEN": "0.0.0.0:8080", "X": "y"}, told)
    assert SIDECAR in kinds
    assert environment == {"PENSTOCK_SIDECAR_LISTEN": "0.0.0.0:8080", "X": "y"}
    assert (pages, told) == ("http://127.0.0.1:8080/", [])


def test_a_free_usual_port_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.workers.embedded.ports.is_free", lambda port: port == USUAL_PORT)
    _, environment, pages = place({}, [])
    assert environment == {"PENSTOCK_SIDECAR_LISTEN": f"127.0.0.1:{USUAL_PORT}"}
    assert pages == f"http://127.0.0.1:{USUAL_PORT}/"


def test_a_procfile_without_it_has_no_pages() -> None:
    kinds = parse_procfile("worker: penstock worker\n")
    assert place_sidecar(kinds, {}, lambda _: None) == (list(kinds), {}, None)


def test_without_its_libraries_it_is_left_out_and_that_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "penstock.workers.embedded.sidecar_process.find_spec", lambda name: None if name == "fastapi" else 1
    )
    told: list[str] = []
    kinds, environment, pages = place({}, told)
    assert [kind.name for kind in kinds] == ["gateway", "worker", "scheduler"]
    assert (environment, pages) == ({}, None)
    assert told == ["the sidecar is not started, since fastapi is not installed: pip install 'penstock[sidecar]'"]


def test_the_libraries_are_those_of_the_extra() -> None:
    extra = {re.split(r"[^a-z0-9_-]", line)[0] for line in requires("penstock") or () if 'extra == "sidecar"' in line}
    assert {name.replace("-", "_") for name in extra} - {"penstock"} == set(LIBRARIES)
