"""A database worth backing up, and a fresh server to restore into."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from penstock.workers.embedded.binaries import postgres_install
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from tests.servers import FAST_SETTINGS
from tests.system import BIN, Database, Run

ROWS = 1_000_000 if os.environ.get("PENSTOCK_TEST_FULL") == "1" else 50_000

# Rows of 150 days, so of five partitions.
_SUBMISSIONS = """
INSERT INTO penstock.submissions
       (submitted_at, received_at, submission_id, form_key, batch_id, form_id, external_id, answers)
SELECT timestamptz '2026-07-01 00:00:00+00' + i * %s * interval '1 s', now(), gen_random_uuid(), 1,
       'batch-' || i / 1000, 'survey', 'row ' || i,
       jsonb_build_object('q1', md5(i::text), 'q2', i, 'q3', repeat(chr(228), i %% 50))
  FROM generate_series(1, %s) AS i
"""
# What a backup of any database has to cope with.
_ODD = """
CREATE TABLE public."t ""able" (t text, "ROW" float8, k bigint GENERATED ALWAYS AS IDENTITY,
    doubled float8 GENERATED ALWAYS AS ("ROW" * 2) STORED, at timestamptz DEFAULT now(), raw bytea, gone int);
ALTER TABLE public."t ""able" DROP COLUMN gone;
INSERT INTO public."t ""able" (t, "ROW", raw) VALUES
    ('same', 0.1, '\\x00ff'), ('same', 0.1, '\\x00ff'), (E'tab\\tline\\n\\\\.', 'NaN', NULL), (NULL, '-Infinity', '');
CREATE VIEW public.facts AS SELECT t FROM public."t ""able" WHERE t IS NOT NULL;
CREATE TABLE public.empty ();
"""


def fill(database: Database, rows: int) -> None:
    database.query("SELECT penstock.ensure_submissions_partition(month::date)"
                   " FROM generate_series(timestamp '2026-07-01', '2026-10-01', '1 month') AS month")  # fmt: skip
    database.query(_SUBMISSIONS, 150 * 86_400 / rows, rows)
    database.query(_ODD)
    database.query("ANALYZE")


@contextmanager
def fresh_postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A new server, with none of Penstock's roles."""
    with Home(folder) as home:
        server = EmbeddedPostgres(home, settings=FAST_SETTINGS)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def new_database(server: EmbeddedPostgres, name: str) -> str:
    """The URL of a new and empty database, as superuser."""
    admin = server.urls.admin
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    return admin.rpartition("/")[0] + f"/{name}"


def tools_with(folder: Path, pg_dump: str) -> Path:
    """A folder of tools whose pg_dump is this shell script; `$REAL` in it is the true one."""
    real = postgres_install() / "bin"
    folder.mkdir()
    (folder / "pg_restore").symlink_to(real / "pg_restore")
    script = folder / "pg_dump"
    script.write_text(f"#!/bin/bash\nREAL={real / 'pg_dump'}\n{pg_dump}\n")
    script.chmod(0o755)
    return folder


@dataclass(frozen=True, slots=True)
class Measured:
    """A command that has ended, and the most memory that its process took itself, in bytes."""

    run: Run
    peak: int


def run_measured(environment: dict[str, str], *arguments: str) -> Measured:
    process = subprocess.Popen(
        [BIN / "penstock", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    peak = 0
    # What the kernel counts for a child that has ended includes what its parent held when it was forked.
    while process.poll() is None:
        peak = max(peak, _high_water(process.pid))
        time.sleep(0.02)
    # Both are short: neither pipe filled.
    out, err = process.communicate()
    return Measured(Run(process.returncode, out.decode(), err.decode()), peak)


def _high_water(pid: int) -> int:
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def one(url: str, statement: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
    return row and row[0]


def code_of(run: Run) -> str:
    assert run.code == 1, run.out
    found: str = run.error["code"]
    return found


def copy_of(folder: Path, name: str, place: Path) -> Path:
    """A folder with a copy of one backup; returns its dump."""
    place.mkdir()
    for suffix in ("dump", "manifest"):
        shutil.copy(folder / f"{name}.{suffix}", place)
    return place / f"{name}.dump"
