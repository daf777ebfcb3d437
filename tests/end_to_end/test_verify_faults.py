"""`penstock verify` on deployments that are broken: the right check finds it and says what to do."""

import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from penstock.migrations.runner import Migrator
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.backup.keys import generate_key
from penstock.workers.backup.store import Entry
from penstock.workers.cli.root import run as run_command
from penstock.workers.verify.backup_checks import judge_backups
from penstock.workers.verify.result import Outcome, Result
from penstock.workers.verify.running import Check, run_checks
from tests.conftest import BlankDatabase
from tests.end_to_end.verify_kit import LIMIT, SAFE, SECRET, command, later, look, silent_server, target_of
from tests.recovery.servers import ValkeyProcess
from tests.system import Database

#: Nothing runs in these tests, and nobody flushes their backups.
NO_PROCESSES = {"workers", "scheduler"}
OF_REDIS = {"redis", "redis_safety", "redis_tls", "clock_redis"}


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyProcess]:
    """A Redis of the module's own, to set up wrongly."""
    with ValkeyProcess(SAFE, password=secrets.token_hex(12)) as server:
        yield server


@pytest.fixture(scope="module")
def redis_url(valkey: ValkeyProcess) -> str:
    return valkey.url


@pytest.fixture
def spare(blank_database: BlankDatabase, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment with a database of a schema that is broken on purpose; nothing of it is there yet."""
    yield environment | {"DATABASE_URL": blank_database.admin_url}
    with psycopg.connect(blank_database.admin_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS penstock CASCADE")


def with_password(url: str, password: str, user: str = "penstock_app") -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}").geturl()


def test_no_process_is_there(environment: dict[str, str]) -> None:
    found = look(environment)
    assert found.names(Outcome.FAIL) == NO_PROCESSES
    assert "penstock worker" in found.broken("workers")
    assert "submissions, posts, publishing" in found["workers"].told
    assert "penstock scheduler" in found.broken("scheduler")
    told = {name: found[name].told for name in found.names(Outcome.SKIPPED)}
    assert told["gateway"] == told["gateway_access"] == "its address is not given (--gateway URL)"
    assert told["smoke"] == "not asked for (--smoke)"
    assert "PENSTOCK_BACKUP_DIR" in told["backups"]


def test_a_batch_that_nobody_takes_is_told(environment: dict[str, str]) -> None:
    told = look(environment, smoke=timedelta(seconds=0.2)).broken("smoke")
    assert "REQUEST_TIMEOUT the probe's batch is ready" in told
    assert "penstock batch show probe-" in told


def test_a_redis_that_may_lose_jobs(environment: dict[str, str], valkey: ValkeyProcess) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.config_set("maxmemory", "500mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
        found = look(environment)
        for name, value in (("maxmemory-policy", "noeviction"), ("appendonly", "yes"), ("maxmemory", "0")):
            client.config_set(name, value)
    assert "noeviction" in found.broken("redis_eviction")
    assert "appendonly yes" in found.broken("redis_persistence")
    assert found.names(Outcome.FAIL) == NO_PROCESSES | {"redis_eviction", "redis_persistence"}
    assert "redis_safety" not in {result.name for result in found.verification.results}
    assert look(environment)["redis_safety"].outcome is Outcome.OK


def test_a_missing_migration(spare: dict[str, str], blank_database: BlankDatabase) -> None:
    Migrator(blank_database.admin_url).up(17)
    found = look(spare)
    assert "STORAGE_SCHEMA_OUTDATED" in found.broken("schema")
    assert "penstock migrate up" in found.broken("schema")
    assert found["rights"].outcome is Outcome.SKIPPED
    assert found["migrations"].told.startswith("17 of ")


def test_a_schema_that_is_not_as_its_files_say(spare: dict[str, str], blank_database: BlankDatabase) -> None:
    Migrator(blank_database.admin_url).up()
    with psycopg.connect(blank_database.admin_url, autocommit=True) as connection:
        connection.execute("GRANT DELETE ON penstock.submissions TO penstock_worker")
        assert "REVOKE DELETE ON TABLE penstock.submissions" in look(spare).broken("rights")
        this, following = connection.execute(
            "SELECT to_char(now() AT TIME ZONE 'UTC' + make_interval(months => n), '\"y\"YYYY\"m\"MM')"
            " FROM unnest(ARRAY[2, 1]) AS n"
        ).fetchall()
        for month, outcome in ((this[0], Outcome.WARN), (following[0], Outcome.FAIL)):
            connection.execute(f"DROP TABLE penstock.submissions_{month}".encode())
            assert "penstock migrate up" in look(spare).broken("partitions", outcome)
        connection.execute("UPDATE penstock.schema_migrations SET up_checksum = 'edited' WHERE version = 3")
        found = look(spare)
    assert "STORAGE_MIGRATION_CHANGED 0003_batches.up.sql was changed" in found.broken("migrations")


def test_a_role_that_may_too_much_or_too_little(environment: dict[str, str], database: Database) -> None:
    told = look(environment | {"DATABASE_URL": database.admin_url}).broken("role_bounds")
    assert "SUPERUSER" in told
    assert "rewrite what operators did" in told
    assert "DELETE ON penstock.operator_actions" in told
    assert "CREATE ROLE" in told
    login, password = f"test_{secrets.token_hex(6)}", secrets.token_hex(12)
    database.query(f"CREATE ROLE {login} LOGIN PASSWORD '{password}' IN ROLE penstock_reader")
    try:
        found = look(environment | {"DATABASE_URL": with_password(database.url, password, login)})
    finally:
        database.query(f"DROP ROLE {login}")
    assert f'GRANT "penstock_worker" TO "{login}"' in found.broken("role")
    usual = look(environment)
    assert usual["role"].outcome is usual["role_bounds"].outcome is Outcome.OK


def test_clocks_that_differ(environment: dict[str, str]) -> None:
    far = look(environment, clock=later(-3_600))
    for name in ("clock_postgresql", "clock_redis"):
        assert "NTP" in far.broken(name)
    near = look(environment, clock=later(30), clock_tolerance=timedelta(seconds=5))
    assert near.names(Outcome.WARN) >= {"clock_postgresql", "clock_redis"}
    assert (
        look(environment, clock=later(30), clock_tolerance=timedelta(seconds=59))["clock_redis"].outcome is Outcome.OK
    )


def test_servers_that_accept_and_never_answer_cost_their_own_checks_alone(environment: dict[str, str]) -> None:
    limit = timedelta(seconds=8)
    with silent_server() as port, socket.create_server(("127.0.0.1", 0)) as closed_soon, ThreadPoolExecutor() as both:
        nobody = closed_soon.getsockname()[1]
        closed_soon.close()
        no_redis = environment | {"REDIS_URL": f"redis://:{SECRET}@127.0.0.1:{port}/0"}
        sites = {"sidecar": f"http://127.0.0.1:{port}", "gateway": f"http://127.0.0.1:{nobody}"}
        first = both.submit(look, no_redis, limit=limit, **sites)
        no_postgresql = environment | {"DATABASE_URL": with_password(f"postgresql://127.0.0.1:{port}/x", SECRET)}
        second = both.submit(look, no_postgresql, limit=limit)
        found, other = first.result(), second.result()
    asked = {"sidecar", "sidecar_metrics", "sidecar_access", "gateway", "gateway_access"}
    assert found.names(Outcome.FAIL) == OF_REDIS | asked
    for name in asked:
        assert str(Code.REQUEST_UNANSWERED) in found.broken(name)
    # What asks Redis can't tell, and is no fault of its own; what asks PostgreSQL goes on.
    assert found["scheduler"].outcome is found["workers"].outcome is Outcome.SKIPPED
    for name in ("postgresql", "schema", "role", "migrations", "partitions", "clock_postgresql", "outbox"):
        assert found[name].outcome is Outcome.OK, found[name]
    # And the other way round.
    for name in ("postgresql", "role", "migrations", "partitions", "clock_postgresql"):
        assert str(Code.STORAGE_UNAVAILABLE) in other.broken(name) or str(Code.REQUEST_TIMEOUT) in other.broken(name)
    for name in ("settings", "redis", "queues", "redis_safety", "clock_redis", "reach_penstock_migration_database_url"):
        assert other[name].outcome is Outcome.OK, other[name]
    assert SECRET not in str(found.verification.as_dict()) + str(other.verification.as_dict())


def test_a_check_that_hangs_keeps_none_of_the_others_and_not_the_end() -> None:
    def hang() -> Iterator[Result]:
        yield Result.ok("first", "found before it hung")
        with silent_server() as port, socket.create_connection(("127.0.0.1", port)) as connection:
            connection.recv(1)

    def fail() -> Iterator[Result]:
        raise ValueError(SECRET)

    def quick(name: str) -> Check:
        return Check(name, lambda: [Result.ok(name, "done")], LIMIT)

    checks = [Check("hangs", hang, timedelta(seconds=1)), quick("quick"), Check("fails", fail, LIMIT)]
    found = run_checks(checks, LIMIT)
    told = {result.name: (result.outcome, result.code) for result in found.results}
    assert told == {
        "first": (Outcome.OK, None),
        "hangs": (Outcome.FAIL, "REQUEST_TIMEOUT"),
        "quick": (Outcome.OK, None),
        "fails": (Outcome.FAIL, "INTERNAL_ERROR"),
    }
    assert SECRET not in str(found.as_dict())
    # The time of all together ends a check whose own is not over.
    (late,) = [one for one in run_checks([Check("hangs", hang, LIMIT)], timedelta(seconds=1)).results if one.code]
    assert late.code == "REQUEST_TIMEOUT"


def test_a_connection_whose_server_froze_is_cut(environment: dict[str, str]) -> None:
    target = target_of(environment, limit=timedelta(seconds=1))
    with pytest.raises(PenstockError) as raised, target.database() as connection:
        connection.execute("SELECT pg_sleep(600)")
    assert raised.value.code is Code.STORAGE_UNAVAILABLE


def test_a_wrong_password_is_told_and_shown_nowhere(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = urlsplit(environment["REDIS_URL"])
    wrong = environment | {
        "DATABASE_URL": with_password(environment["DATABASE_URL"], SECRET),
        "PENSTOCK_MIGRATION_DATABASE_URL": with_password(environment["DATABASE_URL"], SECRET, "postgres"),
        "REDIS_URL": f"redis://:{SECRET}@{parts.netloc.rpartition('@')[2]}/0",
        "SENTRY_DSN": f"http://{SECRET}@127.0.0.1:1/1",
        "PENSTOCK_TOKEN_KEYS": f"k1:{SECRET}",
        "PENSTOCK_LOG_LEVEL": "debug",
    }
    run = command(monkeypatch, capfd, wrong, "--json")
    assert run.code == 1
    checks = {check["name"]: check for check in run.json["checks"]}
    for name in ("postgresql", "role", "reach_penstock_migration_database_url"):
        assert checks[name]["code"] == "STORAGE_PERMISSION_DENIED", checks[name]
    assert checks["redis_safety"]["code"] == checks["redis"]["code"] == "QUEUE_REFUSED"
    assert checks["token_keys"]["code"] == "CONFIG_INVALID"
    assert (checks["reach_sentry_dsn"]["outcome"], checks["smoke"]["outcome"]) == ("warn", "skipped")
    assert all(check["remedy"] for check in checks.values() if check["outcome"] in {"warn", "fail"})
    assert SECRET not in run.out + run.err
    text = command(monkeypatch, capfd, wrong)
    assert "\nFAIL  postgresql " in text.out
    assert SECRET not in text.out + text.err


def test_settings_that_can_not_be_read(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = command(monkeypatch, capfd, environment | {"PENSTOCK_POOL_MAX": SECRET}, "--json")
    (check,) = run.json["checks"]
    assert (run.code, check["name"], check["outcome"], check["code"]) == (2, "settings", "fail", "CONFIG_INVALID")
    assert "PENSTOCK_POOL_MAX" in check["message"]
    assert SECRET not in run.out + run.err


def test_options_that_can_not_be(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for usage in (["--gateway", f"http://u:{SECRET}@127.0.0.1:1"], ["--sidecar", "file:///x"], ["--seconds", "0"]):
        assert run_command(["verify", *usage]) == 2
    assert run_command(["verify", "--api-key-file", str(tmp_path / "none")]) == 1
    told = capfd.readouterr()
    assert told.err.count("REQUEST_USAGE") == 3
    assert "REQUEST_FILE_NOT_FOUND" in told.err
    assert SECRET not in told.out + told.err


def test_settings_that_are_wrong_or_that_nobody_reads(environment: dict[str, str], tmp_path: Path) -> None:
    told = look(environment | {"PENSTOCK_POOL_MIX": SECRET}).broken("settings", Outcome.WARN)
    assert "PENSTOCK_POOL_MIX" in told
    assert SECRET not in told
    other = {"PENSTOCK_GATEWAY_THREADS": SECRET, "PENSTOCK_SIDECAR_SECRET": SECRET * 2, "PENSTOCK_GATEWAY_PORT": "tcp"}
    told = look(environment | other).broken("settings")
    assert "CONFIG_INVALID" in told
    assert "PENSTOCK_GATEWAY_THREADS" in told
    empty = {"PENSTOCK_BACKUP_DIR": str(tmp_path), "PENSTOCK_BACKUP_KEY": generate_key("k1")}
    assert "penstock backup create" in look(environment | empty).broken("backups")


def test_the_age_of_backups() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def entry(hours: float, verified: float | None = None, fault: PenstockError | None = None) -> Entry:
        verified_at = None if verified is None else now - timedelta(days=verified)
        return Entry("b", now - timedelta(hours=hours), None, fault, verified_at)

    broken = PenstockError(Code.STORAGE_BACKUP_DAMAGED, "it is cut")
    for entries, outcome in (
        ([entry(1, 1)], Outcome.OK),
        ([entry(1), entry(25, 2)], Outcome.OK),
        ([entry(30, 1)], Outcome.WARN),
        ([entry(1, 9)], Outcome.WARN),
        ([entry(1)], Outcome.WARN),
        ([entry(1, 1, broken)], Outcome.FAIL),
        ([], Outcome.FAIL),
    ):
        assert judge_backups("backups", entries, now).outcome is outcome
