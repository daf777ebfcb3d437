"""What docs/backup.md says of Redis after a restore: which jobs are named, and how what was lost comes back once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from penstock.producers import Producer, Submission, WriteSubmissionBatch
from penstock.workers.backup.keys import generate_key
from tests.conftest import BlankDatabase, create_database, drop_database
from tests.system import Database, Penstock, WorkerProcess, wait_for

FORM = {"title": "One question", "questions": [{"id": "q", "text": "What?", "type": "text"}]}
SERVICE = WriteSubmissionBatch(
    form_id="f",
    batch_id="service",
    submissions=tuple(Submission(answers={"q": f"of a service {number}"}) for number in range(20)),
)
COUNT = "SELECT count(*) FROM penstock.submissions"


@pytest.fixture(scope="module")
def environment(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("backups")
    return environment | {"PENSTOCK_BACKUP_KEY": generate_key("2026a"), "PENSTOCK_BACKUP_DIR": str(folder)}


@pytest.fixture
def blank() -> Iterator[BlankDatabase]:
    database = create_database()
    yield database
    drop_database(database)


def rows(folder: Path, name: str) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"answers": {"q": f"{name} {number}"}}) + "\n" for number in range(20)))
    return path


def test_what_was_done_since_the_backup_is_named_and_sent_again_is_stored_once(
    penstock: Penstock,
    start_worker: Callable[..., WorkerProcess],
    database: Database,
    blank: BlankDatabase,
    redis_url: str,
    namespace: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "f.json").write_text(json.dumps(FORM))
    assert penstock("forms", "apply", tmp_path / "f.json").code == 0
    worker = start_worker().wait_until_ready()
    files = {name: rows(tmp_path, name) for name in ("before", "since")}

    def send(name: str, **env: str) -> None:
        sent = penstock("submit", "f", files[name], "--batch-id", name, "--wait", "--json", env=dict(env))
        assert sent.code == 0, sent.err

    def is_known(used: str) -> bool:
        """Whether the batch of a service was known when it was sent."""
        with Producer(redis_url, namespace=used) as producer:
            return producer.enqueue(SERVICE).known

    send("before")
    name = penstock("backup", "create", "--json").json["name"]
    send("since")
    assert not is_known(namespace)
    wait_for(lambda: bool(database.value(COUNT) == 60), "the rows of the service")
    worker.stop()

    env: dict[str, str | None] = {"PENSTOCK_BACKUP_TARGET_DATABASE_URL": blank.admin_url}
    assert penstock("backup", "restore", name, "--yes", env=env).code == 0
    restored = Database(blank.name, blank.admin_url, urlsplit(database.url)._replace(path=f"/{blank.name}").geturl())
    assert restored.value(COUNT) == 20
    there = {"DATABASE_URL": restored.url, "PENSTOCK_MIGRATION_DATABASE_URL": restored.admin_url}

    start_worker(**there).wait_until_ready()
    found = penstock("reconcile", "--json", env=dict(there))
    assert found.code == 1
    assert found.out.count("it is done, and PostgreSQL has no effect under its id") == 2, found.out
    for again in files:
        send(again, **there)
    assert restored.value(COUNT) == 40
    # The same Redis answers a client that it is done.
    assert is_known(namespace)

    fresh = there | {"PENSTOCK_NAMESPACE": f"{namespace}-2"}
    start_worker(**fresh).wait_until_ready()
    assert not is_known(fresh["PENSTOCK_NAMESPACE"])
    wait_for(lambda: bool(restored.value(COUNT) == 60), "the rows of the service")
    for again in files:
        send(again, **fresh)
    assert restored.value(COUNT) == 60
    assert penstock("reconcile", "--json", env=dict(fresh)).code == 0
