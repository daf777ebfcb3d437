import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from penstock.migrations import session
from penstock.migrations.files import FOLDER, read_folder
from penstock.migrations.runner import Migrator
from penstock.migrations.session import LOCK_KEY
from penstock.schemas.errors import Code, PenstockError, UnavailableError
from tests.migrations.catalogue import catalogue, traces
from tests.migrations.conftest import add_migration

LATEST = read_folder(FOLDER).latest


def test_up_then_down_then_up_gives_the_same_schema(url: str) -> None:
    migrator = Migrator(url)
    assert [applied.version for applied in migrator.up()] == list(range(1, LATEST + 1))
    with psycopg.connect(url, autocommit=True) as connection:
        first = catalogue(connection)
    assert [reverted.version for reverted in migrator.down(0)] == list(range(LATEST, 0, -1))
    with psycopg.connect(url, autocommit=True) as connection:
        assert traces(connection) == {"schemas": 0, "default privileges": 0, "dependencies on roles": 0}
    migrator.up()
    with psycopg.connect(url, autocommit=True) as connection:
        assert catalogue(connection) == first
    assert all(first.values())


@pytest.mark.parametrize("version", range(1, LATEST + 1))
def test_each_migration_goes_down_and_up_again(url: str, version: int) -> None:
    migrator = Migrator(url)
    migrator.up(version)
    with psycopg.connect(url, autocommit=True) as connection:
        first = catalogue(connection)
    assert [reverted.version for reverted in migrator.down(version - 1)] == [version]
    assert [applied.version for applied in migrator.up(version)] == [version]
    with psycopg.connect(url, autocommit=True) as connection:
        assert catalogue(connection) == first


def test_everything_belongs_to_the_owner(database: psycopg.Connection) -> None:
    owners = database.execute("""
        SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'penstock'::regnamespace
        UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'penstock'::regnamespace
        UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'penstock'
    """).fetchall()
    assert owners == [("penstock_owner",)]


def test_up_again_does_nothing(url: str) -> None:
    Migrator(url).up()
    assert Migrator(url).up() == []


def test_status_tells_where_each_migration_stands(url: str, folder: Path) -> None:
    migrator = Migrator(url, folder)
    assert {entry.state for entry in migrator.status()} == {"pending"}
    assert all(entry.as_dict()["applied_at"] is None for entry in migrator.status())
    migrator.up(2)
    assert [entry.state for entry in migrator.status()] == ["applied"] * 2 + ["pending"] * (LATEST - 2)
    newest = add_migration(folder, "later", "SELECT;")
    migrator.up()
    (folder / "0002_forms.down.sql").write_text("SELECT;")
    (folder / f"{newest:04d}_later.up.sql").unlink()
    states = {entry.version: entry.state for entry in migrator.status()}
    assert states[2] == "changed"
    assert states[newest] == "missing_file"
    assert states[1] == "applied"


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("action", ["verify", "up", "down"])
def test_a_changed_file_is_named(url: str, folder: Path, direction: str, action: str) -> None:
    migrator = Migrator(url, folder)
    migrator.up()
    migrator.verify()
    changed = folder / f"0003_batches.{direction}.sql"
    changed.write_text(changed.read_text() + "\n")
    actions = {"verify": migrator.verify, "up": migrator.up, "down": lambda: migrator.down(0)}
    with pytest.raises(PenstockError, match=rf"0003_batches\.{direction}\.sql was changed") as caught:
        actions[action]()
    assert caught.value.code is Code.STORAGE_MIGRATION_CHANGED
    assert {entry.state for entry in migrator.status()} == {"applied", "changed"}


def test_every_deleted_and_changed_file_is_named(url: str, folder: Path) -> None:
    migrator = Migrator(url, folder)
    migrator.up()
    for file in folder.glob("0002_*.sql"):
        file.unlink()
    (folder / "0004_submissions.down.sql").unlink()
    (folder / "0001_bootstrap.up.sql").write_text("SELECT;")
    with pytest.raises(PenstockError) as caught:
        migrator.verify()
    assert caught.value.code is Code.STORAGE_MIGRATION_CHANGED
    assert caught.value.details["differences"] == [
        "0001_bootstrap.up.sql was changed",
        "0002_forms.up.sql is missing",
        "0002_forms.down.sql is missing",
        "0004_submissions.down.sql is missing",
    ]


def test_up_of_an_older_release_does_nothing(url: str, folder: Path) -> None:
    newest = add_migration(folder, "newer", "CREATE TABLE penstock.newer ();", "DROP TABLE penstock.newer;")
    Migrator(url, folder).up()
    older = Migrator(url)
    assert older.up() == []
    with pytest.raises(PenstockError, match=rf"{newest:04d}_newer\.down\.sql is missing"):
        older.down(0)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        pytest.param("SELECT 1;\nSELECT nothing;\n", r"_bad\.up\.sql, line 2: .*nothing.* \(42703\)", id="analysis"),
        pytest.param("SELECT 1;\n\nSELEC 2;\n", r"_bad\.up\.sql, line 3: syntax error", id="syntax"),
        pytest.param("SELECT 1;\nSELECT 1 / 0;", r"_bad\.up\.sql: division by zero \(22012\)", id="execution"),
    ],
)
def test_a_failure_names_file_and_line_and_leaves_nothing(url: str, folder: Path, script: str, told: str) -> None:
    bad = add_migration(folder, "bad", f"CREATE TABLE penstock.half (); {script}")
    with pytest.raises(PenstockError, match=told) as caught:
        Migrator(url, folder).up()
    assert caught.value.code is Code.STORAGE_MIGRATION_FAILED
    states = {entry.version: entry.state for entry in Migrator(url, folder).status()}
    assert states == {**dict.fromkeys(range(1, bad), "applied"), bad: "pending"}
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('penstock.half')").fetchone() == (None,)


