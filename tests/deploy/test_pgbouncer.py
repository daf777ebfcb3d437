"""The main job through Debian's PgBouncer with the configuration of deploy/kubernetes/pgbouncer."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from penstock.workers.demo import FORM_FILE, SUBMISSIONS_FILE
from tests.debian import require_program
from tests.deploy.kubernetes_kit import FOLDER, the
from tests.recovery.servers import free_port
from tests.system import Database, Penstock, WorkerProcess, wait_for


@pytest.fixture(scope="module")
def pooled(database: Database) -> Iterator[str]:
    """The URL that leads through it; addresses and paths are this machine's, and nothing else is changed."""
    program = require_program("pgbouncer", "pgbouncer")
    folder, parts, port = Path(tempfile.mkdtemp(prefix="penstock-pooler-")), urlsplit(database.url), free_port()
    text = (FOLDER / "pgbouncer" / "pgbouncer.ini").read_text()
    text = text.replace("/run/secrets/penstock-pgbouncer", str(folder))
    for line, here in {
        "listen_addr = *": "listen_addr = 127.0.0.1",
        "listen_port = 5432": f"listen_port = {port}",
    }.items():
        assert f"\n{line}\n" in text
        text = text.replace(f"\n{line}\n", f"\n{here}\n")
    (folder / "pgbouncer.ini").write_text(text)
    # As the example of docs/deployment.md has them.
    (folder / "databases.ini").write_text(f"[databases]\n{database.name} = host={parts.hostname} port={parts.port}\n")
    (folder / "userlist.txt").write_text(f'"{parts.username}" "{parts.password}"\n')
    identity = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, *folder.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        identity = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    log = (folder / "log").open("wb")
    process = subprocess.Popen([program, folder / "pgbouncer.ini"], stderr=log, **identity)
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        wait_for(answers, "PgBouncer")
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()
        shutil.rmtree(folder)


def test_the_main_job_goes_through_it(
    pooled: str, penstock: Penstock, start_worker: Callable[..., WorkerProcess], database: Database
) -> None:
    settings: dict[str, str] = the("production-pooled", "ConfigMap", "penstock-pool-settings")["data"]
    own: dict[str, str | None] = {"DATABASE_URL": pooled, **settings}
    start_worker(DATABASE_URL=pooled, **settings).wait_until_ready()
    assert penstock("forms", "apply", FORM_FILE, "--id", "strikes", env=own).code == 0
    done = penstock("submit", "strikes", SUBMISSIONS_FILE, "--batch-id", "first", "--wait", "--json", env=own)
    assert done.code == 0, done.err
    assert done.json["stored"] == 9_985
    assert database.value("SELECT count(*) FROM penstock.submissions") == 9_985
