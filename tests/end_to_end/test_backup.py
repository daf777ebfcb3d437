"""Backups for real: made while rows come in, restored into servers that know nothing, held against what was measured.

PENSTOCK_TEST_FULL=1 takes 1,000,000 rows instead of 50,000.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from penstock.workers.backup.keys import generate_key
from penstock.workers.embedded.postgres import EmbeddedPostgres
from tests.end_to_end.backup_kit import (
    ROWS,
    code_of,
    copy_of,
    fill,
    fresh_postgres,
    new_database,
    one,
    run_measured,
)
from tests.system import Database, Penstock, Run, wait_for

TARGET = "PENSTOCK_BACKUP_TARGET_DATABASE_URL"
FOLDER = "PENSTOCK_BACKUP_DIR"
#: Python and its libraries take about 70 MB; a dump of any size must add little to that.
MEMORY_LIMIT = 120 * 1024 * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backups")


@pytest.fixture(scope="module")
def environment(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """The commands' environment with a key and a folder."""
    return environment | {"PENSTOCK_BACKUP_KEY": generate_key("2026a"), FOLDER: str(folder)}


@pytest.fixture(scope="module")
def made(database: Database, environment: dict[str, str]) -> dict[str, Any]:
    """What `penstock backup create` told of a backup that was made while others wrote."""
    fill(database, ROWS)
    with _writing(database) as written:
        done = run_measured(environment, "backup", "create", "--label", "daily", "--json")
    assert (done.run.code, done.run.err) == (0, "")
    assert written(), "nobody wrote meanwhile"
    assert 0 < done.peak < MEMORY_LIMIT
    print(f"create: {done.run.out.strip()}, {done.peak / 2**20:.0f} MiB at the most")
    found: dict[str, Any] = done.run.json
    return found


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with fresh_postgres(tmp_path_factory.mktemp("fresh")) as server:
        yield server


@pytest.fixture(scope="module")
def restored(made: dict[str, Any], environment: dict[str, str], other_server: EmbeddedPostgres) -> str:
    """The URL of a database on another server into which the backup was restored."""
    url = new_database(other_server, "restored")
    done = run_measured(environment | {TARGET: url}, "backup", "restore", made["name"], "--yes", "--json")
    assert (done.run.code, done.run.err) == (0, "")
    assert 0 < done.peak < MEMORY_LIMIT
    print(f"restore: {done.run.out.strip()}, {done.peak / 2**20:.0f} MiB at the most")
    assert done.run.json["rows"] == made["rows"]
    assert done.run.json["definitions_compared"] is True
    assert done.run.json["new_logins"] == ["penstock_app"]
    return url


