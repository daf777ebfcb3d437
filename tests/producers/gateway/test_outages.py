"""A gateway whose servers are away: it accepts what it can, says what it can't, and takes no harm."""

import time
from pathlib import Path

from tests.producers.gateway.gateway_kit import Gateway, line, problem, serving
from tests.recovery.servers import OwnValkey, free_port
from tests.system import Database


def test_without_postgresql_rows_are_accepted_and_reads_are_told(
    environment: dict[str, str], gateway: Gateway, tmp_path: Path
) -> None:
    away = {"DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/none"}
    with serving(environment, tmp_path, **away) as found:
        assert found.ask("GET", "/health/ready").json()["checks"][1] == {"name": "postgresql", "status": "down"}
        sent = found.submit("x", key="no-storage")
        assert sent.status_code == 202, sent.text
        problem(found.ask("GET", "/v1/forms/poll"), 503, "STORAGE_UNAVAILABLE")
        # The queue knows what is not committed.
        assert found.ask("GET", sent.json()["status_url"]).json()["state"] == "ready"
        began = time.monotonic()
        for number in range(100):
            assert found.submit("x", key=f"no-storage-{number}").status_code == 202
        assert time.monotonic() - began < 60  # nobody waits for PostgreSQL each time
    assert gateway.submit("x", key="no-storage").headers["idempotency-replayed"] == "true"


def test_without_redis_the_outbox_still_accepts(
    environment: dict[str, str], gateway: Gateway, database: Database, tmp_path: Path
) -> None:
    away = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "PENSTOCK_GATEWAY_KEY_LIMIT": "1000"}
    with serving(environment, tmp_path, "/health/live", **away) as found:
        assert found.ask("GET", "/health/ready").status_code == 503
        refused = found.submit("x", key="no-redis")
        told = problem(refused, 503, "QUEUE_UNAVAILABLE")
        assert refused.headers["retry-after"]
        assert told["accepted"]["rows"] == 0
        problem(found.stream(line("x")), 503, "QUEUE_UNAVAILABLE")
        accepted = found.submit("x", key="no-redis", params={"durability": "postgres"})
        assert accepted.status_code == 202, accepted.text
    job_id = accepted.json()["batches"][0]["job_id"]
    assert database.value("SELECT count(*) FROM penstock.outbox WHERE job_id = %s", job_id) == 1


def test_a_redis_that_goes_and_comes_is_noticed(environment: dict[str, str], gateway: Gateway, tmp_path: Path) -> None:
    with OwnValkey() as valkey, serving(environment, tmp_path, REDIS_URL=valkey.url) as found:
        assert found.submit("x", key="before").status_code == 202
        valkey.kill9()
        problem(found.submit("x", key="while"), 503, "QUEUE_UNAVAILABLE")
        valkey.start()
        assert found.submit("x", key="while").status_code == 202


def test_a_full_queue_is_told_with_when_to_come_again(
    environment: dict[str, str], gateway: Gateway, tmp_path: Path
) -> None:
    full = {"PENSTOCK_NAMESPACE": f"{environment['PENSTOCK_NAMESPACE']}-full", "PENSTOCK_QUEUE_LIMIT_JOBS": "3"}
    with serving(environment, tmp_path, **full) as found:
        refused = found.stream(b"".join(line(f"{number}") for number in range(5_500)), key="full")
        told = problem(refused, 503, "QUEUE_FULL")
        assert 1 <= int(refused.headers["retry-after"]) <= 300
        assert told["accepted"]["rows"] == 3_000
        assert [part["batch_id"] for part in told["accepted"]["batches"]] == ["full-0001", "full-0002", "full-0003"]


def test_a_frozen_redis_holds_a_request_no_longer_than_its_time(
    environment: dict[str, str], gateway: Gateway, tmp_path: Path
) -> None:
    short = {"PENSTOCK_GATEWAY_REQUEST_SECONDS": "2"}
    with OwnValkey() as valkey, serving(environment, tmp_path, REDIS_URL=valkey.url, **short) as found:
        assert found.submit("x", key="before").status_code == 202
        valkey.freeze()
        try:
            began = time.monotonic()
            refused = found.submit("x")
            # The library's own replays would take over 20 s.
            assert time.monotonic() - began < 15
            told = problem(refused, 503, "REQUEST_TIMEOUT")
            assert found.ask("GET", "/health/live").status_code == 200
        finally:
            valkey.thaw()
        assert found.submit("x", key=told["idempotency_key"]).status_code == 202
