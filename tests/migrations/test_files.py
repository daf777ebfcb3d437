from pathlib import Path

import pytest

from penstock.migrations.files import FOLDER, count_statements, read_folder
from penstock.schemas.errors import Code, PenstockError

CONCURRENTLY = "-- penstock: no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (c);\n"


def test_the_migrations_of_this_release_are_sound() -> None:
    folder = read_folder(FOLDER)
    folder.require_sound()
    assert list(folder.migrations) == list(range(1, folder.latest + 1))
    assert folder.latest >= 4


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("-- SELECT 1;\n/* ; */", 0, id="comments"),
        pytest.param("SELECT 1", 1, id="no semicolon"),
        pytest.param("SELECT 1; -- that's all; really", 1, id="comment behind"),
        pytest.param("SELECT 1; SELECT 2", 2, id="two"),
        pytest.param(";;SELECT 1;;", 1, id="empty statements"),
        pytest.param("SELECT 'a;b', \"c;d\", 'it''s; fine'", 1, id="quotes"),
        pytest.param(r"SELECT E'it\'s; fine', e'\\'; SELECT 2", 2, id="escapes"),
        pytest.param("DO $$ BEGIN; END $$; SELECT 2", 2, id="dollars"),
        pytest.param("DO $a$ x; $b$; $$ ; $a$", 1, id="dollars with tags"),
        pytest.param("SELECT $1; SELECT 2", 2, id="a parameter is no dollar quote"),
    ],
)
def test_statements_are_counted(text: str, count: int) -> None:
    assert count_statements(text) == count


@pytest.mark.parametrize(
    ("files", "faults"),
    [
        pytest.param({"0001_a.up.sql": "SELECT;"}, ["0001_a.down.sql is missing"], id="down missing"),
        pytest.param({"0001_a.down.sql": "SELECT;"}, ["0001_a.up.sql is missing"], id="up missing"),
        pytest.param(
            {"0002_b.up.sql": "", "0002_b.down.sql": ""}, ["there is no migration 0001"], id="does not begin at 1"
        ),
        pytest.param(
            {f"{version}_x.{way}.sql": "" for version in ("0001", "0004") for way in ("up", "down")},
            ["there is no migration 0002", "there is no migration 0003"],
            id="gap",
        ),
        pytest.param(
            {f"0001_{name}.{way}.sql": "" for name in "ab" for way in ("up", "down")},
            ["0001_a and 0001_b have the same number"],
            id="same number",
        ),
        pytest.param(
            {"1_a.up.sql": ""}, ["1_a.up.sql is not called NNNN_name.up.sql or NNNN_name.down.sql"], id="name"
        ),
        pytest.param(
            {"0001_a.up.sql": CONCURRENTLY + "SELECT;", "0001_a.down.sql": ""},
            ["0001_a.up.sql runs outside a transaction and must hold exactly one statement"],
            id="two statements outside a transaction",
        ),
        pytest.param(
            {"0001_a.up.sql": "", "0001_a.down.sql": "-- penstock: no transaction\nDROP INDEX CONCURRENTLY i;"},
            ["0001_a.down.sql may be interrupted and must say IF [NOT] EXISTS, so that it can run again"],
            id="not repeatable",
        ),
    ],
)
def test_each_fault_is_named(tmp_path: Path, files: dict[str, str], faults: list[str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(PenstockError) as caught:
        read_folder(tmp_path).require_sound()
    assert caught.value.code is Code.STORAGE_MIGRATION_INVALID
    assert caught.value.details["faults"] == faults


def test_a_folder_may_hold_other_files(tmp_path: Path) -> None:
    for name in ("0001_a.up.sql", "0001_a.down.sql", "README.md", "runner.py"):
        (tmp_path / name).write_text("")
    folder = read_folder(tmp_path)
    folder.require_sound()
    assert list(folder.migrations) == [1]


def test_the_checksum_is_of_the_content(tmp_path: Path) -> None:
    for name, text in {"0001_a.up.sql": "SELECT 1;", "0001_a.down.sql": "SELECT 2;"}.items():
        (tmp_path / name).write_text(text)
    before = read_folder(tmp_path).migrations[1]
    (tmp_path / "0001_a.up.sql").write_text("SELECT 1; ")
    after = read_folder(tmp_path).migrations[1]
    assert before.up.checksum != after.up.checksum
    assert before.down.checksum == after.down.checksum
