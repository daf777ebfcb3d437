"""A group claims the effects of all its jobs in one statement."""

import threading
import uuid
from datetime import UTC, datetime

import psycopg
import pytest

from penstock.workers.database.ledger import claim_effect, claim_effects
from penstock.workers.job import Job
from tests.system import Database, wait_for


def job(tenant: str = "acme") -> Job:
    return Job(uuid.uuid4(), "greeting.send", tenant, datetime.now(UTC), 1, b"{}")


def known(database: Database, jobs: list[Job]) -> list[tuple[object, ...]]:
    ids = [one.job_id for one in jobs]
    return database.query(
        "SELECT job_id, kind, tenant, result FROM penstock.job_effects WHERE job_id = ANY(%s) ORDER BY job_id", ids
    )


def rows_of(jobs: list[Job]) -> list[tuple[object, ...]]:
    return sorted((one.job_id, one.kind, one.tenant, None) for one in jobs)


def test_a_group_is_told_which_effects_are_to_be_written_now(database: Database) -> None:
    before, jobs = job(), [job(), job("zeta"), job()]
    with psycopg.connect(database.url) as connection:
        assert claim_effect(connection, before)
        assert claim_effects(connection, [jobs[0], before, *jobs[1:]]) == {one.job_id for one in jobs}
    assert known(database, [before, *jobs]) == rows_of([before, *jobs])
    with psycopg.connect(database.url) as connection:
        assert claim_effects(connection, jobs) == set()


def test_an_empty_group_claims_nothing(database: Database) -> None:
    with psycopg.connect(database.url) as connection:
        assert claim_effects(connection, []) == set()


@pytest.mark.parametrize("commits", [True, False])
def test_a_second_delivery_waits_for_the_first_in_whatever_order_they_come(database: Database, commits: bool) -> None:
    jobs, new = [job() for _ in range(20)], job()
    claimed: list[set[uuid.UUID]] = []
    with psycopg.connect(database.url) as first, psycopg.connect(database.url) as second:
        assert len(claim_effects(first, jobs)) == 20
        thread = threading.Thread(target=lambda: claimed.append(claim_effects(second, [new, *reversed(jobs)])))
        thread.start()
        waits = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted"
        wait_for(lambda: database.value(waits, second.info.backend_pid) > 0, "the second delivery to wait")
        assert claimed == []
        if commits:
            first.commit()
        else:
            first.rollback()
        thread.join(60)
    assert claimed == [{new.job_id} if commits else {new.job_id, *(one.job_id for one in jobs)}]
