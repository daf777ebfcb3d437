import os
import signal
import socket
from contextlib import closing

import psycopg
import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.embedded.app_roles import GROUP_ROLES, grant_app_roles
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.valkey import EmbeddedValkey
from tests.servers import FAST_SETTINGS
from tests.workers.embedded.processes import wait_for_end


@pytest.fixture
def admin_url(postgres: EmbeddedPostgres) -> str:
    return postgres.urls.admin if postgres.is_running() else postgres.start().admin


def answer(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
        assert row is not None
        return row[0]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SHOW listen_addresses", "127.0.0.1"),
        ("SHOW unix_socket_directories", ""),
        ("SHOW data_checksums", "on"),
        ("SHOW server_encoding", "UTF8"),
        ("SHOW password_encryption", "scram-sha-256"),
        ("SELECT current_database()", "penstock"),
        ("SELECT datlocprovider::text || ':' || datlocale FROM pg_database WHERE datname = 'penstock'", "b:C.UTF-8"),
        ("SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'", 0),
    ],
    ids=lambda value: str(value)[:30],
)
def test_server_is_set_up_as_promised(admin_url: str, statement: str, expected: object) -> None:
    assert answer(admin_url, statement) == expected


def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres, admin_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://postgres:guess@127.0.0.1:{postgres.port}/penstock")


def test_restart_keeps_port_and_data(postgres: EmbeddedPostgres, admin_url: str) -> None:
    with psycopg.connect(admin_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    postgres.stop()
    assert not postgres.is_running()
    assert postgres.start().admin == admin_url
    assert answer(admin_url, "SELECT n FROM kept") == 42


def test_killed_postmaster_starts_again_though_a_backend_was_busy(postgres: EmbeddedPostgres, admin_url: str) -> None:
    with closing(psycopg.connect(admin_url)) as connection:
        connection.execute("CREATE TABLE survivor AS SELECT 1 AS n")
        connection.commit()
        connection.execute("INSERT INTO survivor VALUES (2)")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        wait_for_end(postgres.pid)
        postgres.start()
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    assert answer(postgres.urls.admin, "SELECT sum(n) FROM survivor") == 1


def test_stale_lock_file_may_name_a_living_process_of_the_same_user(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, admin_url: str
) -> None:
    valkey.start()
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    wait_for_end(postgres.pid)
    lock_file = postgres.folder / "data" / "postmaster.pid"
    _, _, rest = lock_file.read_text().partition("\n")
    lock_file.write_text(f"{valkey.pid}\n{rest}")
    assert answer(postgres.start().admin, "SELECT 1") == 1
    assert valkey.is_running()


def test_a_taken_port_is_replaced(postgres: EmbeddedPostgres, admin_url: str) -> None:
    taken = postgres.port
    postgres.stop()
    with socket.create_server(("127.0.0.1", taken)):
        assert answer(postgres.start().admin, "SELECT 1") == 1
        assert postgres.port != taken


def test_half_made_data_folder_is_never_used(postgres: EmbeddedPostgres, open_folder: os.PathLike[str]) -> None:
    with Home(open_folder) as home:
        half = home.server_folder("postgres") / "new-killed" / "data"
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("18\n")
        server = EmbeddedPostgres(home, settings=FAST_SETTINGS)
        try:
            assert answer(server.start().admin, "SELECT 1") == 1
        finally:
            server.stop()
        assert sorted(entry.name for entry in server.folder.iterdir()) == ["data", "port"]


def test_data_without_its_password_is_told_with_a_remedy(postgres: EmbeddedPostgres, admin_url: str) -> None:
    postgres.stop()
    secret = postgres.home.path / "secrets" / "postgres-admin"
    aside = secret.rename(secret.with_name("aside"))
    try:
        with pytest.raises(PenstockError, match="its password is not") as missing:
            postgres.start()
        secret.write_text("another\n")
        with pytest.raises(PenstockError, match="refuses the password") as refused:
            postgres.start()
    finally:
        aside.replace(secret)
    assert {missing.value.code, refused.value.code} == {Code.STORAGE_EMBEDDED_FAILED}
    assert "another" not in str(refused.value)
    assert not postgres.is_running()


def test_a_server_that_can_not_start_says_where_its_log_is(
    postgres: EmbeddedPostgres, admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.stop()
    monkeypatch.setattr("penstock.workers.embedded.server_process._ATTEMPTS", 2)
    broken = EmbeddedPostgres(postgres.home, settings={"shared_buffers": "-7"})
    with pytest.raises(PenstockError, match=r"ended 2 times.*postgres\.log.*shared_buffers") as failure:
        broken.start()
    assert failure.value.code is Code.STORAGE_EMBEDDED_FAILED


def test_app_role_belongs_to_every_group_and_keeps_its_password_secret(
    postgres: EmbeddedPostgres, admin_url: str
) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("SET log_statement = 'all'")
        grant_app_roles(admin_url, "before the migrations")
        for group in GROUP_ROLES:
            connection.execute(f"CREATE ROLE {group} NOLOGIN".encode())
    grant_app_roles(admin_url, postgres.app_password)
    grant_app_roles(admin_url, postgres.app_password)
    groups = "SELECT count(*) FROM unnest(%s::text[]) AS g WHERE pg_has_role(current_user, g, 'USAGE')"
    with psycopg.connect(postgres.urls.app) as connection:
        assert connection.execute(groups, (list(GROUP_ROLES),)).fetchone() == (len(GROUP_ROLES),)
        assert connection.execute("SHOW is_superuser").fetchone() == ("off",)
    log = postgres.log.read_text()
    assert postgres.app_password not in log
    assert postgres.home.secret("postgres-admin") not in log


def test_an_error_in_the_log_does_not_quote_the_row(postgres: EmbeddedPostgres, admin_url: str) -> None:
    with psycopg.connect(admin_url) as connection:
        connection.execute("CREATE TEMP TABLE t (answer text CHECK (length(answer) < 3))")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO t VALUES (%s)", ("a private answer",))
    assert "violates check constraint" in postgres.log.read_text()
    assert "a private answer" not in postgres.log.read_text()


def test_nobody_else_can_read_anything_in_the_home(postgres: EmbeddedPostgres, admin_url: str) -> None:
    closed = {"run", "secrets", "log", "data"}
    for path in postgres.home.path.rglob("*"):
        if closed.isdisjoint(path.relative_to(postgres.home.path).parts) or path.name in closed:
            assert path.stat().st_mode & 0o066 == 0, path
