"""`penstock person` with real processes: a worker killed in the middle, a queue that held the person, receipts."""

import json
import stat
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests import person_kit
from tests.person_kit import ADDRESS, keys_with, tables_with
from tests.system import BIN, Database, Penstock, WorkerProcess, wait_for

environment = person_kit.environment

FORM = {
    "title": "Visits",
    "purpose": "To plan visits",
    "legal_basis": "consent",
    "questions": [
        {"id": "name", "text": "Name", "type": "text", "required": True},
        {"id": "email", "text": "E-mail", "type": "email"},
    ],
}
THEIRS = {"answers": {"name": "Countess of Lovelace", "email": ADDRESS}}
OTHERS = {"answers": {"name": "Grace", "email": "grace@example.org"}}


@pytest.fixture(scope="module")
def scheduler(environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen([BIN / "penstock", "scheduler"], env=environment, stderr=subprocess.DEVNULL)
    yield
    process.terminate()
    process.wait(60)


@pytest.fixture(scope="module")
def form(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("forms") / "visits.json"
    file.write_text(json.dumps(FORM))
    assert penstock("forms", "apply", file).code == 0
    shown = penstock("forms", "show", "visits").out
    assert "purpose: To plan visits" in shown
    assert "legal basis: consent" in shown
    return "visits"


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def is_done(database: Database, request: str) -> bool:
    state = "SELECT state FROM penstock.person_data_requests WHERE request_id = %s"
    return bool(database.value(state, request) == "done")


def test_a_person_is_exported_corrected_and_erased(
    penstock: Penstock,
    start_worker: Callable[..., WorkerProcess],
    scheduler: None,
    form: str,
    database: Database,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    # A lease that ends soon: what the killed worker held is soon another's.
    worker = start_worker(PENSTOCK_LEASE_SECONDS="2").wait_until_ready()
    file = lines(tmp_path / "rows.jsonl", THEIRS, OTHERS, {"answers": {"email": ADDRESS}}, THEIRS)
    assert penstock("submit", form, file, "--batch-id", "b", "--wait").code == 0

    archive = tmp_path / "ada.zip"
    run = penstock(
        *("person", "export", "--email", "-", "--output", archive, "--reason", "request 1", "--json"),
        stdin=f" {ADDRESS.upper()}\n".encode(),
    )
    assert run.json["files"]["submissions.jsonl"]["records"] == 2
    assert run.json["files"]["rejections.jsonl"]["records"] == 1
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with zipfile.ZipFile(archive) as opened:
        assert ADDRESS.encode() in opened.read("submissions.jsonl")
        submission = json.loads(opened.read("submissions.jsonl").splitlines()[0])["submission_id"]

    answers = lines(tmp_path / "answers.json", {"name": "Ada King"})
    named = ("person", "correct", form, submission, answers, "--reason", "request 2", "--yes")
    run = penstock(*named)
    assert '"Countess of Lovelace" -> "Ada King"' in run.err
    assert penstock(*named, "--json").error["code"] == "SUBMISSION_CORRECTION_INVALID"

    with psycopg.connect(database.admin_url) as blocking:
        # The erasure takes the submissions out, and waits at the next table: there the worker is killed. (No lock that
        # would give this transaction a number, for which the erasure would wait before it begins.)
        blocking.execute("LOCK TABLE penstock.submission_rejections IN SHARE MODE")
        run = penstock("person", "erase", "--email", ADDRESS, "--reason", "request 3", "--yes", "--json")
        request = run.json["request_id"]
        at = "SELECT progress ->> 'phase' FROM penstock.person_data_requests WHERE request_id = %s"
        wait_for(lambda: database.value(at, request) == "rejections", "the submissions to be taken out")
        worker.kill()
    assert database.value("SELECT count(*) FROM penstock.submissions") == 1
    assert "submission_rejections" in tables_with(database, ADDRESS)
    second = start_worker(PENSTOCK_LEASE_SECONDS="2").wait_until_ready()
    wait_for(lambda: is_done(database, request), "its end")

    status = penstock("person", "status", request, "--json").json
    assert (status["counts"]["submissions"], status["counts"]["rejections"]) == (2, 1)
    assert status["receipt"]["digest"] == status["digest"]
    shown = penstock("batch", "show", "b", "--json").json
    assert (shown["rows"], shown["stored"], shown["rejected"], shown["erased"]) == (4, 1, 0, 3)
    listed = penstock("person", "list", "--json").json["items"]
    assert [one["kind"] for one in listed] == ["erase", "export"]
    namespace = environment["PENSTOCK_NAMESPACE"]
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        for value in (ADDRESS, "Ada King", "Countess"):
            assert tables_with(database, value) == []
            assert keys_with(client, namespace, value) == []
    second.stop()


def test_what_waits_in_a_queue_is_awaited_and_stored_without_the_person(
    penstock: Penstock,
    start_worker: Callable[..., WorkerProcess],
    scheduler: None,
    form: str,
    database: Database,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    # Only this kind is kept from running, before any worker is there: the erasure itself goes by the same queue.
    held = ("--kind", "submission_batch.write", "--reason", "a trial", "--yes")
    assert penstock("queue", "pause", *held).code == 0
    file = lines(tmp_path / "waiting.jsonl", THEIRS, OTHERS, THEIRS)
    assert penstock("submit", form, file, "--batch-id", "w").code == 0
    run = penstock("person", "erase", "--email", ADDRESS, "--reason", "request 4", "--yes", "--json")
    request = run.json["request_id"]
    start_worker().wait_until_ready()
    awaited = (
        "SELECT jsonb_array_length(progress -> 'awaited') FROM penstock.person_data_requests WHERE request_id = %s"
    )
    wait_for(lambda: database.value(awaited, request) == 1, "the erasure to await the batch")
    assert penstock("queue", "resume", *held).code == 0
    wait_for(lambda: is_done(database, request), "its end")
    counts = "SELECT stored, rejected, duplicates, erased FROM penstock.submission_batches WHERE batch_id LIKE 'w%%'"
    assert database.query(counts) == [(1, 0, 0, 2)]
    namespace = environment["PENSTOCK_NAMESPACE"]
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        assert tables_with(database, ADDRESS) == keys_with(client, namespace, ADDRESS) == []


def test_a_login_of_a_worker_may_not_ask(penstock: Penstock) -> None:
    run = penstock(
        *("person", "erase", "--email", ADDRESS, "--reason", "x", "--yes", "--json"),
        env={"PENSTOCK_MIGRATION_DATABASE_URL": None},
    )
    assert run.error["code"] == "STORAGE_PERMISSION_DENIED"
