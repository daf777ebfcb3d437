"""`penstock submit` as people use it: pipes, interruptions, no worker, a terminal."""

import gzip
import json
import os
import pty
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system import BIN, Database, Penstock, WorkerProcess

FORM = {"title": "One question", "questions": [{"id": "q", "text": "What?", "type": "text"}]}
LINES = b"".join(b'{"answers":{"q":"row %d"}}\n' % number for number in range(250))


@pytest.fixture(scope="module", autouse=True)
def form(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("forms") / "f.json"
    path.write_text(json.dumps(FORM))
    assert penstock("forms", "apply", path).code == 0


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES)
    return path


def test_without_a_worker_the_wait_ends_and_the_work_stays(penstock: Penstock, rows: Path) -> None:
    run = penstock("submit", "f", rows, "--batch-id", "waiting", "--wait-seconds", "0.3", "--json")
    assert (run.code, run.error["code"]) == (1, "REQUEST_TIMEOUT")
    shown = penstock("batch", "show", "waiting", "--json").json
    assert shown["state"] == "ready"


def test_a_made_up_batch_id_is_told(penstock: Penstock, rows: Path) -> None:
    told = penstock("submit", "f", rows, "--json").json
    assert (told["batches"], told["rows"], told["durability"]) == (1, 250, "redis")
    assert re.fullmatch(r"batch-[0-9a-f-]{36}", told["batch_id"])


def test_the_same_command_continues_an_interrupted_one(
    penstock: Penstock, rows: Path, start_worker: Callable[..., WorkerProcess], database: Database
) -> None:
    # The run above gave up waiting; its batch is in the queue. Nothing of it may be there twice.
    start_worker().wait_until_ready()
    run = penstock("submit", "f", rows, "--batch-id", "waiting", "--wait", "--json")
    assert run.code == 0
    assert run.json["stored"] + run.json["duplicates"] == 250
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE batch_id LIKE 'waiting-%%'") == 250


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_standard_input(penstock: Penstock, compressed: bool) -> None:
    sent = gzip.compress(LINES) if compressed else LINES
    name = f"pipe-{compressed}"
    run = penstock("submit", "f", "-", "--batch-id", name, "--batch-size", "100", "--wait", "--json", stdin=sent)
    assert (run.json["batches"], run.json["stored"]) == (3, 250)


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(penstock: Penstock, tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"))
    assert penstock("submit", "f", path, "--batch-id", "windows", "--wait", "--json").json["stored"] == 250


def test_an_unpaired_surrogate_is_for_the_worker_to_reject(penstock: Penstock, tmp_path: Path) -> None:
    path = tmp_path / "surrogate.jsonl"
    path.write_bytes(b'{"answers":{"q":"\\ud800"}}\n{"answers":{"q":"good"}}\n')
    run = penstock("submit", "f", path, "--batch-id", "surrogate", "--wait", "--json")
    assert (run.json["stored"], run.json["rejected"]) == (1, 1)
    again = penstock("submit", "f", path, "--batch-id", "surrogate", "--wait", "--json")
    assert again.json["duplicates"] == 2
    (rejected,) = penstock("batch", "show", "surrogate", "--rejections", "--json").json["rejections"]["items"]
    assert rejected["content"] == {"answers": {"q": "\ud800"}}
    assert rejected["faults"][0]["code"] == "ANSWER_TEXT_UNSTORABLE"


def test_a_terminal_shows_progress_and_a_pipe_does_not(
    penstock: Penstock, rows: Path, environment: dict[str, str]
) -> None:
    command = [BIN / "penstock", "submit", "f", str(rows), "--batch-size", "10", "--wait", "--batch-id"]
    ours, theirs = pty.openpty()
    on_terminal = subprocess.run([*command, "tty"], env=environment, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 1_000_000).decode()
    os.close(ours)
    assert "sending" in shown
    assert "250 of 250" in shown
    assert b"250 stored" in on_terminal.stdout
    piped = penstock("submit", "f", rows, "--batch-size", "10", "--wait", "--batch-id", "piped")
    assert (piped.code, piped.err) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [(), ("up",), ("worker",), ("migrate",), ("migrate", "up"), ("migrate", "down"), ("migrate", "status"),
     ("migrate", "verify"), ("forms",), ("forms", "apply"), ("forms", "list"), ("forms", "show"), ("submit",),
     ("batch",), ("batch", "show"), ("batch", "replay-rejections"), ("health",), ("schemas",)],
    ids=" ".join,
)  # fmt: skip
def test_every_command_has_help_with_an_example(penstock: Penstock, arguments: tuple[str, ...]) -> None:
    run = penstock(*arguments, "--help")
    assert run.code == 0
    assert "Example: " in run.out
