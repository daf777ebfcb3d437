"""Every process of Penstock at work, each with a login of its own that has one role and no more."""

import json
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
from cryptography.fernet import Fernet
from psycopg import sql

from tests.recovery.servers import free_port
from tests.recovery.stand_in_process import StandInProcess
from tests.system import BIN, Database, Run, wait_for

#: Migrates: may make roles, and objects in this database.
DEPLOYER = "deployer"
#: Each other login and its one role.
LOGINS: Mapping[str, str] = {
    "of_workers": "penstock_worker",
    "of_schedulers": "penstock_worker",
    "of_gateways": "penstock_worker",
    "of_sidecars": "penstock_worker",
    "of_operators": "penstock_worker",
    "of_reports": "penstock_reader",
    "of_a_shop": "penstock_producer",
}
FORM = {"title": "One question", "questions": [{"id": "q", "text": "What?", "type": "text"}]}
_PROCESSES = ("worker", "scheduler", "gateway", "sidecar")
ENQUEUE = "SELECT penstock.enqueue('submission_batch.write', %s::jsonb, idempotency_key => %s)"


@dataclass
class RolesSystem:
    """The running processes. `url_of` gives a login's URL; `database` is seen as superuser."""

    admin_url: str
    url_of: Callable[[str], str]
    environment: dict[str, str]
    folder: Path
    stand_in: StandInProcess
    gateway: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    sidecar: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")

    @property
    def database(self) -> Database:
        """The database; its `url` is a worker's."""
        return Database("penstock", self.admin_url, self.url_of("of_workers"))

    def environment_of(self, login: str) -> dict[str, str]:
        """The environment of a process with that login and no other."""
        return self.environment | {
            "DATABASE_URL": self.url_of(login),
            "PENSTOCK_GATEWAY_LISTEN": self.gateway,
            "PENSTOCK_SIDECAR_LISTEN": self.sidecar,
        }

    def run(self, login: str, *arguments: str | Path, stdin: bytes | None = None) -> Run:
        """Run a command with that login; it must succeed."""
        done = subprocess.run(
            [BIN / "penstock", *map(str, arguments)],
            check=False,
            env=self.environment_of(login),
            input=stdin,
            capture_output=True,
            timeout=120,
        )
        run = Run(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert run.code == 0, run.out + run.err
        return run

    def file(self, *lines: Mapping[str, Any]) -> Path:
        """A file of JSON lines."""
        path = self.folder / f"{uuid.uuid4()}.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return path

    def enqueue(self, form_id: str, batch_id: str) -> None:
        """As somebody else's program does it, in a transaction of its own."""
        payload = {"form_id": form_id, "batch_id": batch_id, "submissions": [{"answers": {"q": "from a shop"}}]}
        with psycopg.connect(self.url_of("of_a_shop")) as connection:
            connection.execute(ENQUEUE, (json.dumps(payload), batch_id))

    def wait_until_stored(self, batch_id: str, rows: int) -> None:
        """Wait until the batch has its ledger row; all of its rows must be there."""
        stored = "SELECT stored FROM penstock.submission_batches WHERE batch_id = %s"
        wait_for(lambda: self.database.query(stored, batch_id) != [], f"batch {batch_id}")
        assert self.database.value(stored, batch_id) == rows
        count = "SELECT count(*) FROM penstock.submissions WHERE batch_id = %s"
        assert self.database.value(count, batch_id) == rows


@contextmanager
def running(
    admin_url: str, url_of: Callable[[str], str], environment: dict[str, str], folder: Path
) -> Iterator[RolesSystem]:
    """Migrate an empty database as its deployer, then run every process; each must end cleanly.

    Args:
        admin_url: a superuser's, who makes the logins and looks at what became of all.
        url_of: a login's URL. It may be asked before there is such a login.
        environment: names Redis and a namespace.
        folder: for logs and files.
    """
    with StandInProcess() as stand_in:
        own = {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "HOME": str(folder),
            "PENSTOCK_HOME": str(folder / "home"),
            "PENSTOCK_POOL_MIN": "1",
            "PENSTOCK_OUTBOX_SWEEP_SECONDS": "5",
            "PENSTOCK_MASTODON_URL": f"{stand_in.url}/mastodon",
            "PENSTOCK_TOKEN_KEYS": f"k1:{Fernet.generate_key().decode()}",
        }
        system = RolesSystem(admin_url, url_of, own | environment, folder, stand_in)
        _migrate(system)
        processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        try:
            processes.extend((command, _start(system, command)) for command in _PROCESSES)
            for command in ("worker", "scheduler", "gateway"):
                log = folder / command
                wait_for(partial(_says_ready, log), f"{command}: {log}")
            wait_for(lambda: _is_ready(f"http://{system.sidecar}/health/ready"), "the sidecar")
            yield system
        finally:
            for _, process in processes:
                process.send_signal(signal.SIGTERM)
            codes = {command: process.wait(60) for command, process in processes}
        assert codes == dict.fromkeys(codes, 0), "\n".join((folder / name).read_text()[-2_000:] for name in codes)


def _migrate(system: RolesSystem) -> None:
    with psycopg.connect(system.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {DEPLOYER} LOGIN CREATEROLE PASSWORD '{DEPLOYER}'".encode())
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, sql.Identifier(DEPLOYER)))
        system.run(DEPLOYER, "migrate", "up")
        for login, role in LOGINS.items():
            connection.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{login}' IN ROLE {role}".encode())