class _writing:  # noqa: N801  used as a function
    """Has rows inserted, one transaction each, until the block ends; the value tells whether any were."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stop = threading.Event()
        self._count = 0
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Callable[[], bool]:
        self._thread.start()
        wait_for(lambda: self._count > 0, "the first row of the writer")
        begun = self._count
        return lambda: self._count > begun

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        with psycopg.connect(self._database.admin_url, autocommit=True) as connection:
            while not self._stop.is_set():
                connection.execute(
                    "INSERT INTO penstock.submissions"
                    " SELECT now(), now(), gen_random_uuid(), 1, 'later', 'survey', NULL, '{}'"
                )
                connection.execute("SELECT penstock.enqueue('x.later', '{}')")
                self._count += 1


def test_a_backup_is_restored_into_a_fresh_server_and_equal(
    made: dict[str, Any], environment: dict[str, str], penstock: Penstock
) -> None:
    assert made["rows"] >= ROWS
    done = run_measured(environment, "backup", "verify", "--json")
    assert (done.run.code, done.run.err) == (0, "")
    print(f"verify: {done.run.out.strip()}, {done.peak / 2**20:.0f} MiB at the most")
    told = done.run.json
    assert (told["name"], told["rows"], told["tables"]) == (made["name"], made["rows"], made["tables"])
    assert (told["depth"], told["definitions_compared"]) == ("restored", True)
    (listed,) = penstock("backup", "list", "--json").json["items"]
    assert (listed["name"], listed["state"], listed["label"]) == (made["name"], "good", "daily")
    assert listed["verified_at"] is not None


def test_the_files_are_private_and_hold_nothing_that_can_be_read(made: dict[str, Any], folder: Path) -> None:
    files = [folder / f"{made['name']}.{suffix}" for suffix in ("dump", "manifest")]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    data = files[0].read_bytes()
    assert all(word not in data for word in (b"PGDMP", b"submissions", b"batch-1", b"survey"))
    assert b"batch-1" not in files[1].read_bytes()


def test_partitions_rights_and_defaults_are_those_of_the_source(restored: str, database: Database) -> None:
    partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'penstock.submissions'::regclass"
    assert one(restored, partitions) == database.value(partitions) > 5
    by_month = "SELECT string_agg(DISTINCT tableoid::regclass::text, ' ') FROM penstock.submissions"
    assert "penstock.submissions_y2026m09" in one(restored, by_month)
    rights = {
        "has_table_privilege('penstock_worker', 'penstock.submissions', 'INSERT')": True,
        "has_table_privilege('penstock_reader', 'penstock.submissions', 'INSERT')": False,
        "has_table_privilege('penstock_reader', 'penstock.submissions_y2026m09', 'SELECT')": True,
        "has_table_privilege('penstock_reader', 'penstock.dead_letters', 'SELECT')": False,
        "has_column_privilege('penstock_worker', 'penstock.api_keys', 'last_used_at', 'UPDATE')": True,
        "pg_has_role('penstock_app', 'penstock_worker', 'MEMBER')": True,
        "(SELECT rolcanlogin AND NOT rolsuper FROM pg_roles WHERE rolname = 'penstock_app')": True,
        "(SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'penstock_app')": True,
        "(SELECT rolcanlogin FROM pg_roles WHERE rolname = 'penstock_owner')": False,
    }
    assert {right: one(restored, f"SELECT {right}") for right in rights} == rights
    # Tomorrow's partition and function get what default privileges say.
    one(restored, "SELECT penstock.ensure_submissions_partition(date '2020-02-01')")
    assert one(restored, "SELECT has_table_privilege('penstock_reader', 'penstock.submissions_y2020m02', 'SELECT')")
    with psycopg.connect(restored) as connection:
        connection.execute("SET ROLE penstock_owner")
        connection.execute("CREATE FUNCTION penstock.later() RETURNS int LANGUAGE sql RETURN 1")
        row = connection.execute("SELECT has_function_privilege('public', 'penstock.later()', 'EXECUTE')").fetchone()
        assert row == (False,)
        connection.rollback()
    one(restored, "DROP TABLE penstock.submissions_y2020m02")


def test_penstock_works_on_what_was_restored(restored: str, penstock: Penstock) -> None:
    env: dict[str, str | None] = {"DATABASE_URL": restored, "PENSTOCK_MIGRATION_DATABASE_URL": None}
    assert penstock("migrate", "verify", env=env).code == 0
    assert penstock("migrate", "up", "--json", env=env).json == {"applied": []}
    with psycopg.connect(restored) as connection:
        connection.execute("SET ROLE penstock_producer")
        assert connection.execute("SELECT penstock.enqueue('x.y', '{}')").fetchone() is not None
        connection.rollback()


@pytest.mark.parametrize(
    ("change", "undo", "told"),
    [
        (
            "UPDATE penstock.submissions_y2026m09 SET answers = answers || '{\"q2\": -1}' WHERE external_id = {row}",
            "UPDATE penstock.submissions_y2026m09 SET answers = answers || jsonb_build_object('q2',"
            " substr(external_id, 5)::int) WHERE external_id = {row}",
            "the table penstock.submissions_y2026m09 has {rows} rows, as it should, but not the same ones",
        ),
        (
            'INSERT INTO public."t ""able" (t, "ROW", raw) VALUES (\'same\', 0.1, \'\\x00ff\')',
            'DELETE FROM public."t ""able" WHERE k = 5',
            'the table public.t "able has 5 rows instead of 4',
        ),
        ("CREATE TABLE public.more ()", "DROP TABLE public.more", "the table public.more was not there"),
        (
            "DROP INDEX penstock.dead_letters_died_idx",
            None,
            "missing: index penstock.dead_letters_died_idx",
        ),
        (
            "GRANT DELETE ON penstock.operator_actions TO penstock_worker",
            "REVOKE DELETE ON penstock.operator_actions FROM penstock_worker",
            "different in its definition, owner or rights: relation penstock.operator_actions",
        ),
        (
            "ALTER TABLE penstock.scheduled_posts DISABLE TRIGGER scheduled_posts_due_when_added",
            "ALTER TABLE penstock.scheduled_posts ENABLE TRIGGER scheduled_posts_due_when_added",
            "different in its definition, owner or rights: trigger scheduled_posts_due_when_added",
        ),
        (
            "REVOKE penstock_worker FROM penstock_app",
            "GRANT penstock_worker TO penstock_app",
            "penstock_app is no member of penstock_worker",
        ),
        (
            "SELECT setval('penstock.outbox_id_seq', 1, false)",
            "SELECT setval('penstock.outbox_id_seq', 1000000)",
            "the sequence penstock.outbox_id_seq is behind, or missing",
        ),
    ],
    ids=["a row", "an equal row more", "a table", "an index", "a right", "a trigger", "a member", "a sequence"],
)
def test_a_change_after_the_restore_is_found(
    restored: str, made: dict[str, Any], penstock: Penstock, change: str, undo: str | None, told: str
) -> None:
    row = one(restored, "SELECT quote_literal(min(external_id)) FROM penstock.submissions_y2026m09")
    rows = one(restored, "SELECT count(*) FROM penstock.submissions_y2026m09")
    index = one(restored, _AN_INDEX)
    definition = one(restored, f"SELECT pg_get_indexdef('{index}'::regclass)")

    def spelt(text: str) -> str:
        named = text.replace("penstock.dead_letters_died_idx", index)
        return named.replace("{row}", row).replace("{rows}", str(rows))

    def verify() -> Run:
        return penstock("backup", "verify", made["name"], "--restored", "--json", env={TARGET: restored})

    assert verify().code == 0
    one(restored, spelt(change))
    try:
        run = verify()
        assert code_of(run) == "STORAGE_BACKUP_DIFFERS"
        differences = run.error["details"]["differences"]
        assert any(difference.startswith(spelt(told)) for difference in differences), differences
        assert len(differences) <= 8, differences
    finally:
        one(restored, definition if undo is None else spelt(undo))
    assert verify().code == 0


# One that belongs to no constraint and to no partition.
_AN_INDEX = """
SELECT min(i.indexrelid::regclass::text) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE c.relnamespace = 'penstock'::regnamespace AND c.relkind = 'i' AND NOT c.relispartition
   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
