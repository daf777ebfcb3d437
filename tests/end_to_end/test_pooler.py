"""The main job through PgBouncer in transaction mode, which Debian's release runs without prepared statements."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from penstock.workers.demo import FORM_FILE, SUBMISSIONS_FILE
from tests.debian import require_program
from tests.system import Database, Penstock, WorkerProcess, wait_for

CONFIGURATION = """\
[databases]
{name} = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture(scope="module")
def pooler(database: Database) -> Iterator[str]:
    """The URL of a PgBouncer before the module's database."""
    program = require_program("pgbouncer", "pgbouncer")
    # Not below pytest's folder, which is for its owner alone.
    folder, parts = Path(tempfile.mkdtemp(prefix="penstock-pooler-")), urlsplit(database.url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        CONFIGURATION.format(name=database.name, host=parts.hostname, port=parts.port, listen_port=port, folder=folder)
    )
    process = subprocess.Popen(
        [program, "-q", folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL, **_as_nobody(folder)
    )
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
    wait_for(lambda: _answers(url), "PgBouncer")
    yield url
    process.terminate()
    process.wait(10)
    shutil.rmtree(folder)


def _as_nobody(folder: Path) -> dict[str, int]:
    """PgBouncer refuses to run as root; whom to run it as, who can then read its folder."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    for path in (folder, *folder.iterdir()):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_the_main_job_through_a_pooler(
    pooler: str, penstock: Penstock, start_worker: Callable[..., WorkerProcess], database: Database, tmp_path: Path
) -> None:
    pooled: dict[str, str | None] = {"DATABASE_URL": pooler, "PENSTOCK_PREPARE_STATEMENTS": "off"}
    worker = start_worker(DATABASE_URL=pooler, PENSTOCK_PREPARE_STATEMENTS="off").wait_until_ready()
    assert penstock("forms", "apply", FORM_FILE, "--id", "strikes", env=pooled).code == 0
    for batch in ("first", "first", "second"):
        run = penstock("submit", "strikes", SUBMISSIONS_FILE, "--batch-id", batch, "--wait", "--json", env=pooled)
        assert run.code == 0, run.err
    assert run.json["stored"] == 9_985
    assert database.value("SELECT count(*) FROM penstock.submissions") == 2 * 9_985
    assert penstock("batch", "show", "second", "--rejections", "--json", env=pooled).json["rejected"] == 15
    assert penstock("health", "--json", env=pooled).code == 0
    # A pooler passes no event on. The worker knows it, and uses a new version within seconds all the same.
    wait_for(lambda: any("events of forms do not arrive" in line for line in worker.lines), "the worker's warning")
    changed = json.loads(FORM_FILE.read_bytes())
    changed["questions"][6]["options"] += ["B", "C"]
    (tmp_path / "form.json").write_text(json.dumps(changed))
    assert penstock("forms", "apply", tmp_path / "form.json", "--id", "strikes", env=pooled).code == 0
    attempts = iter(range(100))

    def stores_all() -> bool:
        name = f"later-{next(attempts)}"
        run = penstock("submit", "strikes", SUBMISSIONS_FILE, "--batch-id", name, "--wait", "--json", env=pooled)
        return bool(run.json["stored"] == 10_000)

    wait_for(stores_all, "the new version", seconds=20)