def test_a_row_that_breaks_a_migration_is_not_told(url: str, folder: Path) -> None:
    add_migration(
        folder,
        "unique",
        "CREATE TABLE penstock.t (answer text); INSERT INTO penstock.t VALUES ('secret'), ('secret');"
        " CREATE UNIQUE INDEX ON penstock.t (answer);",
    )
    with pytest.raises(PenstockError) as caught:
        Migrator(url, folder).up()
    assert caught.value.code is Code.STORAGE_MIGRATION_FAILED
    assert "secret" not in f"{caught.value} {caught.value.remedy} {caught.value.details}"


def test_four_processes_at_once_migrate_once(url: str) -> None:
    program = "import sys; from penstock.migrations.runner import Migrator; print(len(Migrator(sys.argv[1]).up()))"
    command = [sys.executable, "-c", program, url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(outputs) == ["0", "0", "0", str(LATEST)]


def test_a_migration_that_another_process_runs_is_waited_for_and_then_told(url: str) -> None:
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", LOCK_KEY)
        with pytest.raises(PenstockError) as caught:
            Migrator(url, lock_wait=timedelta(milliseconds=200)).up()
    assert caught.value.code is Code.STORAGE_MIGRATION_LOCKED


class OnWarning(logging.Handler):
    """Does something when Penstock warns for the first time."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._action = action

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        if len(self.messages) == 1:
            self._action()


def test_a_lock_that_is_freed_in_time_only_delays(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    Migrator(url, folder).up()
    add_migration(folder, "column", "ALTER TABLE penstock.forms ADD COLUMN remark text;")
    monkeypatch.setattr(session, "LOCK_TIMEOUT", timedelta(milliseconds=50))
    with psycopg.connect(url) as reader:
        reader.execute("SELECT FROM penstock.forms")
        handler = OnWarning(reader.rollback)
        logger = logging.getLogger(session.__name__)
        logger.addHandler(handler)
        request.addfinalizer(lambda: logger.removeHandler(handler))
        assert [applied.name for applied in Migrator(url, folder).up()] == ["column"]
    assert "attempt 1 of" in handler.messages[0]


def test_a_lock_that_is_not_freed_ends_in_an_error_that_says_so(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Migrator(url, folder).up()
    add_migration(folder, "column", "ALTER TABLE penstock.forms ADD COLUMN remark text;")
    monkeypatch.setattr(session, "LOCK_TIMEOUT", timedelta(milliseconds=20))
    monkeypatch.setattr(session, "FIRST_PAUSE", timedelta(milliseconds=1))
    with psycopg.connect(url) as reader:
        reader.execute("SELECT FROM penstock.forms")
        with pytest.raises(PenstockError, match=r"_column\.up\.sql: canceling statement due to lock timeout") as caught:
            Migrator(url, folder).up()
    assert caught.value.code is Code.STORAGE_MIGRATION_FAILED
    assert "transactions" in caught.value.remedy


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        pytest.param(
            "postgresql://user:s3cret@127.0.0.1:1/db",
            Code.STORAGE_UNAVAILABLE,
            "127.0.0.1:1 does not answer: Connection refused",
            id="refused",
        ),
        pytest.param("postgresql://user:s3cret/x@127.0.0.1:1/db", Code.STORAGE_UNAVAILABLE, "", id="slash in it"),
        pytest.param("postgresql://user:p@s3cret@127.0.0.1:1/db", Code.STORAGE_UNAVAILABLE, "", id="at sign in it"),
        pytest.param("postgresql://user:%s3cret@127.0.0.1:1/db", Code.CONFIG_INVALID, "", id="percent sign in it"),
    ],
)
def test_an_unreachable_server_is_told_without_the_password(address: str, code: Code, told: str) -> None:
    with pytest.raises(PenstockError) as caught:
        Migrator(address).up()
    assert caught.value.code is code
    assert told in caught.value.message
    assert "s3cret" not in f"{caught.value} {caught.value.remedy} {caught.value.details}"


def test_a_wrong_database_is_told_in_the_servers_words(url: str) -> None:
    parameters = psycopg.conninfo.conninfo_to_dict(url)
    wrong = psycopg.conninfo.make_conninfo(**(parameters | {"dbname": "nowhere"}))
    with pytest.raises(UnavailableError, match='database "nowhere" does not exist'):
        Migrator(wrong).status()


def test_a_connection_that_breaks_is_told_and_can_be_made_up_for(url: str, folder: Path) -> None:
    version = add_migration(folder, "breaks", "RESET ROLE; SELECT pg_terminate_backend(pg_backend_pid());")
    Migrator(url, folder).up(version - 1)
    with pytest.raises(UnavailableError) as caught:
        Migrator(url, folder).up()
    assert caught.value.code is Code.STORAGE_UNAVAILABLE
    (folder / f"{version:04d}_breaks.up.sql").write_text("SELECT;")
    assert len(Migrator(url, folder).up()) == 1