def _start(system: RolesSystem, command: str) -> "subprocess.Popen[bytes]":
    with (system.folder / command).open("wb") as log:
        return subprocess.Popen(
            [BIN / "penstock", command], env=system.environment_of(f"of_{command}s"), stdout=log, stderr=log
        )


def _says_ready(log: Path) -> bool:
    return b"is ready" in log.read_bytes()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


# What the whole does. Each may run before or after any other, and more than once.


def store_over_http(system: RolesSystem) -> None:
    """A form and its submissions come in through the gateway, and are read there by their batch."""
    form_id = f"http-{uuid.uuid4()}"
    with httpx.Client(base_url=f"http://{system.gateway}/v1", timeout=30) as client:
        assert client.put(f"/forms/{form_id}", json=FORM).status_code in {200, 201}
        rows = [{"answers": {"q": f"row {number}"}} for number in range(100)] + [{"answers": {"q": 7}}]
        key = {"Idempotency-Key": form_id}
        for _ in range(2):
            sent = client.post(f"/forms/{form_id}/submissions", json={"submissions": rows}, headers=key)
            assert sent.status_code == 202, sent.text
        batch_id = f"{form_id}-0001"
        system.wait_until_stored(batch_id, 100)
        shown = client.get(f"/batches/{batch_id}").json()
        assert (shown["stored"], shown["rejected"]) == (100, 1)
        (rejection,) = client.get(f"/batches/{batch_id}/rejections").json()["items"]
        assert rejection["position"] == 100
    told = system.run("of_reports", "batch", "show", batch_id, "--json").json
    assert (told["stored"], told["rejected"]) == (100, 1)


def submit_a_file(system: RolesSystem) -> None:
    """An operator applies a form, and submits a file to the end."""
    form, form_id = system.folder / "form.json", f"file-{uuid.uuid4()}"
    form.write_text(json.dumps(FORM))
    system.run("of_operators", "forms", "apply", form, "--id", form_id)
    rows = system.file(*({"answers": {"q": f"row {number}"}} for number in range(2_500)))
    for stored in (2_500, 0):
        end = system.run("of_operators", "submit", form_id, rows, "--batch-id", form_id, "--wait", "--json").json
        assert (end["batches"], end["stored"], end["duplicates"]) == (3, stored, 2_500 - stored), end
    count = "SELECT count(*) FROM penstock.submissions WHERE form_id = %s"
    assert system.database.value(count, form_id) == 2_500


def relay_the_outbox(system: RolesSystem) -> None:
    """Somebody else's transaction enqueues a job: nothing where it rolls back."""
    form, form_id = system.folder / "form.json", f"shop-{uuid.uuid4()}"
    form.write_text(json.dumps(FORM))
    system.run("of_operators", "forms", "apply", form, "--id", form_id)
    with psycopg.connect(system.url_of("of_a_shop")) as connection:
        connection.execute(ENQUEUE, (json.dumps({"form_id": form_id, "batch_id": "x", "submissions": []}), "undone"))
        connection.rollback()
    system.enqueue(form_id, form_id)
    system.wait_until_stored(form_id, 1)
    wait_for(lambda: system.database.value("SELECT count(*) FROM penstock.outbox") == 0, "the sweep")


