"""SIGTERM: what was not started is back at once, what runs may finish in its grace, and the rest runs elsewhere."""

import signal
import time

import pytest

from tests.recovery.servers import full, measured
from tests.recovery.trial import Trial, TrialWorker
from tests.system import PATIENCE_SECONDS, wait_for

GRACE = 10 if full() else 4
LONG_SECONDS = 30 if full() else 8
WAITING = 20
BACK_SECONDS = 2.0 if full() else PATIENCE_SECONDS
#: Exit codes of `penstock worker`.
ALL_FINISHED, GAVE_BACK = 0, 3
#: So long that no job comes back by the end of its lease.
SETTINGS = {"PENSTOCK_LEASE_SECONDS": 60, "PENSTOCK_WORKER_THREADS": 2, "PENSTOCK_SHUTDOWN_SECONDS": GRACE}


def busy(trial: Trial, seconds: float, **env: object) -> TrialWorker:
    """A worker with a long job in each thread, and others waiting behind."""
    worker = trial.start(**{**SETTINGS, **env})
    trial.enqueue(2, name="long", sleep_seconds=seconds)
    wait_for(lambda: len(trial.starts()) == 2, "the long jobs to start")
    trial.enqueue(WAITING, name="waiting")
    wait_for(lambda: trial.counts().leased > 2, "the worker to hold more than it runs")
    return worker


def test_a_stopping_worker_gives_back_what_it_does_not_finish(trial: Trial) -> None:
    worker = busy(trial, LONG_SECONDS)
    stopped = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    wait_for(lambda: trial.counts().ready == WAITING, "the jobs that were not started", BACK_SECONDS)
    back = measured(stopped)
    assert worker.wait_until_dead(GRACE + PATIENCE_SECONDS) == GAVE_BACK
    gone = measured(stopped)
    print(f"{WAITING} jobs were back after {back} s; the worker had a grace of {GRACE} s and was gone after {gone} s")
    # At the small size a busy machine's way of ending a process counts for more than the grace.
    assert gone < GRACE or not full()

    trial.start(**SETTINGS)
    jobs = trial.enqueue(2, name="long", sleep_seconds=LONG_SECONDS) + trial.enqueue(WAITING, name="waiting")
    trial.wait_until_over()
    trial.assert_exactly_once(jobs)
    trial.assert_clean()
    # Nobody is to blame for a deploy.
    assert trial.counts().dead == 0


def test_a_job_that_finishes_in_the_grace_is_finished(trial: Trial) -> None:
    worker = busy(trial, 5, PENSTOCK_SHUTDOWN_SECONDS=60)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_until_dead() == ALL_FINISHED
    counts = trial.counts()
    assert (counts.done, counts.ready, counts.leased) == (2, WAITING, 0)
    trial.assert_clean()


@pytest.mark.parametrize("way", ["killed", "without giving back"])
def test_otherwise_they_stay_with_it(trial: Trial, way: str) -> None:
    """The control: a worker that is killed, and one that stops without giving back."""
    off = {} if way == "killed" else {"PENSTOCK_TEST_WITHOUT": "release"}
    worker = busy(trial, LONG_SECONDS, **off)
    worker.process.send_signal(signal.SIGKILL if way == "killed" else signal.SIGTERM)
    worker.wait_until_dead(GRACE + PATIENCE_SECONDS)
    assert trial.counts().ready < WAITING
