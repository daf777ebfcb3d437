"""Mistakes of users and absent servers: a code, a remedy, exit code 1 or 2, nothing lost, nothing half-written."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests.recovery.servers import free_port
from tests.system import Database, Penstock, Run

FORM = {"title": "One question", "questions": [{"id": "q", "text": "What?", "type": "text"}]}


@pytest.fixture(scope="module", autouse=True)
def form(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("forms") / "f.json"
    path.write_text(json.dumps(FORM))
    assert penstock("forms", "apply", path).code == 0


@pytest.fixture(autouse=True)
def nothing_is_sent(redis_url: str, namespace: str) -> Iterator[None]:
    """No mistake may leave a job or a note behind."""
    with redis.Redis.from_url(redis_url) as client:
        before = set(client.scan_iter(match=f"{namespace}:*", count=1000))
        yield
        assert set(client.scan_iter(match=f"{namespace}:*", count=1000)) == before


@pytest.fixture
def nowhere() -> str:
    """The address of a port where nobody listens."""
    return f"127.0.0.1:{free_port()}"


def rows(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def refused(run: Run, code: str, exit_code: int = 1) -> str:
    assert (run.code, run.out) == (exit_code, ""), run.err
    assert run.error["code"] == code
    assert run.error["remedy"]
    assert "Traceback" not in run.err
    return str(run.error["message"])


GOOD = b'{"answers":{"q":"a"}}'


def test_no_such_file(penstock: Penstock) -> None:
    assert "none.jsonl" in refused(penstock("submit", "f", "none.jsonl", "--json"), "REQUEST_FILE_NOT_FOUND")
    assert "none.json" in refused(penstock("forms", "apply", "none.json", "--json"), "REQUEST_FILE_NOT_FOUND")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        pytest.param(b"{not json", "it is not JSON", id="not JSON"),
        pytest.param(b"[1]", "no object", id="a list"),
        pytest.param(b'{"answers":{"q":NaN}}', "it is not JSON", id="NaN"),
        pytest.param(b'{"answers":{"q":"\xff"}}', "it is not UTF-8", id="not UTF-8"),
        pytest.param(b'{"answers":{"q":' + b"[" * 100_000, "it is not JSON", id="too deep"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_sent(penstock: Penstock, tmp_path: Path, line: bytes, told: str) -> None:
    path = rows(tmp_path / "x.jsonl", *[GOOD] * 6, line, GOOD)
    message = refused(penstock("submit", "f", path, "--batch-size", "2", "--json"), "REQUEST_FILE_INVALID")
    assert message.startswith("line 7 of x.jsonl")
    assert told in message


def test_a_row_that_is_too_large_is_named(penstock: Penstock, tmp_path: Path) -> None:
    path = rows(tmp_path / "x.jsonl", GOOD, b'{"answers":{"q":"%s"}}' % (b"x" * 300_000))
    assert "line 2" in refused(penstock("submit", "f", path, "--json"), "SUBMISSION_TOO_LARGE")


def test_a_broken_gzip_file(penstock: Penstock, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD * 1)[:-9])
    assert "broken" in refused(penstock("submit", "f", path, "--json"), "REQUEST_FILE_INVALID")


def test_an_empty_file(penstock: Penstock, tmp_path: Path) -> None:
    refused(penstock("submit", "f", rows(tmp_path / "x.jsonl", b"", b"  "), "--json"), "BATCH_EMPTY")


def test_1001_rows_in_one_batch(penstock: Penstock, tmp_path: Path) -> None:
    path = rows(tmp_path / "x.jsonl", *[GOOD] * 1001)
    refused(penstock("submit", "f", path, "--batch-size", "1001", "--json"), "BATCH_TOO_LARGE")


def test_a_form_without_questions(penstock: Penstock, tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text('{"title": "Nothing", "questions": []}')
    assert "questions" in refused(penstock("forms", "apply", path, "--json"), "FORM_INVALID")
    refused(penstock("forms", "show", "empty", "--json"), "FORM_NOT_FOUND")


def test_a_form_that_is_not_there(penstock: Penstock, tmp_path: Path) -> None:
    refused(penstock("submit", "nope", rows(tmp_path / "x.jsonl", GOOD), "--json"), "FORM_NOT_FOUND")
    refused(penstock("forms", "show", "f", "--version", "9", "--json"), "FORM_VERSION_NOT_FOUND")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("submit", "f", "x", "--batch-id", "a/b"), "BATCH_ID_INVALID"),
        (("submit", "a/b", "x"), "FORM_ID_INVALID"),
        (("submit", "f", "x", "--tenant", "a b"), "REQUEST_TENANT_INVALID"),
        (("batch", "show", "unknown"), "BATCH_NOT_FOUND"),
    ],
)
def test_names_that_cannot_be(penstock: Penstock, tmp_path: Path, arguments: tuple[str, ...], code: str) -> None:
    path = rows(tmp_path / "x", GOOD)
    refused(penstock(*(path if part == "x" else part for part in arguments), "--json"), code)


@pytest.mark.parametrize(
    "arguments", [("submit",), ("nonsense",), ("submit", "f", "x", "--nonsense"), ("migrate", "down")]
)
def test_usage_is_exit_code_2(penstock: Penstock, arguments: tuple[str, ...]) -> None:
    assert refused(penstock(*arguments, "--json"), "REQUEST_USAGE", 2)


def test_redis_down(penstock: Penstock, tmp_path: Path, nowhere: str) -> None:
    path = rows(tmp_path / "x.jsonl", GOOD)
    run = penstock("submit", "f", path, "--json", env={"REDIS_URL": f"redis://{nowhere}/0"})
    refused(run, "QUEUE_UNAVAILABLE")


def test_redis_refuses_the_password(penstock: Penstock, tmp_path: Path, redis_url: str) -> None:
    wrong = re.sub(r":[^:@/]+@", ":hunter2@", redis_url)
    run = penstock("submit", "f", rows(tmp_path / "x.jsonl", GOOD), "--json", env={"REDIS_URL": wrong})
    assert "hunter2" not in refused(run, "QUEUE_REFUSED")


def test_postgresql_down(penstock: Penstock, tmp_path: Path, nowhere: str) -> None:
    path = rows(tmp_path / "x.jsonl", GOOD)
    away: dict[str, str | None] = {"DATABASE_URL": f"postgresql://u:hunter2@{nowhere}/x"}
    for arguments in (("submit", "f", path, "--wait"), ("forms", "list"), ("batch", "show", "b")):
        assert "hunter2" not in refused(penstock(*arguments, "--json", env=away), "STORAGE_UNAVAILABLE")


def test_a_role_that_may_not(penstock: Penstock, database: Database, tmp_path: Path) -> None:
    reader = psycopg.conninfo.conninfo_to_dict(database.admin_url)
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE only_reads LOGIN PASSWORD 'x' IN ROLE penstock_reader")
    try:
        url = f"postgresql://only_reads:x@{reader['host']}:{reader['port']}/{database.name}"
        path = tmp_path / "g.json"
        path.write_text(json.dumps(FORM))
        run = penstock("forms", "apply", path, "--json", env={"DATABASE_URL": url})
        refused(run, "STORAGE_PERMISSION_DENIED")
    finally:
        with psycopg.connect(database.admin_url, autocommit=True) as connection:
            connection.execute("DROP ROLE only_reads")


def test_no_server_is_named_and_none_runs_here(penstock: Penstock) -> None:
    message = refused(
        penstock("forms", "list", "--json", env={"DATABASE_URL": None, "REDIS_URL": None}), "CONFIG_INVALID"
    )
    assert "DATABASE_URL" in message
    assert "REDIS_URL" in message


def test_all_faults_of_the_settings_at_once(penstock: Penstock) -> None:
    wrong: dict[str, str | None] = {"PENSTOCK_WORKER_THREADS": "0", "PENSTOCK_FORM_CACHE": "maybe"}
    run = penstock("health", "--json", env=wrong)
    refused(run, "CONFIG_INVALID")
    assert set(run.error["details"]["settings"]) == set(wrong)
    worker = penstock("worker", env=wrong)
    assert worker.code == 1
    assert all(name in worker.err for name in wrong)


def test_a_person_reads_code_message_and_remedy(penstock: Penstock) -> None:
    run = penstock("batch", "show", "unknown")
    assert run.code == 1
    first, second = run.err.splitlines()
    assert first.startswith("BATCH_NOT_FOUND: ")
    assert second.startswith("  ")