"""


def test_nothing_is_restored_over_anything(restored: str, made: dict[str, Any], penstock: Penstock) -> None:
    run = penstock("backup", "restore", made["name"], "--yes", "--json", env={TARGET: restored})
    assert code_of(run) == "STORAGE_BACKUP_TARGET_REFUSED"
    assert one(restored, "SELECT count(*) FROM penstock.submissions") >= ROWS


def test_a_login_that_may_only_read_makes_a_backup(
    database: Database, made: dict[str, Any], penstock: Penstock, tmp_path: Path
) -> None:
    parts = conninfo_to_dict(database.admin_url)
    login = f"backup_{database.name}"
    database.query(f"CREATE ROLE {login} LOGIN PASSWORD 'b'")
    url = f"postgresql://{login}:b@{parts['host']}:{parts['port']}/{database.name}"
    env: dict[str, str | None] = {"PENSTOCK_BACKUP_DATABASE_URL": url, FOLDER: str(tmp_path / "backups")}
    try:
        run = penstock("backup", "create", "--json", env=env)
        assert code_of(run) == "STORAGE_PERMISSION_DENIED"
        database.query(f"GRANT pg_read_all_data TO {login}")
        assert penstock("backup", "create", "--json", env=env).code == 0
        assert penstock("backup", "verify", "--json", env=env).json["definitions_compared"] is True
    finally:
        database.query(f"DROP ROLE {login}")


def test_old_backups_go_when_a_new_one_is_good(
    made: dict[str, Any], folder: Path, penstock: Penstock, tmp_path: Path
) -> None:
    place = tmp_path / "backups"
    copy_of(folder, made["name"], place)
    # It claims to be old and can't: its name is bound to it. So it is no good one, and its age is what its name says.
    old = f"penstock-20200101T000000Z-{made['name'][-8:]}"
    for suffix in ("dump", "manifest"):
        (place / f"{made['name']}.{suffix}").rename(place / f"{old}.{suffix}")
    run = penstock("backup", "create", "--json", env={FOLDER: str(place)})
    assert run.json["removed"] == [old]
    assert [item["name"] for item in penstock("backup", "list", "--json", env={FOLDER: str(place)}).json["items"]] == [
        run.json["name"]
    ]


def test_a_migration_is_preceded_by_a_backup_where_there_is_something_to_do(
    database: Database, other_server: EmbeddedPostgres, penstock: Penstock, tmp_path: Path
) -> None:
    url = new_database(other_server, "migrated")
    env: dict[str, str | None] = {"DATABASE_URL": url, "PENSTOCK_MIGRATION_DATABASE_URL": url}
    env[FOLDER] = str(tmp_path / "backups")

    def labels() -> list[str]:
        return [item["label"] for item in penstock("backup", "list", "--json", env=env).json["items"]]

    assert penstock("migrate", "up", "--to", "5", "--backup", env=env).code == 0
    assert labels() == []
    # What can't be backed up is not migrated.
    run = penstock("migrate", "up", "--backup", "--json", env=env | {"PENSTOCK_BACKUP_KEY": None})
    assert code_of(run) == "CONFIG_INVALID"
    assert one(url, "SELECT max(version) FROM penstock.schema_migrations") == 5
    run = penstock("migrate", "up", "--backup", "--json", env=env)
    assert run.json["applied"][0]["version"] == 6
    assert labels() == ["before a migration"]
    assert penstock("migrate", "up", "--backup", "--json", env=env).json == {"applied": []}
    assert labels() == ["before a migration"]
    assert penstock("backup", "verify", "--json", env=env).code == 0
