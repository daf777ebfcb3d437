"""Migrations that run outside a transaction: noted before and after, and finished by the next `up` if interrupted."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from penstock.migrations.runner import Migrator, require_current
from penstock.migrations.session import LOCK_KEY
from penstock.schemas.errors import Code, PenstockError
from tests.migrations.conftest import add_migration

UP = """-- penstock: no transaction
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS base_batches_size_idx ON penstock.base_batches (batch_size);
"""
DOWN = """-- penstock: no transaction
DROP INDEX CONCURRENTLY IF EXISTS penstock.base_batches_size_idx;
"""


@pytest.fixture
def version(folder: Path) -> int:
    return add_migration(folder, "size_index", UP, DOWN)


def index_is_valid(url: str) -> bool | None:
    """None where there is no index."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('penstock.base_batches_size_idx')"
        ).fetchone()
    return None if row is None else bool(row[0])


def state(url: str, folder: Path, version: int) -> str:
    return {entry.version: str(entry.state) for entry in Migrator(url, folder).status()}[version]


def insert_sizes(url: str, *ids: str) -> None:
    """Rows of one size: the unique index can't be built on two."""
    with psycopg.connect(url) as connection:
        for base_batch_id in ids:
            connection.execute("INSERT INTO penstock.base_batches VALUES ('default', %s, 1, 1)", (base_batch_id,))


def test_it_goes_up_and_down_and_up(url: str, folder: Path, version: int) -> None:
    migrator = Migrator(url, folder)
    for _ in range(2):
        migrator.up()
        assert state(url, folder, version) == "applied"
        assert index_is_valid(url) is True
        migrator.down(version - 1)
        assert state(url, folder, version) == "pending"
        assert index_is_valid(url) is None


def test_it_belongs_to_the_owner_and_leaves_no_role_behind(url: str, folder: Path, version: int) -> None:
    Migrator(url, folder).up()
    with psycopg.connect(url) as connection:
        owner = connection.execute(
            "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'base_batches_size_idx'"
        ).fetchone()
    assert owner == ("penstock_owner",)


def test_a_failed_one_is_finished_by_the_next_up(url: str, folder: Path, version: int) -> None:
    migrator = Migrator(url, folder)
    migrator.up(version - 1)
    insert_sizes(url, "a", "b")
    with pytest.raises(PenstockError, match=r"_size_index\.up\.sql: could not create unique index") as caught:
        migrator.up()
    assert caught.value.code is Code.STORAGE_MIGRATION_FAILED
    assert state(url, folder, version) == "started"
    assert index_is_valid(url) is False
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM penstock.base_batches WHERE base_batch_id = 'b'")
    assert [applied.version for applied in migrator.up()] == [version]
    assert state(url, folder, version) == "applied"
    assert index_is_valid(url) is True


def test_one_that_ended_without_its_note_is_noted_by_the_next_up(url: str, folder: Path, version: int) -> None:
    migrator = Migrator(url, folder)
    migrator.up()
    set_started(url, version)
    assert [applied.version for applied in migrator.up()] == [version]
    assert state(url, folder, version) == "applied"
    assert index_is_valid(url) is True


def test_a_started_one_can_be_reverted(url: str, folder: Path, version: int) -> None:
    migrator = Migrator(url, folder)
    migrator.up(version - 1)
    insert_sizes(url, "a", "b")
    with pytest.raises(PenstockError):
        migrator.up()
    assert [reverted.version for reverted in migrator.down(version - 1)] == [version]
    assert state(url, folder, version) == "pending"
    assert index_is_valid(url) is None


def test_a_corrected_file_replaces_the_one_that_was_started(url: str, folder: Path, version: int) -> None:
    migrator = Migrator(url, folder)
    migrator.up(version - 1)
    insert_sizes(url, "a", "b")
    with pytest.raises(PenstockError):
        migrator.up()
    (folder / f"{version:04d}_size_index.up.sql").write_text(UP.replace("UNIQUE ", ""))
    migrator.up()
    migrator.verify()
    assert index_is_valid(url) is True


def test_an_invalid_index_that_it_does_not_name_is_let_be(url: str, folder: Path, version: int) -> None:
    migrator = Migrator(url, folder)
    migrator.up(version - 1)
    insert_sizes(url, "a", "b")
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY somebody_elses_idx ON penstock.base_batches (batch_size)"
            )
        connection.execute("DELETE FROM penstock.base_batches WHERE base_batch_id = 'b'")
        migrator.up()
        assert connection.execute("SELECT to_regclass('penstock.somebody_elses_idx') IS NOT NULL").fetchone() == (True,)
    assert index_is_valid(url) is True


def test_a_process_that_waits_for_its_turn_does_not_hold_it_up(url: str, folder: Path, version: int) -> None:
    Migrator(url, folder).up(version - 1)
    results: list[int] = []
    with psycopg.connect(url, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s, %s)", LOCK_KEY)
        threads = [threading.Thread(target=lambda: results.append(len(Migrator(url, folder).up()))) for _ in range(2)]
        for thread in threads:
            thread.start()
        gate.execute("SELECT pg_advisory_unlock(%s, %s)", LOCK_KEY)
        for thread in threads:
            thread.join(timeout=30)
    assert sorted(results) == [0, 1]
    assert index_is_valid(url) is True


def test_one_whose_process_was_killed_is_finished_by_the_next_up(url: str, folder: Path, version: int) -> None:
    Migrator(url, folder).up(version - 1)
    with psycopg.connect(url) as writer:
        writer.execute("INSERT INTO penstock.base_batches VALUES ('default', 'a', 1, 1)")
        with psycopg.connect(url, autocommit=True) as observer:
            # It begins the index, and waits for the writer.
            process = subprocess.Popen([sys.executable, "-c", PROGRAM, url, str(folder)])
            wait_until(observer, f"SELECT count(*) = 1 FROM ({BUILDERS}) AS b WHERE wait_event_type = 'Lock'")
            process.kill()
            process.wait()
            # The writer still holds it up: the server itself ends the session that has no client.
            wait_until(observer, f"SELECT count(*) = 0 FROM ({BUILDERS}) AS b")
    assert state(url, folder, version) == "started"
    assert index_is_valid(url) is False
    assert [applied.version for applied in Migrator(url, folder).up()] == [version]
    assert state(url, folder, version) == "applied"
    assert index_is_valid(url) is True


PROGRAM = """
import pathlib, sys
from penstock.migrations.runner import Migrator
Migrator(sys.argv[1], pathlib.Path(sys.argv[2])).up()
"""
BUILDERS = """
SELECT wait_event_type FROM pg_stat_activity
 WHERE datname = current_database() AND query LIKE '%CREATE UNIQUE INDEX%' AND pid <> pg_backend_pid()
"""


def wait_until(observer: psycopg.Connection, question: str) -> None:
    """Ask until the answer is yes; what a server does with another session has no event to wait for."""
    deadline = time.monotonic() + 20
    while observer.execute(question.encode()).fetchone() != (True,):
        assert time.monotonic() < deadline, question
        time.sleep(0.02)


def test_a_worker_does_not_start_on_a_half_applied_schema(url: str, folder: Path) -> None:
    Migrator(url).up()
    set_started(url, 3)
    with psycopg.connect(url) as connection, pytest.raises(PenstockError, match="0003") as caught:
        require_current(connection)
    assert caught.value.code is Code.STORAGE_MIGRATION_INCOMPLETE


def set_started(url: str, version: int) -> None:
    """As `kill -9` between the statement's end and its note leaves it."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE penstock.schema_migrations SET state = 'started' WHERE version = %s", (version,))
