"""Redis is killed, or frozen, while jobs fail and are retried; no worker is restarted, and nothing is lost or stuck."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.recovery.servers import OwnValkey, full, measured
from tests.recovery.trial import UNGUARDED, Trial
from tests.system import Database

JOBS = 600 if full() else 150
#: Each fails so often before it succeeds, so that retries are on their way when Redis goes.
FAILURES = 2
#: Over how long the jobs become ready, so that Redis goes in the middle.
OVER = timedelta(seconds=6)
KILLED_SECONDS = 5 if full() else 2
FROZEN_SECONDS = 7 if full() else 3
LIMIT_SECONDS = 20 if full() else 120
#: The control needs no longer to show what is wrong.
CONTROL_SECONDS = 10
LEASE = 5.0


@pytest.fixture
def apart(environment: dict[str, str], database: Database, own_valkey: OwnValkey, tmp_path: Path) -> Iterator[Trial]:
    """A trial on a Redis of its own."""
    with Trial(environment | {"REDIS_URL": own_valkey.url}, database, tmp_path) as made:
        yield made


def kill(server: OwnValkey) -> None:
    server.kill9()
    time.sleep(KILLED_SECONDS)
    server.start()


def freeze(server: OwnValkey) -> None:
    server.freeze()
    time.sleep(FROZEN_SECONDS)
    server.thaw()


@pytest.mark.parametrize("fault", [kill, freeze], ids=["killed", "frozen"])
def test_redis_goes_and_comes_back(apart: Trial, own_valkey: OwnValkey, fault: Callable[[OwnValkey], None]) -> None:
    workers = [apart.start(PENSTOCK_LEASE_SECONDS=LEASE) for _ in range(2)]
    jobs = apart.spread(JOBS, OVER, fail=FAILURES)
    time.sleep(OVER.total_seconds() / 2)
    before = apart.counts()
    fault(own_valkey)
    returned = time.monotonic()
    apart.wait_until_over(LIMIT_SECONDS)
    print(f"{JOBS} of {JOBS} done {measured(returned)} s after Redis was back; {before.done} were done before")
    assert before.done < JOBS, "Redis went too late to prove anything"
    assert all(worker.is_running() for worker in workers)
    apart.assert_exactly_once(jobs)
    apart.assert_clean()


def test_without_the_replay_of_a_step_jobs_are_stuck_or_run_twice(apart: Trial, own_valkey: OwnValkey) -> None:
    """The control: a worker that takes a step without an answer for done."""
    apart.start(PENSTOCK_LEASE_SECONDS=LEASE, PENSTOCK_TEST_WITHOUT="replay")
    jobs = apart.spread(JOBS, OVER, kind=UNGUARDED, sleep_seconds=0.05)
    time.sleep(OVER.total_seconds() / 2)
    kill(own_valkey)
    over = time.monotonic() + CONTROL_SECONDS
    while time.monotonic() < over and apart.counts().waiting and not apart.effects(jobs).twice:
        time.sleep(0.2)
    assert apart.effects(jobs).twice > 0 or apart.counts().leased > 0
