"""Old partitions leave once they are archived and read back; and come back as they were."""

import gzip
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.migrations.grants import require_granted
from penstock.schemas.errors import Code, ConflictError, InvalidInputError, NotFoundError, PenstockError
from penstock.workers.archives.archive import ArchiveFolder
from penstock.workers.archives.partitions import PartitionArchive
from penstock.workers.archives.restoring import restore_archive
from penstock.workers.database.pool import open_pool
from penstock.workers.settings import WorkerSettings
from tests.system import Database

Pool = ConnectionPool[psycopg.Connection[Any]]

PARTITION = "submissions_y2004m02"
#: What JSON and COPY would get wrong, if they could.
ANSWERS = {
    "text": 'a "quote", a \\ backslash, \\. and \\N, a tab\t, a line\nend, \x01 \x02 and é \U0001f600',
    "number": 1.10,
    "empty": {},
}
_PUT = """
INSERT INTO penstock.submissions
       (submitted_at, received_at, submission_id, form_key, batch_id, form_id, external_id, answers)
SELECT '2004-02-03 04:05:06.789012+01'::timestamptz + number * INTERVAL '1 minute', '2004-02-04', gen_random_uuid(), 1,
       'batch', 'form', CASE WHEN number % 2 = 0 THEN 'x' END,
       %s::jsonb || jsonb_build_object('n', number, 'exact', 1.100::numeric)
  FROM generate_series(1, %s) AS number
"""
_ALL = "SELECT to_jsonb(one)::text FROM {} AS one ORDER BY submitted_at"


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> Iterator[Pool]:
    with open_pool(settings, "penstock-test") as opened:
        opened.wait(60)
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> ArchiveFolder:
    return ArchiveFolder(tmp_path / "archives")


@pytest.fixture
def archive(pool: Pool, folder: ArchiveFolder) -> PartitionArchive:
    return PartitionArchive(pool, folder, {"publish_attempts": 24, "submissions": 24})


@pytest.fixture
def rows(database: Database) -> list[tuple[Any, ...]]:
    """What an old partition holds."""
    database.query("DROP TABLE IF EXISTS penstock.submissions_y2004m02, penstock.leaving_submissions_y2004m02")
    database.query("DELETE FROM penstock.submissions")
    database.query("SELECT penstock.ensure_submissions_partition('2004-02-01')")
    database.query(_PUT.replace("number % 2", "number %% 2"), json.dumps(ANSWERS), 2_500)
    return database.query(_ALL.format(f"penstock.{PARTITION}"))


def run_all(archive: PartitionArchive) -> int:
    """Rounds until nothing is left; returns how many."""
    rounds = 0
    while archive.run_round():
        rounds += 1
    return rounds


def exists(database: Database, table: str) -> bool:
    return database.value("SELECT to_regclass(%s) IS NOT NULL", f"penstock.{table}") is True


def restore(database: Database, folder: ArchiveFolder, *, in_place: bool) -> Any:
    (manifest,) = folder.manifests()
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("SET ROLE penstock_owner")
        return restore_archive(connection, folder, manifest, in_place=in_place)


def test_an_old_partition_is_archived_and_dropped_and_others_stay(
    archive: PartitionArchive, folder: ArchiveFolder, database: Database, rows: list[tuple[Any, ...]]
) -> None:
    database.query("SELECT penstock.ensure_submissions_partition(now()::date)")
    partitions = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'penstock.submissions'::regclass"
    kept = set(database.query(partitions)) - {(f"penstock.{PARTITION}",)}
    assert run_all(archive) == 2
    assert not exists(database, PARTITION)
    assert not exists(database, f"leaving_{PARTITION}")
    assert set(database.query(partitions)) == kept
    (manifest,) = folder.manifests()
    assert (manifest.table, manifest.source, manifest.rows) == ("submissions", PARTITION, 2_500)
    with gzip.open(folder.data(manifest.name)) as file:
        lines = [json.loads(line) for line in file]
    assert lines[0]["answers"]["text"] == ANSWERS["text"]
    assert len(lines) == 2_500
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()} == {0o600}


def test_a_restore_brings_back_what_was_there(
    archive: PartitionArchive, folder: ArchiveFolder, database: Database, rows: list[tuple[Any, ...]]
) -> None:
    run_all(archive)
    apart = restore(database, folder, in_place=False)
    assert (apart.rows, apart.known) == (2_500, 0)
    assert database.query(_ALL.format(apart.table)) == rows
    assert database.value("SELECT count(*) FROM penstock.submissions") == 0
    with pytest.raises(ConflictError):
        restore(database, folder, in_place=False)
    with psycopg.connect(database.admin_url) as connection:
        require_granted(connection)
    assert restore(database, folder, in_place=True).rows == 2_500
    assert database.query(_ALL.format("penstock.submissions")) == rows
    assert exists(database, PARTITION)
    # Again: nothing comes twice.
    again = restore(database, folder, in_place=True)
    assert (again.rows, again.known) == (0, 2_500)
    database.query(f"DROP TABLE {apart.table}")


