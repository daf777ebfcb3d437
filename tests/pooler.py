"""Debian's PgBouncer before a database, in transaction mode."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.debian import require_program
from tests.recovery.servers import free_port
from tests.system import PATIENCE_SECONDS, Database, wait_for

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
default_pool_size = {pool_size}
"""


@contextmanager
def pgbouncer(database: Database, *, pool_size: int = 3, settings: str = "") -> Iterator[str]:
    """Run one; the URL leads through it. `settings` are more lines of its configuration."""
    program = require_program("pgbouncer", "pgbouncer")
    # Not below pytest's folder, which is for its owner alone.
    folder, parts = Path(tempfile.mkdtemp(prefix="penstock-pooler-")), urlsplit(database.url)
    port = free_port()
    (folder / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        CONFIGURATION.format(
            name=database.name,
            host=parts.hostname,
            port=parts.port,
            listen_port=port,
            folder=folder,
            pool_size=pool_size,
        )
        + settings
    )
    process = subprocess.Popen(
        [program, "-q", folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL, **_as_nobody(folder)
    )
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
    try:
        wait_for(lambda: _answers(url), "PgBouncer")
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
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
