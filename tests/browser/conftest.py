"""A whole system as real processes, and Chromium in front of it."""

import json
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from penstock.producers import Producer, Submission, WriteSubmissionBatch
from penstock.schemas.limits import Limits
from tests.debian import require_program
from tests.recovery.servers import free_port
from tests.system import BIN, Penstock, WorkerProcess, wait_for

#: Screenshots of each page are left here.
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
PROCESSES = ("scheduler", "sidecar")
_ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
FORM = {"title": "Wildlife seen", "questions": [{"id": "species", "text": "What did you see?", "type": "text"}]}
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE = f"{SCRIPT}\"'{{{{7*7}}}}\u202etxt.exe\u202c\x07\x1b[31m\u200b"


# Not for the session: while it is open, this thread has a running event loop, in which others' tests can't have theirs.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; the tests are skipped where it is not."""
    path = require_program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def sidecar(
    environment: dict[str, str], penstock: Penstock, start_worker: Callable[..., WorkerProcess], tmp_path_factory: Any
) -> Iterator[str]:
    """The address of a system's sidecar: a worker and a scheduler run, and two forms are there."""
    folder = tmp_path_factory.mktemp("forms")
    (folder / "form.json").write_text(json.dumps(FORM))
    assert penstock("forms", "apply", folder / "form.json", "--id", "wildlife").code == 0
    start_worker().wait_until_ready()
    listen = f"127.0.0.1:{free_port()}"
    variables = environment | {"PENSTOCK_SIDECAR_LISTEN": listen}
    with (folder / "system.log").open("wb") as log:
        started = [subprocess.Popen([BIN / "penstock", name], env=variables, stderr=log) for name in PROCESSES]
    address = f"http://{listen}"
    try:
        wait_for(lambda: _answers(address), "the sidecar's first answer")
        yield address
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health/live", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


Send = Callable[..., None]


@pytest.fixture(scope="module")
def send(environment: dict[str, str], sidecar: str) -> Iterator[Send]:
    """Enqueues a batch of these answers, and waits until its letter is there."""
    with Producer.from_environment(environment) as producer:

        def run(batch_id: str, *texts: str, form: str = "wildlife-2026") -> None:
            rows = tuple(Submission(answers={"species": text}) for text in texts or ("a heron",))
            batch = WriteSubmissionBatch(form_id=form, batch_id=batch_id, submissions=rows)
            producer.enqueue(batch.encode(Limits(row_bytes=2_000_000)))
            wait_for(lambda: has_letter(sidecar, batch_id), f"the letter of {batch_id}")

        yield run


def has_letter(address: str, batch_id: str) -> bool:
    """Whether the pages' search finds a dead letter of a batch."""
    with urllib.request.urlopen(f"{address}/search?q={batch_id}", timeout=10) as answer:
        return "/dead-letters/" in answer.read().decode().partition("<main")[2]


@pytest.fixture
def page(chromium: Browser, sidecar: str) -> Iterator[Page]:
    """A fresh window; what a page's scripts complain of fails the test."""
    context = chromium.new_context(base_url=sidecar, viewport={"width": 1280, "height": 860})
    opened = watched(context.new_page())
    yield opened
    complaints = opened.complaints  # type: ignore[attr-defined]
    context.close()
    assert complaints == []


def watched(page: Page) -> Page:
    """The page, with a list of what went wrong on it: dialogs, errors of scripts, what its policy refused."""
    complaints: list[str] = []

    def dialog(shown: Any) -> None:
        complaints.append(f"dialog: {shown.message}")
        shown.dismiss()

    page.on("dialog", dialog)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("console", lambda told: complaints.append(told.text) if "Content Security Policy" in told.text else None)
    page.complaints = complaints  # type: ignore[attr-defined]
    return page