def killed_before_the_drop(archive: PartitionArchive, database: Database) -> None:
    """As whoever is killed between the manifest and the drop leaves it."""
    definition = str(database.value("SELECT pg_get_functiondef('penstock.drop_leaving_partition'::regproc)"))
    begin = "DECLARE\n    found_rows bigint;\nBEGIN"
    assert begin in definition
    database.query(definition.replace("%", "%%").replace(begin, f"{begin} RAISE EXCEPTION 'killed';"))
    try:
        assert archive.run_round() is True
        with pytest.raises(PenstockError):
            archive.run_round()
    finally:
        database.query(definition.replace("%", "%%"))


def test_what_a_killed_process_left_is_taken_up_again(
    archive: PartitionArchive, folder: ArchiveFolder, database: Database, rows: list[tuple[Any, ...]]
) -> None:
    killed_before_the_drop(archive, database)
    assert exists(database, f"leaving_{PARTITION}")
    (folder.path / "submissions_y2004m02-x.jsonl.gz.part").touch()
    of_another = folder.path / "operator_actions-1-2.jsonl.gz.part"
    of_another.touch()
    (before,) = folder.manifests()
    assert run_all(archive) == 1
    assert folder.manifests() == [before]
    assert not exists(database, f"leaving_{PARTITION}")
    assert list(folder.path.glob("*.part")) == [of_another]


def test_one_process_at_a_time_archives_and_who_drops_old_actions_is_in_nobodys_way(
    archive: PartitionArchive, database: Database, rows: list[tuple[Any, ...]]
) -> None:
    """Both loops begin with the scheduler; the one that found itself locked out would come again after ten minutes."""
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(1346719315, 20)")
        assert not archive.run_round()
        connection.execute("SELECT pg_advisory_unlock_all(), pg_advisory_lock(1346719315, 21)")
        assert run_all(archive) == 2
    assert not exists(database, PARTITION)


@pytest.mark.parametrize("place", [0, 0.5, 1], ids=["first", "middle", "last"])
def test_an_archive_with_a_flipped_bit_is_refused_and_nothing_is_dropped(
    archive: PartitionArchive, folder: ArchiveFolder, database: Database, rows: list[tuple[Any, ...]], place: float
) -> None:
    killed_before_the_drop(archive, database)
    (manifest,) = folder.manifests()
    path = folder.data(manifest.name)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises(PenstockError) as caught:
        archive.run_round()
    assert caught.value.code is Code.STORAGE_ARCHIVE_DAMAGED
    assert database.query(_ALL.format(f"penstock.leaving_{PARTITION}")) == rows
    with pytest.raises(PenstockError) as caught:
        restore(database, folder, in_place=True)
    assert caught.value.code is Code.STORAGE_ARCHIVE_DAMAGED
    assert not exists(database, PARTITION)


def test_late_rows_of_a_month_that_left_go_into_another_archive(
    archive: PartitionArchive, folder: ArchiveFolder, database: Database, rows: list[tuple[Any, ...]]
) -> None:
    run_all(archive)
    database.query("SELECT penstock.ensure_submissions_partition('2004-02-01')")
    database.query(_PUT.replace("number % 2", "number %% 2"), "{}", 3)
    # Two archives of one second would have one name.
    (first,) = folder.manifests()
    older = first.name.rpartition("-")[0] + "-20040301T000000Z"
    for suffix in (".jsonl.gz", ".manifest.json"):
        text = (folder.path / f"{first.name}{suffix}").read_bytes().replace(first.name.encode(), older.encode())
        (folder.path / f"{first.name}{suffix}").unlink()
        (folder.path / f"{older}{suffix}").write_bytes(text)
    run_all(archive)
    assert sorted(one.rows for one in folder.manifests()) == [3, 2_500]
    assert database.value("SELECT count(*) FROM penstock.submissions") == 0


def test_a_partition_whose_rows_are_not_those_of_the_archive_stays(
    database: Database, rows: object, pool: Pool
) -> None:
    with pool.connection() as connection:
        connection.execute("SELECT penstock.detach_old_partition('submissions', 24)")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute(f"SELECT penstock.drop_leaving_partition('leaving_{PARTITION}', 2499)".encode())
        for name in ("submissions", PARTITION, "forms", "leaving_forms"):
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute("SELECT penstock.drop_leaving_partition(%s, 0)", (name,))
        for months in (11, 0, None):
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute("SELECT penstock.detach_old_partition('submissions', %s)", (months,))
    assert database.value(f"SELECT count(*) FROM penstock.leaving_{PARTITION}") == 2_500


def test_a_partition_that_is_in_use_is_left_for_later(
    archive: PartitionArchive, database: Database, rows: list[tuple[Any, ...]]
) -> None:
    with psycopg.connect(database.url) as connection:
        connection.execute("SELECT count(*) FROM penstock.submissions")
        with pytest.raises(PenstockError):
            archive.run_round()
    assert database.query(_ALL.format(f"penstock.{PARTITION}")) == rows


def test_what_is_no_archive_is_told(folder: ArchiveFolder) -> None:
    folder.prepare()
    with pytest.raises(NotFoundError):
        folder.manifest("submissions_y2004m02-x")
    for name in ("../x", "", "a"):
        with pytest.raises(InvalidInputError):
            folder.manifest(name)
    for content in ("", "[]", "{}", '{"name": 1}'):
        (folder.path / "submissions_y2004m02-x.manifest.json").write_text(content)
        with pytest.raises(PenstockError) as caught:
            folder.manifests()
        assert caught.value.code is Code.STORAGE_ARCHIVE_DAMAGED
