"""Recovery to a named instant, by the settings that docs/backup.md gives: base backup, archived segments, mishap."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from penstock.migrations.runner import Migrator, require_current
from penstock.workers.embedded.binaries import postgres_install
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.private_files import write_private
from tests.system import wait_for

PAGE = (Path(__file__).parents[2] / "docs" / "backup.md").read_text("utf-8")

_ADD = """
INSERT INTO penstock.submissions
SELECT now(), now(), gen_random_uuid(), 1, %s, 'survey', NULL, '{}' FROM generate_series(1, %s)
"""


def settings_of_page(**replaced: str) -> dict[str, str]:
    """The settings of the page's blocks of configuration, with its folder and instant replaced by ours."""
    found: dict[str, str] = {}
    for block in re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL):
        for line in filter(None, map(str.strip, block.splitlines())):
            name, _, value = line.partition(" = ")
            found[name] = value.strip("'").replace("/archive", replaced["archive"])
    if "recovery_target_time" in replaced:
        return found | {"recovery_target_time": replaced["recovery_target_time"]}
    return {name: value for name, value in found.items() if not name.startswith(("recovery", "restore"))}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the server's user can reach, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-recovery-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def own_all(server: EmbeddedPostgres, folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        server._identity().own(path)


def scalar(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def add(url: str, batch: str, rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_ADD, (batch, rows))


def test_a_server_is_recovered_to_the_instant_before_a_mishap(place: Path) -> None:
    archive, base = place / "archive", place / "base"
    archive.mkdir()
    with Home(place / "first") as home:
        server = EmbeddedPostgres(home, settings=settings_of_page(archive=str(archive)))
        own_all(server, archive)
        url = server.start().admin
        try:
            Migrator(url).up()
            add(url, "before the base backup", 1_000)
            program = postgres_install() / "bin" / "pg_basebackup"
            take = [program, f"--dbname={url}", f"--pgdata={base}", "--checkpoint=fast"]
            subprocess.run(take, check=True, capture_output=True, timeout=120)
            add(url, "after it", 500)
            instant = scalar(url, "SELECT clock_timestamp()")
            assert isinstance(instant, datetime)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("DELETE FROM penstock.submissions")  # the mishap
            add(url, "too late", 7)
            segment = scalar(url, "SELECT pg_walfile_name(pg_switch_wal())")
            wait_for((archive / str(segment)).exists, "the last segment in the archive")
            assert scalar(url, "SELECT failed_count FROM pg_stat_archiver") == 0
            password = home.secret("postgres-admin")
        finally:
            server.stop()

    with Home(place / "second") as home:
        write_private(home.path / "secrets" / "postgres-admin", password + "\n")
        settings = settings_of_page(archive=str(archive), recovery_target_time=instant.isoformat())
        recovered = EmbeddedPostgres(home, settings=settings)
        shutil.copytree(base, recovered.folder / "data")
        (recovered.folder / "data" / "recovery.signal").touch()
        own_all(recovered, recovered.folder / "data")
        url = recovered.start().admin
        try:
            wait_for(lambda: scalar(url, "SELECT pg_is_in_recovery()") is False, "the end of the recovery")
            with psycopg.connect(url, autocommit=True) as connection:
                require_current(connection)
                counts = connection.execute(
                    "SELECT batch_id, count(*) FROM penstock.submissions GROUP BY 1 ORDER BY 1"
                ).fetchall()
            assert counts == [("after it", 500), ("before the base backup", 1_000)]
            add(url, "anew", 1)
        finally:
            recovered.stop()


def test_a_segment_in_the_archive_is_never_replaced(place: Path) -> None:
    command = settings_of_page(archive=str(place))["archive_command"]
    segment = place / "pg_wal_000000010000000000000001"
    segment.write_bytes(b"one")
    ours = command.replace("%p", str(segment)).replace("%f", "000000010000000000000001")

    def archived() -> int:
        return subprocess.run(["/bin/sh", "-c", ours], check=False).returncode

    assert (archived(), archived()) == (0, 0)
    segment.write_bytes(b"two")
    assert archived() != 0
    assert (place / "000000010000000000000001").read_bytes() == b"one"
