"""`kill -9` at every named point of a worker's round, a run for each: nothing lost, nothing twice."""

import signal
from datetime import timedelta
from uuid import UUID

import pytest

from tests.recovery.trial import UNGUARDED, Trial
from tests.system import wait_for

#: The point, and the passage of it at which the worker dies.
POINTS = [
    pytest.param("after-lease:1", id="after lease"),
    pytest.param("lease-unanswered:1", id="leased but never told so"),
    pytest.param("before-begin:3", id="before BEGIN"),
    pytest.param("before-commit:3", id="after the insert"),
    pytest.param("after-commit:3", id="after COMMIT"),
    pytest.param("before-settle:2", id="before ack"),
    pytest.param("settle-unanswered:2", id="acknowledged but never told so"),
    pytest.param("after-settle:2", id="after ack"),
]
#: Only a job that was lost with another worker is marked as started before it runs.
STARTS = [
    pytest.param("before-start:1", id="before start"),
    pytest.param("start-unanswered:1", id="started but never told so"),
    pytest.param("after-start:1", id="after start"),
]
#: A lease promotes, too; the step that promotes and does not lease is to be met by a worker that is full.
PROMOTIONS = [
    pytest.param("before-promotion:1", id="before promotion"),
    pytest.param("tick-unanswered:1", id="promoted but never told so"),
    pytest.param("after-promotion:1", id="after promotion"),
]
#: The queue keeps a dead worker's jobs for the lease of 2 s, and no longer than that; processes start within it, too.
PATIENCE = 60.0


def work(trial: Trial, kind: str = "probe.guarded") -> list[UUID]:
    """Jobs of every path: done at once, retried, postponed, due in a moment."""
    return [
        *trial.enqueue(8, name="plain", kind=kind),
        *trial.enqueue(3, name="failing", kind=kind, fail=1),
        *trial.enqueue(3, name="postponed", kind=kind, postpone=1),
        *trial.enqueue(4, name="scheduled", kind=kind, due=timedelta(seconds=0.5)),
    ]


def die_at(trial: Trial, point: str, **env: object) -> None:
    worker = trial.start(ready=False, PENSTOCK_TEST_FAULT=point, **env)
    assert worker.wait_until_dead(PATIENCE) == -signal.SIGKILL


def assert_nothing_was_lost(trial: Trial, jobs: list[UUID]) -> None:
    trial.start()
    trial.wait_until_over(PATIENCE)
    trial.assert_exactly_once(jobs)
    trial.assert_clean()


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_costs_nothing(trial: Trial, point: str) -> None:
    jobs = work(trial)
    die_at(trial, point)
    assert_nothing_was_lost(trial, jobs)


@pytest.mark.parametrize("point", STARTS)
def test_a_kill_around_the_start_of_a_lost_job_costs_nothing(trial: Trial, point: str) -> None:
    jobs = work(trial)
    with trial.minded():
        die_at(trial, "after-lease:1")
        die_at(trial, point)
        assert_nothing_was_lost(trial, jobs)


@pytest.mark.parametrize("point", PROMOTIONS)
def test_a_kill_around_a_promotion_costs_nothing(trial: Trial, point: str) -> None:
    jobs = trial.enqueue(2, name="long", sleep_seconds=4) + work(trial)
    worker = trial.start(ready=False, PENSTOCK_TEST_FAULT=point, PENSTOCK_WORKER_THREADS=1)
    # Due when its thread is busy, or a lease would promote them.
    wait_for(lambda: trial.starts() != [] or not worker.is_running(), "a long job to run")
    jobs += trial.enqueue(4, name="later", due=timedelta(seconds=1))
    assert worker.wait_until_dead(PATIENCE) == -signal.SIGKILL
    assert_nothing_was_lost(trial, jobs)


def test_without_the_ledger_a_kill_before_the_ack_doubles_an_effect(trial: Trial) -> None:
    jobs = work(trial, UNGUARDED)
    die_at(trial, "before-settle:2")
    trial.start()
    trial.wait_until_over(PATIENCE)
    assert trial.effects(jobs).twice > 0


def test_without_recovery_a_killed_workers_jobs_stay_with_it(trial: Trial) -> None:
    trial.enqueue(8)
    die_at(trial, "after-lease:1")
    held = trial.counts().leased
    assert held > 0
    # It has time for twice what a recovery takes, which the probe that is due then shows.
    trial.start(PENSTOCK_TEST_WITHOUT="recovery")
    late = trial.enqueue(name="late", due=timedelta(seconds=5))
    wait_for(lambda: trial.states(late) == {"done": 1}, "the late job")
    assert trial.counts().leased == held
