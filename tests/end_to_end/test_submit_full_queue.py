"""`penstock submit` and a full queue: it says that it waits, goes on when there is room, and gives up when asked to."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system import BIN, PATIENCE_SECONDS, Database, Penstock, WorkerProcess

FORM = {"title": "One question", "questions": [{"id": "q", "text": "What?", "type": "text"}]}
LIMIT = {"PENSTOCK_QUEUE_LIMIT_JOBS": "2"}
BATCHES, ROWS = 6, 60


@pytest.fixture(scope="module", autouse=True)
def form(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("forms") / "f.json"
    path.write_text(json.dumps(FORM))
    assert penstock("forms", "apply", path).code == 0


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(b'{"answers":{"q":"row %d"}}\n' % number for number in range(ROWS)))
    return path


def test_it_gives_up_after_the_time_that_was_asked_for(penstock: Penstock, rows: Path) -> None:
    command = ("submit", "f", rows, "--batch-id", "full", "--batch-size", "10", "--json")
    run = penstock(*command, "--room-seconds", "0.2", env=dict(LIMIT))
    assert (run.code, run.error["code"]) == (1, "QUEUE_FULL")
    assert "PENSTOCK_QUEUE_LIMIT_JOBS is 2" in run.error["message"]
    # What was sent is in the queue, and the next test goes on with it.
    (queue,) = [one for one in penstock("queue", "list", "--json").json["items"] if one["queue"] == "submissions"]
    assert (queue["ready"], queue["accepted"]) == (2, 2)


def test_it_waits_says_so_and_goes_on(
    rows: Path, environment: dict[str, str], start_worker: Callable[..., WorkerProcess], database: Database
) -> None:
    command = [BIN / "penstock", "submit", "f", rows, "--batch-id", "full", "--batch-size", "10", "--wait"]
    with subprocess.Popen(
        command, env=environment | LIMIT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as submit:
        assert submit.stderr is not None
        said = submit.stderr.readline()
        assert "PENSTOCK_QUEUE_LIMIT_JOBS is 2: waiting for room, next try in" in said
        start_worker().wait_until_ready()
        out, _ = submit.communicate(timeout=PATIENCE_SECONDS)
    assert submit.returncode == 0
    assert f"{ROWS} stored" in out
    assert database.value("SELECT count(*) FROM penstock.submission_batches WHERE base_batch_id = 'full'") == BATCHES
    assert database.value("SELECT count(*) FROM penstock.submissions") == ROWS
