"""Backups under faults: changed files, killed programs, wrong keys, tools that are too old."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from penstock.workers.backup.keys import generate_key
from penstock.workers.embedded.postgres import EmbeddedPostgres
from tests.end_to_end.backup_kit import code_of, copy_of, fill, fresh_postgres, new_database, one, tools_with
from tests.system import BIN, Database, Penstock, wait_for

TARGET = "PENSTOCK_BACKUP_TARGET_DATABASE_URL"
FOLDER = "PENSTOCK_BACKUP_DIR"
#: More than a pipe and a frame hold.
ROWS = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backups")


@pytest.fixture(scope="module")
def environment(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """The commands' environment with a key and a folder."""
    return environment | {"PENSTOCK_BACKUP_KEY": generate_key("2026a"), FOLDER: str(folder)}


@pytest.fixture(scope="module")
def made(database: Database, penstock: Penstock) -> dict[str, Any]:
    """What `penstock backup create` told of a good one."""
    fill(database, ROWS)
    run = penstock("backup", "create", "--json")
    assert run.code == 0, run.err
    found: dict[str, Any] = run.json
    return found


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with fresh_postgres(tmp_path_factory.mktemp("fresh")) as server:
        yield server


def test_a_flipped_byte_is_caught_and_the_target_stays_empty(
    made: dict[str, Any], folder: Path, penstock: Penstock, other_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    dump = copy_of(folder, made["name"], tmp_path / "flipped")
    with dump.open("r+b") as file:
        file.seek(dump.stat().st_size * 9 // 10)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    url = new_database(other_server, "flipped")
    env: dict[str, str | None] = {FOLDER: str(dump.parent), TARGET: url}
    for arguments in (("verify", "--file-only"), ("verify",), ("restore", made["name"], "--yes")):
        run = penstock("backup", *arguments, "--json", env=env)
        assert code_of(run) == "STORAGE_BACKUP_DAMAGED"
        assert "was changed" in run.error["message"]
    assert one(url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'penstock'") == 0


def test_a_truncated_file_is_caught(made: dict[str, Any], folder: Path, penstock: Penstock, tmp_path: Path) -> None:
    dump = copy_of(folder, made["name"], tmp_path / "cut")
    size = dump.stat().st_size
    with dump.open("r+b") as file:
        file.truncate(size - 1)
    env: dict[str, str | None] = {FOLDER: str(dump.parent)}
    run = penstock("backup", "verify", "--json", env=env)
    assert code_of(run) == "STORAGE_BACKUP_DAMAGED"
    assert f"has {size - 1} bytes instead of {size}" in run.error["message"]
    (listed,) = penstock("backup", "list", "--json", env=env).json["items"]
    assert listed["state"] == "STORAGE_BACKUP_DAMAGED"


def test_a_wrong_key_is_told_as_such(made: dict[str, Any], penstock: Penstock) -> None:
    for key_id, told in (("2026b", "'2026a', which PENSTOCK_BACKUP_KEY lacks"), ("2026a", "another key than the one")):
        run = penstock("backup", "verify", "--json", env={"PENSTOCK_BACKUP_KEY": generate_key(key_id)})
        assert code_of(run) == "STORAGE_BACKUP_KEY_UNKNOWN"
        assert told in run.error["message"]


def test_a_dump_that_was_killed_leaves_no_backup(
    environment: dict[str, str], made: dict[str, Any], tmp_path: Path
) -> None:
    # It has written something when it is killed, and waits with its last words.
    tools = tools_with(tmp_path / "tools", '[ "$1" = --version ] && exec $REAL "$@"\n$REAL "$@" | head -c 300000\n'
                       "touch $0.waits\nsleep 600")  # fmt: skip
    place = tmp_path / "backups"
    env = environment | {"PENSTOCK_BACKUP_TOOLS": str(tools), FOLDER: str(place)}
    process = subprocess.Popen([BIN / "penstock", "backup", "create", "--json"], env=env, stderr=subprocess.PIPE)
    wait_for((tools / "pg_dump.waits").exists, "pg_dump to have written")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (dump,) = [child for child in children if "pg_dump" in Path(f"/proc/{child}/cmdline").read_text()]
    (sleep,) = Path(f"/proc/{dump}/task/{dump}/children").read_text().split()
    subprocess.run(["kill", "-9", dump, sleep], check=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"STORAGE_BACKUP_FAILED" in err
    assert b"pg_dump was ended by SIGKILL" in err
    assert [path.name for path in place.iterdir()] == ["lock"]


def test_a_dump_that_ends_early_and_says_that_all_is_well_is_caught(
    made: dict[str, Any], penstock: Penstock, tmp_path: Path
) -> None:
    tools = tools_with(
        tmp_path / "tools", '[ "$1" = --version ] && exec $REAL "$@"\n$REAL "$@" | head -c 300000\nexit 0'
    )
    place = tmp_path / "backups"
    env: dict[str, str | None] = {"PENSTOCK_BACKUP_TOOLS": str(tools), FOLDER: str(place)}
    run = penstock("backup", "create", "--json", env=env)
    assert code_of(run) == "STORAGE_BACKUP_FAILED"
    assert "pg_restore ended with exit code 1" in run.error["message"]
    assert [path.name for path in place.iterdir()] == ["lock"]


def test_a_backup_that_was_killed_leaves_nothing_that_counts_and_nothing_for_ever(
    environment: dict[str, str], made: dict[str, Any], penstock: Penstock, tmp_path: Path
) -> None:
    place = tmp_path / "backups"
    tools = tools_with(tmp_path / "tools", '[ "$1" = --version ] && exec $REAL "$@"\n$REAL "$@" | head -c 600000\n'
                       "touch $0.waits\nread -r < <(tail -f --pid=$PPID /dev/null)")  # fmt: skip
    env = environment | {FOLDER: str(place), "PENSTOCK_BACKUP_TOOLS": str(tools)}
    process = subprocess.Popen([BIN / "penstock", "backup", "create"], env=env, stderr=subprocess.DEVNULL)
    wait_for((tools / "pg_dump.waits").exists, "pg_dump to have written")
    process.kill()
    process.wait()
    assert [path.suffix for path in place.iterdir() if path.name != "lock"] == [".part"]
    folder: dict[str, str | None] = {FOLDER: str(place)}
    assert penstock("backup", "list", "--json", env=folder).json["items"] == []
    assert code_of(penstock("backup", "verify", "--json", env=folder)) == "STORAGE_BACKUP_NOT_FOUND"
    again = penstock("backup", "create", "--json", env=folder)
    assert again.code == 0, again.err
    assert {path.name for path in place.iterdir()} == {"lock"} | {
        f"{again.json['name']}.{suffix}" for suffix in ("dump", "manifest")
    }


def test_passwords_and_keys_are_in_no_argument(
    database: Database, environment: dict[str, str], made: dict[str, Any], penstock: Penstock, tmp_path: Path
) -> None:
    tools = tools_with(tmp_path / "tools", 'echo "$@" >> $0.arguments\nenv >> $0.environment\nexec $REAL "$@"')
    env: dict[str, str | None] = {"PENSTOCK_BACKUP_TOOLS": str(tools), FOLDER: str(tmp_path / "backups")}
    assert penstock("backup", "create", env=env).code == 0
    arguments, variables = ((tools / f"pg_dump.{kind}").read_text() for kind in ("arguments", "environment"))
    password = str(conninfo_to_dict(database.admin_url)["password"])
    assert "--snapshot=" in arguments
    assert password not in arguments
    assert f"PGPASSWORD={password}" in variables
    assert "PENSTOCK_" not in variables
    assert "REDIS_URL" not in variables


def test_an_older_pg_dump_is_refused(made: dict[str, Any], penstock: Penstock, tmp_path: Path) -> None:
    tools = tools_with(tmp_path / "tools", 'echo "pg_dump (PostgreSQL) 17.6"')
    run = penstock("backup", "create", "--json", env={"PENSTOCK_BACKUP_TOOLS": str(tools)})
    assert code_of(run) == "STORAGE_BACKUP_TOOL_MISSING"
    assert "PostgreSQL 18 needs its own pg_dump and pg_restore; those of version 17 are older" in run.error["message"]


def test_a_server_that_is_away_is_told_as_such(penstock: Penstock, tmp_path: Path) -> None:
    begun = time.monotonic()
    env: dict[str, str | None] = {"PENSTOCK_MIGRATION_DATABASE_URL": "postgresql://a:secret@127.0.0.1:1/x"}
    run = penstock("backup", "create", "--json", env=env | {FOLDER: str(tmp_path / "backups")})
    assert code_of(run) == "STORAGE_UNAVAILABLE"
    assert "secret" not in run.err
    assert time.monotonic() - begun < 60


def test_a_dump_of_another_moment_than_was_measured_is_found(
    database: Database, environment: dict[str, str], made: dict[str, Any], penstock: Penstock, tmp_path: Path
) -> None:
    tools = tools_with(
        tmp_path / "tools",
        '[ "$1" = --version ] && exec $REAL "$@"\ntouch $0.waits\nuntil [ -e $0.go ]; do sleep 0.05; done\n'
        'args=()\nfor arg; do [[ $arg = --snapshot=* ]] || args+=("$arg"); done\nexec $REAL "${args[@]}"',
    )
    place = tmp_path / "backups"
    env = environment | {"PENSTOCK_BACKUP_TOOLS": str(tools), FOLDER: str(place)}
    process = subprocess.Popen([BIN / "penstock", "backup", "create"], env=env)
    wait_for((tools / "pg_dump.waits").exists, "pg_dump to be started")
    database.query('INSERT INTO public."t ""able" (t) VALUES (\'after the snapshot\')')
    (tools / "pg_dump.go").touch()
    assert process.wait(120) == 0
    run = penstock("backup", "verify", "--json", env={FOLDER: str(place)})
    assert code_of(run) == "STORAGE_BACKUP_DIFFERS"
    assert run.error["details"]["differences"] == ['the table public.t "able has 5 rows instead of 4']
    (listed,) = penstock("backup", "list", "--json", env={FOLDER: str(place)}).json["items"]
    assert listed["verified_at"] is None
