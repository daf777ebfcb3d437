"""PostgreSQL goes away and comes back: jobs wait where they are, cost no attempt and no work, and go on at once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from tests.pooler import pgbouncer
from tests.recovery.servers import OwnPostgres, full, measured
from tests.recovery.trial import Trial, TrialWorker
from tests.system import wait_for

OUTAGE_SECONDS = 60 if full() else 10
JOBS = 2_000 if full() else 400
#: Jobs that become ready each second, before, in and after an outage.
A_SECOND = 40
#: After so long everybody has noticed: a thread that waits for a connection does so for 5 s.
NOTICED_SECONDS = 7.0
GIVEN_BACK_SECONDS = NOTICED_SECONDS if full() else 60.0
RESUMED_SECONDS = 5.0 if full() else 30.0
#: Of one core, for each worker while nothing can be done.
IDLE_SHARE = 0.05
#: By default a pooler tries a server that was away every 15 s.
POOLER = "server_login_retry = 1\n"

Trials = Callable[[str], Trial]


@pytest.fixture(params=["direct", "pooled"])
def apart(
    request: pytest.FixtureRequest, environment: dict[str, str], own_postgres: OwnPostgres, tmp_path: Path
) -> Iterator[Trial]:
    """A trial on a PostgreSQL of its own, with and without a pooler before it."""
    with _way(request.param, own_postgres) as way, Trial(environment | way, own_postgres.database, tmp_path) as made:
        yield made


@contextmanager
def _way(name: str, server: OwnPostgres) -> Iterator[dict[str, str]]:
    direct = {"DATABASE_URL": server.database.url, "PENSTOCK_MIGRATION_DATABASE_URL": server.database.admin_url}
    if name == "direct":
        yield direct
        return
    with pgbouncer(server.database, pool_size=8, settings=POOLER) as url:
        yield direct | {"DATABASE_URL": url, "PENSTOCK_PREPARE_STATEMENTS": "off"}


def cpu_seconds(workers: list[TrialWorker]) -> float:
    """What these processes have used of any core."""
    times = [psutil.Process(worker.pid).cpu_times() for worker in workers]
    return sum(one.user + one.system for one in times)


def attempts(trial: Trial, jobs: list[UUID]) -> int:
    """Failed attempts of all these jobs that were counted."""
    with trial.client.pipeline(transaction=False) as pipeline:
        for one in jobs:
            pipeline.hget(trial.keys.job(one), "attempts")
        return sum(int(count or 0) for count in pipeline.execute())


def blocked_by(trial: Trial, jobs: list[UUID]) -> set[str | None]:
    """What the ready ones of these jobs are said to wait for."""
    views = [trial._inspector.find(one) for one in jobs]
    return {view.blocked_by for view in views if view is not None and view.state == "ready"}


def resumed(trial: Trial, done: int, since: float) -> float:
    """Wait until more jobs are done than were; returns the seconds since then."""
    wait_for(lambda: trial.counts().done > done, "jobs to be done again")
    return measured(since)


def assert_unharmed(trial: Trial, jobs: list[UUID], workers: list[TrialWorker]) -> None:
    assert all(worker.is_running() for worker in workers)
    assert trial.counts().dead == 0
    assert attempts(trial, jobs) == 0
    trial.assert_exactly_once(jobs)
    trial.assert_clean()


def test_an_outage_under_load(apart: Trial, own_postgres: OwnPostgres) -> None:
    workers = [apart.start(PENSTOCK_LEASE_SECONDS=5) for _ in range(2)]
    over = timedelta(seconds=OUTAGE_SECONDS + 6)
    jobs = apart.spread(int(A_SECOND * over.total_seconds()), over, sleep_seconds=0.02, sleep_in="postgresql")
    time.sleep(3)
    own_postgres.stop_immediately()
    went = time.monotonic()
    try:
        wait_for(lambda: apart.counts().leased == 0, "all that is held to be given back", GIVEN_BACK_SECONDS)
        given_back = measured(went)
        wait_for(
            lambda: blocked_by(apart, jobs) == {"storage"}, "the jobs to say what they wait for", GIVEN_BACK_SECONDS
        )
        used, noticed = cpu_seconds(workers), time.monotonic()
        most_leased = 0
        while time.monotonic() < went + OUTAGE_SECONDS:
            most_leased = max(most_leased, apart.counts().leased)
            time.sleep(0.25)
        share = (cpu_seconds(workers) - used) / (time.monotonic() - noticed) / len(workers)
        churn = [start for start in apart.starts() if start.at > noticed]
        waiting = apart.counts()
    finally:
        own_postgres.start()
    returned = time.monotonic()
    seconds = resumed(apart, waiting.done, returned)
    apart.wait_until_over()
    print(
        f"away {OUTAGE_SECONDS} s under load: all given back after {given_back} s; then {len(churn)} starts,"
        f" {most_leased} leased at the most, {share:.1%} of a core a worker; {waiting.ready} of {len(jobs)} jobs ready;"
        f" resumed {seconds} s after its return, all done after {measured(returned)} s,"
        f" {attempts(apart, jobs)} attempts spent, {apart.counts().dead} dead"
    )
    assert waiting.ready > 0, "PostgreSQL went too late to prove anything"
    assert (len(churn), most_leased) == (0, 0)
    assert share < IDLE_SHARE
    assert seconds < RESUMED_SECONDS
    assert_unharmed(apart, jobs, workers)


def test_without_holding_still_jobs_go_round_and_round(
    environment: dict[str, str], own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    """The control: workers that take jobs whatever they know of PostgreSQL."""
    with _way("direct", own_postgres) as way, Trial(environment | way, own_postgres.database, tmp_path) as trial:
        trial.start(PENSTOCK_TEST_WITHOUT="holding", PENSTOCK_POOL_WAIT_SECONDS=1)
        jobs = trial.spread(200, timedelta(seconds=5), sleep_seconds=0.02, sleep_in="postgresql")
        time.sleep(1)
        own_postgres.stop_immediately()
        try:
            time.sleep(NOTICED_SECONDS)
            noticed = time.monotonic()
            time.sleep(3)
            churn = [start for start in trial.starts() if start.at > noticed]
        finally:
            own_postgres.start()
        trial.wait_until_over()
        assert churn
        trial.assert_exactly_once(jobs)


def test_a_restart_under_load_and_one_while_idle(apart: Trial, own_postgres: OwnPostgres) -> None:
    workers = [apart.start(PENSTOCK_LEASE_SECONDS=5) for _ in range(2)]
    over = timedelta(seconds=JOBS / 100)
    jobs = apart.spread(JOBS, over, sleep_seconds=0.02, sleep_in="postgresql")
    time.sleep(over.total_seconds() / 2)
    own_postgres.stop_immediately()
    # What committed before it went is acked within that time.
    time.sleep(0.3)
    before = apart.counts()
    own_postgres.start()
    returned = time.monotonic()
    seconds = resumed(apart, before.done, returned)
    apart.wait_until_over()
    assert before.done < JOBS, "PostgreSQL went too late to prove anything"
    assert_unharmed(apart, jobs, workers)

    # Each worker has connections open that lead nowhere now.
    time.sleep(1)
    own_postgres.stop_immediately()
    own_postgres.start()
    started = time.monotonic()
    later = apart.enqueue(100, name="later")
    idle_seconds = resumed(apart, len(jobs), started)
    apart.wait_until_over()
    print(
        f"restart under load: resumed {seconds} s after its return; while idle: {idle_seconds} s;"
        f" {attempts(apart, jobs + later)} attempts spent, {apart.counts().dead} dead"
    )
    assert max(seconds, idle_seconds) < RESUMED_SECONDS
    assert_unharmed(apart, jobs + later, workers)


def test_a_server_that_takes_no_writes_counts_as_away(
    environment: dict[str, str], own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    """As after a failover, while the name still leads to what is a replica now."""
    database = own_postgres.database
    with _way("direct", own_postgres) as way, Trial(environment | way, database, tmp_path) as trial:
        worker = trial.start()
        trial.enqueue(20, name="before")
        trial.wait_until_over()
        database.query("ALTER SYSTEM SET default_transaction_read_only = on")
        database.query("SELECT pg_reload_conf()")
        try:
            wait_for(lambda: database.value("SHOW default_transaction_read_only") == "on", "the reload")
            jobs = trial.enqueue(50, name="held")
            wait_for(lambda: blocked_by(trial, jobs) == {"storage"}, "the jobs to say what they wait for")
            wait_for(lambda: trial.counts().leased == 0, "all that is held to be given back", GIVEN_BACK_SECONDS)
        finally:
            database.query("ALTER SYSTEM RESET default_transaction_read_only")
            database.query("SELECT pg_reload_conf()")
        seconds = resumed(trial, 20, time.monotonic())
        trial.wait_until_over()
        print(f"read-only: resumed {seconds} s after it took writes again")
        assert seconds < RESUMED_SECONDS
        assert_unharmed(trial, jobs, [worker])
