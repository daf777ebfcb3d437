"""A job that runs for three leases on a saturated worker is started once, though its worker's clock is
two minutes wrong."""

import pytest

from tests.recovery.servers import full
from tests.recovery.trial import UNGUARDED, Trial
from tests.system import wait_for

LEASE = 30 if full() else 3
SECONDS = 3 * LEASE
THREADS = 2
SETTINGS = {"PENSTOCK_LEASE_SECONDS": LEASE, "PENSTOCK_WORKER_THREADS": THREADS}


@pytest.mark.parametrize("clock", [120, -120], ids=["fast", "slow"])
def test_a_long_job_is_started_once(trial: Trial, clock: int) -> None:
    first = trial.start(**SETTINGS, PENSTOCK_TEST_CLOCK=clock)
    # Without a ledger, so that a second run would be seen.
    long = trial.enqueue(THREADS, name="long", kind=UNGUARDED, sleep_seconds=SECONDS)
    wait_for(lambda: len(trial.starts()) == THREADS, "the long jobs to start")
    assert {start.pid for start in trial.starts()} == {first.pid}
    # The worker is full, and has jobs waiting behind the long ones.
    behind = trial.enqueue(40, name="behind", kind=UNGUARDED)
    trial.start(**SETTINGS)
    trial.wait_until_over(3 * SECONDS)
    assert set(trial.starts_of(long + behind).values()) == {1}
    trial.assert_exactly_once(long + behind)
    trial.assert_clean()


def test_where_leases_end_by_a_workers_own_clock_it_is_started_again(trial: Trial) -> None:
    """The control: the second worker's clock is fast, and it believes it."""
    trial.start(**SETTINGS)
    (long,) = trial.enqueue(1, name="long", kind=UNGUARDED, sleep_seconds=SECONDS)
    wait_for(lambda: len(trial.starts()) == 1, "the long job to start")
    trial.start(**SETTINGS, PENSTOCK_TEST_CLOCK=120, PENSTOCK_TEST_WITHOUT="server-clock")
    wait_for(lambda: trial.starts_of([long])[long] > 1, "the long job to start again", SECONDS)
