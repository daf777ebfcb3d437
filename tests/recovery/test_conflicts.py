"""Transactions that lose against each other, by the hundred: the sums are exact, and no job dies of it."""

import time
from uuid import UUID

import pytest

from tests.recovery.servers import full, measured
from tests.recovery.trial import Trial
from tests.system import wait_for

CONTENDING = "probe.contending"
CONFLICTS = 200 if full() else 40
#: Each pair meets in one process.
SETTINGS = {"PENSTOCK_WORKER_THREADS": 8, "PENSTOCK_LEASE_SECONDS": 5}


@pytest.fixture
def contended(trial: Trial) -> Trial:
    """The trial, with `contended` to write to and a server that looks for deadlocks often."""
    query = trial.database.query
    query("CREATE TABLE IF NOT EXISTS contended (name text PRIMARY KEY, value int NOT NULL)")
    query("TRUNCATE contended")
    query("GRANT ALL ON contended TO PUBLIC")
    query(f"ALTER DATABASE {trial.database.name} SET deadlock_timeout = '20ms'")
    return trial


def rows(trial: Trial, count: int) -> list[str]:
    """The names of so many rows, at zero."""
    names = [f"row-{number}" for number in range(count)]
    trial.database.query("INSERT INTO contended SELECT unnest(%s::text[]), 0", names)
    return names


def crossing(trial: Trial) -> list[UUID]:
    """Pairs of jobs that take the same two rows crosswise."""
    names = rows(trial, 2 * CONFLICTS)
    jobs = []
    for number in range(CONFLICTS):
        pair = names[2 * number : 2 * number + 2]
        for place, order in enumerate((pair, pair[::-1])):
            payload = {"name": f"cross-{number}-{place}", "rows": order, "pair": f"pair-{number}"}
            jobs.append(trial.job(payload, kind=CONTENDING))
    trial.offer(jobs)
    return [job.job_id for job in jobs]


def overtaken(trial: Trial) -> list[UUID]:
    """Jobs whose row somebody else changes after their transaction has begun."""
    jobs = [
        trial.job({"name": f"overtaken-{number}", "rows": [name]}, kind=CONTENDING)
        for number, name in enumerate(rows(trial, CONFLICTS))
    ]
    trial.offer(jobs)
    return [job.job_id for job in jobs]


def deadlocks(trial: Trial) -> int:
    """Those that PostgreSQL has counted in this database."""
    trial.database.query("SELECT pg_stat_clear_snapshot()")
    return int(trial.database.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))


def attempts(trial: Trial, jobs: list[UUID]) -> int:
    """Failed attempts of all these jobs that were counted."""
    return sum(int(trial.client.hget(trial.keys.job(one), "attempts") or 0) for one in jobs)


def repeated(trial: Trial, jobs: list[UUID]) -> int:
    """Tries beyond the first one of each job."""
    return sum(trial.starts_of(jobs).values()) - len(jobs)


def test_deadlocks_leave_exact_sums_and_no_dead_letter(contended: Trial) -> None:
    before = deadlocks(contended)
    contended.start(**SETTINGS)
    started = time.monotonic()
    jobs = crossing(contended)
    contended.wait_until_over(120)
    seconds = measured(started)
    # A session tells of what it counted when it has been idle for 10 s.
    wait_for(lambda: deadlocks(contended) - before >= CONFLICTS, "PostgreSQL to have counted the deadlocks")
    met = deadlocks(contended) - before
    print(
        f"{met} deadlocks among {len(jobs)} jobs in {seconds} s: {contended.counts().dead} dead,"
        f" {attempts(contended, jobs)} attempts spent, {repeated(contended, jobs)} tries repeated"
    )
    assert repeated(contended, jobs) >= CONFLICTS, "too few deadlocks to prove anything"
    assert contended.states(jobs) == {"done": len(jobs)}
    assert attempts(contended, jobs) == 0
    sums = contended.database.query("SELECT value, count(*) FROM contended GROUP BY value")
    assert sums == [(2, 2 * CONFLICTS)]


def test_serialization_failures_leave_exact_sums_and_no_dead_letter(contended: Trial) -> None:
    contended.start(**SETTINGS)
    started = time.monotonic()
    jobs = overtaken(contended)
    contended.wait_until_over(120)
    print(
        f"{repeated(contended, jobs)} serialization failures of {len(jobs)} jobs in {measured(started)} s:"
        f" {contended.counts().dead} dead, {attempts(contended, jobs)} attempts spent"
    )
    assert repeated(contended, jobs) == CONFLICTS
    assert contended.states(jobs) == {"done": len(jobs)}
    assert attempts(contended, jobs) == 0
    # One of the job's own, and one of who overtook it.
    sums = contended.database.query("SELECT value, count(*) FROM contended GROUP BY value")
    assert sums == [(2, CONFLICTS)]


@pytest.mark.parametrize("lose", [crossing, overtaken], ids=["deadlocks", "serialization"])
def test_without_tries_in_the_transaction_jobs_die_of_it(contended: Trial, lose: object) -> None:
    """The control: a lost transaction is a failed attempt."""
    contended.start(**SETTINGS, PENSTOCK_TEST_WITHOUT="tries")
    assert callable(lose)
    lose(contended)
    contended.wait_until_over(120)
    assert contended.counts().dead >= CONFLICTS