def requeue_a_dead_letter(system: RolesSystem) -> None:
    """A job dies of a form that is not there, and is done when it is requeued; the audit tells who did that."""
    form, form_id = system.folder / "form.json", f"late-{uuid.uuid4()}"
    form.write_text(json.dumps(FORM))
    system.enqueue(form_id, form_id)
    letters = "SELECT dead_id::text FROM penstock.dead_letters WHERE form_id = %s AND state = 'open'"
    wait_for(lambda: system.database.query(letters, form_id) != [], "the dead letter")
    letter = system.database.value(letters, form_id)
    listed = httpx.get(f"http://{system.sidecar}/api/v1/dead-letters?form={form_id}", timeout=20)
    assert [item["id"] for item in listed.json()["items"]] == [letter]
    system.run("of_operators", "forms", "apply", form, "--id", form_id)
    why = ("--reason", "the form is there now", "--yes", "--wait", "--json")
    assert system.run("of_operators", "dead", "requeue", letter, *why).json["requeued"] == [letter]
    system.wait_until_stored(form_id, 1)
    audit = "SELECT count(*) FROM penstock.operator_actions WHERE reason = 'the form is there now' AND target = %s"
    wait_for(lambda: system.database.value(audit, letter) >= 1, "the audit")


def publish_a_post(system: RolesSystem) -> None:
    """An account is added, a post is scheduled, and goes out once at its instant; the attempt is recorded."""
    name = f"press-{uuid.uuid4()}"
    added = system.run(
        "of_operators", "accounts", "add", "mastodon", name, "--name", name, "--owner", "press", "--reason", "a test",
        "--json", stdin=f"{name}.0\n".encode(),
    ).json  # fmt: skip
    due_at = datetime.now(UTC) + timedelta(seconds=3)
    line = {"account": added["account_id"], "due_at": due_at.isoformat(), "text": f"Hello from {name}"}
    system.run("of_operators", "posts", "schedule", system.file(line), "--wait")
    state = "SELECT state, published_at >= due_at FROM penstock.scheduled_posts WHERE account_id = %s"
    wait_for(lambda: system.database.query(state, added["account_id"]) == [("published", True)], "the post")
    assert len(system.stand_in.publications(name)) == 1
    attempts = "SELECT count(*) FROM penstock.publish_attempts WHERE account_id = %s"
    assert system.database.value(attempts, added["account_id"]) >= 1


def act_through_the_sidecar(system: RolesSystem) -> None:
    """An operator pauses a queue and lets it go on; both stand in the audit."""
    reason = f"a test {uuid.uuid4()}"
    with httpx.Client(base_url=f"http://{system.sidecar}", timeout=20) as client:
        for verb in ("pause", "resume"):
            answer = client.post(f"/api/v1/queues/posts/{verb}", json={"reason": reason})
            assert answer.status_code == 200, answer.text
        assert "penstock_dead_letters" in client.get("/metrics").text
        report = client.get("/health").json()
    checks = {check["name"]: check for check in report["checks"]}
    # A test's Redis may be slow, or flush nothing to disk: a warning is no fault of the login.
    assert checks["postgresql"]["status"] == checks["schema"]["status"] == "HEALTHY", checks
    assert checks["redis"]["status"] != "CRITICAL", checks
    audit = "SELECT count(*) FROM penstock.operator_actions WHERE reason = %s"
    wait_for(lambda: system.database.value(audit, reason) == 2, "the audit")


def account_for_everything(system: RolesSystem) -> None:
    """No job is in no place or in two, and the schema and its rights are as the migrations made them."""
    told = system.run("of_operators", "reconcile", "--json").json
    assert told["unaccounted"] == [] or told["unaccounted"] == 0, told
    assert system.run("of_reports", "migrate", "verify", "--json").json["verified"] is True


DEEDS = (
    store_over_http,
    submit_a_file,
    relay_the_outbox,
    requeue_a_dead_letter,
    publish_a_post,
    act_through_the_sidecar,
    account_for_everything,
)
