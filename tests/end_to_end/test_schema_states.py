"""A database that is not as this release needs it: every command says so, and nothing is half-written."""

from pathlib import Path

import psycopg
import pytest

from penstock.workers.demo import FORM_FILE
from tests.conftest import BlankDatabase
from tests.system import Penstock

ROW = b'{"answers":{}}\n'


@pytest.fixture
def at_blank(blank_database: BlankDatabase) -> dict[str, str | None]:
    url = blank_database.admin_url
    return {"DATABASE_URL": url, "PENSTOCK_MIGRATION_DATABASE_URL": url, "PENSTOCK_SCHEMA_WAIT_SECONDS": "0"}


def test_a_database_without_a_schema(penstock: Penstock, at_blank: dict[str, str | None], tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(ROW)
    for arguments in (("forms", "apply", FORM_FILE), ("submit", "f", path, "--wait"), ("worker",)):
        run = penstock(*arguments, *(["--json"] if arguments != ("worker",) else []), env=at_blank)
        assert run.code == 1
        assert "STORAGE_SCHEMA_OUTDATED" in run.err
        assert "Traceback" not in run.err


def test_migrating_by_the_command(penstock: Penstock, at_blank: dict[str, str | None], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(ROW)
    pending = penstock("migrate", "status", "--json", env=at_blank).json["items"]
    assert {item["state"] for item in pending} == {"pending"}
    # Of the servers it needs PostgreSQL alone, and of PostgreSQL's logins the one that may migrate.
    alone = at_blank | {"REDIS_URL": None, "DATABASE_URL": None}
    applied = penstock("migrate", "up", "--json", env=alone).json["applied"]
    assert [item["version"] for item in applied] == [item["version"] for item in pending]
    assert penstock("migrate", "up", "--json", env=at_blank).json == {"applied": []}
    assert penstock("migrate", "verify", "--json", env=at_blank).json == {"verified": True}
    last = pending[-1]["version"]
    asked = penstock("migrate", "down", "--to", str(last - 1), env=at_blank, stdin=b"n\n")
    assert asked.code != 0
    reverted = penstock("migrate", "down", "--to", str(last - 1), "--yes", "--json", env=at_blank).json["reverted"]
    assert [item["version"] for item in reverted] == [last]
    outdated = penstock("submit", "f", rows, "--wait", "--json", env=at_blank)
    assert (outdated.code, outdated.error["code"]) == (1, "STORAGE_SCHEMA_OUTDATED")
    ill = penstock("health", "--json", env=at_blank)
    assert ill.code == 1
    assert [check["code"] for check in ill.json["checks"] if not check["healthy"]] == ["STORAGE_SCHEMA_OUTDATED"]
    assert penstock("migrate", "up", "--json", env=at_blank).code == 0
    assert penstock("health", "--json", env=at_blank).code == 0


def test_a_half_applied_migration_is_told_and_healed(
    penstock: Penstock, at_blank: dict[str, str | None], blank_database: BlankDatabase, tmp_path: Path
) -> None:
    assert penstock("migrate", "up", env=at_blank).code == 0
    with psycopg.connect(blank_database.admin_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE penstock.schema_migrations SET state = 'started'"
            " WHERE version = (SELECT max(version) FROM penstock.schema_migrations)"
        )
    path = tmp_path / "x.jsonl"
    path.write_bytes(ROW)
    refused = penstock("submit", "f", path, "--wait", "--json", env=at_blank)
    assert (refused.code, refused.error["code"]) == (1, "STORAGE_MIGRATION_INCOMPLETE")
    assert penstock("migrate", "status", "--json", env=at_blank).json["items"][-1]["state"] == "started"
