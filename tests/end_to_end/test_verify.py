"""`penstock verify` on a deployment that works: all is found well, and the smoke test leaves nothing that grows."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from cryptography.fernet import Fernet

from penstock.workers.verify.probe import FORM_ID, TENANT
from penstock.workers.verify.result import Outcome
from tests.end_to_end.verify_kit import SAFE, Found, command, look
from tests.end_to_end.verify_kit import processes as running_processes
from tests.posts_kit import KEY, new_account
from tests.recovery.servers import ValkeyProcess
from tests.system import Database, Penstock, wait_for

#: Beyond any loaded machine's.
SMOKE = timedelta(seconds=60)
#: Of a deployment on one machine, before anything has run there.
NOTHING_TO_LOOK_AT = {"backups", "api_keys"}
#: The disk and the memory of whoever runs the tests are not ours.
OF_THE_MACHINE = {"disk", "memory"}


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis that is as it should be; that of the other tests flushes nothing."""
    with ValkeyProcess(SAFE) as server:
        yield server.url


@pytest.fixture(scope="module")
def environment(environment: dict[str, str]) -> dict[str, str]:
    return environment | {"PENSTOCK_TOKEN_KEYS": f"k1:{KEY}"}


@pytest.fixture(scope="module")
def addresses(environment: dict[str, str], database: Database) -> Iterator[dict[str, str]]:
    """The processes, each heard of."""
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        new_account(connection)
    with running_processes(environment) as found:
        wait_for(lambda: _heard(look(environment)), "worker and scheduler to be heard of")
        yield found


def _heard(found: Found) -> bool:
    return not found.names(Outcome.FAIL) & {"workers", "scheduler"}


def test_all_is_well(
    penstock: Penstock,
    addresses: dict[str, str],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--gateway", addresses["gateway"], "--sidecar", addresses["sidecar"], "--check-seconds", "30")
    run = penstock("verify", "--smoke", *arguments, "--json")
    checks = {check["name"]: check for check in run.json["checks"]}
    wrong = {name for name, check in checks.items() if check["outcome"] in {"warn", "fail"}}
    assert wrong <= OF_THE_MACHINE, run.out
    assert run.code == 0
    assert {name for name, check in checks.items() if check["outcome"] == "skipped"} == NOTHING_TO_LOOK_AT
    assert checks["smoke"]["message"].startswith("sent three times through the gateway, done once")
    assert "tried" in checks["token_keys"]["message"]
    assert run.json["counts"]["fail"] == 0
    assert run.json["outcome"] in {"ok", "warn"}
    assert {"postgresql", "schema", "redis", "workers", "scheduler", "outbox", "role_bounds", "rights"} <= set(checks)
    # The same for people.
    keyless = {name: value for name, value in environment.items() if name != "PENSTOCK_TOKEN_KEYS"}
    strict = command(monkeypatch, capfd, keyless, "--strict", *arguments)
    text = strict.out
    assert strict.code == 1
    assert "\nwarn  token_keys" in text
    assert "docs/posts.md" in text
    assert text.splitlines()[-1].startswith(f"{len(checks)} checks in ")


def test_the_smoke_test_leaves_nothing_that_grows(
    penstock: Penstock, addresses: dict[str, str], environment: dict[str, str], database: Database
) -> None:
    for gateway in (None, addresses["gateway"]):
        told = look(environment, SMOKE, gateway=gateway)["smoke"]
        assert told.outcome is Outcome.OK, told
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE form_id = %s", FORM_ID) == 0
    forms = database.query("SELECT tenant FROM penstock.forms WHERE form_id = %s ORDER BY 1", FORM_ID)
    # A gateway without keys has one tenant.
    assert forms == [("default",), (TENANT,)]
    # As long as Redis knows the jobs, the ledger does, too.
    assert penstock("reconcile").code == 0
    database.query("UPDATE penstock.submission_batches SET committed_at = now() - interval '9 days'")
    database.query("UPDATE penstock.base_batches SET created_at = now() - interval '9 days'")
    assert look(environment, SMOKE)["smoke"].outcome is Outcome.OK
    for table in ("submission_batches", "base_batches"):
        assert database.value(f"SELECT count(*) FROM penstock.{table}") == 1


def test_only_the_probe_is_forgotten(addresses: dict[str, str], database: Database) -> None:
    base = f"probe-{uuid.uuid4().hex}"
    columns = "tenant, batch_id, form_key, form_id, form_version, base_batch_id, first_position, digest, stored,"
    columns += " rejected, duplicates, job_id, received_at, committed_at"
    of_another = "'default', %s, -1, 'penstock-probe', 1, %s, 0, '', 1, 0, 0, gen_random_uuid(), now(), '2020-01-01'"
    database.query(f"INSERT INTO penstock.submission_batches ({columns}) VALUES ({of_another})", f"{base}-1", base)
    database.query("SELECT penstock.forget_probe(%s, interval '1 hour')", base)
    assert database.value("SELECT count(*) FROM penstock.submission_batches WHERE base_batch_id = %s", base) == 1
    for name, age in (("a-base", "1 hour"), (base, "1 minute"), (None, "1 hour")):
        with pytest.raises(Exception, match="a run of the probe"):
            database.query("SELECT penstock.forget_probe(%s, %s::interval)", name, age)


def test_what_is_open_on_this_machine_alone_is_told_where_others_reach_it(
    addresses: dict[str, str], environment: dict[str, str]
) -> None:
    reached = {name: address.replace("127.0.0.1", "0.0.0.0") for name, address in addresses.items()}
    found = look(environment, **reached)
    assert "PENSTOCK_API_KEY_SECRET" in found.broken("gateway_access")
    assert "PENSTOCK_SIDECAR_CREDENTIALS" in found.broken("sidecar_access")
    assert found["gateway"].outcome is found["sidecar"].outcome is Outcome.OK
    here = look(environment, **addresses)
    assert here["gateway_access"].outcome is here["sidecar_access"].outcome is Outcome.OK
    # One that is mistaken for the other.
    swapped = look(environment, gateway=addresses["sidecar"], sidecar=addresses["gateway"])
    assert swapped["sidecar_metrics"].outcome is Outcome.FAIL


def test_tokens_that_do_not_open_are_told(addresses: dict[str, str], environment: dict[str, str]) -> None:
    other = f"k2:{Fernet.generate_key().decode()}"
    found = look(environment | {"PENSTOCK_TOKEN_KEYS": other})
    told = found.broken("token_keys")
    assert "ACCOUNT_TOKEN_UNREADABLE" in told
    assert other.partition(":")[2] not in told
