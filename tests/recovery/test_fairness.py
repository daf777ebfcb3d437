"""A flood from one tenant through a real worker: what another tenant's job waits, what weights part, what is urgent."""

import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import pytest

from penstock.producers.queue.enqueueing import NewJob
from penstock.workers.queues.control import QueueControl
from tests.recovery.servers import full
from tests.recovery.trial import QUEUE, Trial
from tests.system import wait_for

FLOOD = 100_000 if full() else 400
#: The control works its flood off, so it is small at any size.
CONTROL = 60
THREADS = 2
JOB = timedelta(seconds=0.2)
#: Job times that another tenant's single job may wait.
BOUND = 3
PROBES = 5
FLOODING, OTHER = "flooding", "other"


def job(trial: Trial, name: str, tenant: str) -> NewJob:
    return trial.job({"name": name, "sleep_seconds": JOB.total_seconds()}, tenant=tenant)


@dataclass
class Flood:
    """A worker that is busy with one tenant's jobs, and single jobs that come meanwhile."""

    trial: Trial
    ids: list[UUID]

    @classmethod
    def of(cls, trial: Trial, count: int) -> "Flood":
        jobs = [job(trial, f"flood-{number}", FLOODING) for number in range(count)]
        for start in range(0, count, 1_000):
            trial.offer(jobs[start : start + 1_000])
        trial.start(PENSTOCK_WORKER_THREADS=THREADS)
        wait_for(lambda: len(trial.starts()) > 2 * THREADS, "the worker to be busy")
        return cls(trial, [one.job_id for one in jobs])

    def job_times_until_start(self, new: NewJob, patience: float) -> float:
        """Enqueue a job; returns how long it waited for its start, in times of a job of the flood."""
        offered_at = time.monotonic()
        self.trial.offer([new])
        wait_for(lambda: self.start_of(new) is not None, "the single job to start", patience)
        started_at = self.start_of(new)
        assert started_at is not None
        return (started_at - offered_at) / JOB.total_seconds()

    def start_of(self, new: NewJob) -> float | None:
        return next((start.at for start in self.trial.starts() if start.job_id == new.job_id), None)

    def assert_goes_on(self) -> None:
        assert self.trial.counts().unaccounted == 0
        started = len(self.trial.starts_of(self.ids))
        wait_for(lambda: len(self.trial.starts_of(self.ids)) > started, "the flood to go on")


def waits(flood: Flood, name: str, tenant: str, *, urgent: bool) -> list[float]:
    found = []
    for number in range(PROBES):
        new = replace(job(flood.trial, f"{name}-{number}", tenant), urgent=urgent)
        found.append(flood.job_times_until_start(new, BOUND * JOB.total_seconds() + 20))
        # Not always at the same moment of the jobs that run.
        time.sleep(JOB.total_seconds() * (1 + number / PROBES))
    print(f"{name}: {PROBES} single jobs beside {FLOOD:,} waited {', '.join(f'{one:.2f}' for one in found)} job times")
    return found


def test_a_flood_delays_another_tenants_job_by_less_than_three_job_times(trial: Trial) -> None:
    flood = Flood.of(trial, FLOOD)
    assert max(waits(flood, "other", OTHER, urgent=False)) < BOUND
    flood.assert_goes_on()


def test_under_one_tenants_name_it_waits_for_all(trial: Trial) -> None:
    """The control."""
    flood = Flood.of(trial, CONTROL)
    new = job(trial, "last", FLOODING)
    left = CONTROL - len(trial.starts())
    waited = flood.job_times_until_start(new, 60)
    print(f"behind {left} jobs of its own tenant it waited {waited:.1f} job times")
    assert waited > left / THREADS - 1
    assert len(trial.starts_of(flood.ids)) == CONTROL, "all others went first"


def test_an_urgent_job_passes_a_flood_of_its_own_tenant(trial: Trial) -> None:
    flood = Flood.of(trial, FLOOD)
    assert max(waits(flood, "urgent", FLOODING, urgent=True)) < BOUND
    flood.assert_goes_on()


@pytest.mark.parametrize("weight", [1, 3])
def test_two_floods_are_worked_off_by_their_weights(trial: Trial, weight: int) -> None:
    QueueControl(trial.client, trial.namespace, "tester").weigh(QUEUE, OTHER, weight, "a test")
    ids = {}
    for tenant in (FLOODING, OTHER):
        jobs = [
            trial.job({"name": f"{tenant}-{number}", "sleep_seconds": 0.01}, tenant=tenant) for number in range(300)
        ]
        trial.offer(jobs)
        ids |= {one.job_id: tenant for one in jobs}
    trial.start(PENSTOCK_WORKER_THREADS=THREADS)
    wait_for(lambda: len(trial.starts()) >= 200, "200 jobs to start")
    part = Counter(ids[start.job_id] for start in trial.starts()[:200])
    print(f"weight {weight}: {part[OTHER]} of 200 jobs")
    assert abs(part[OTHER] - 200 * weight / (1 + weight)) <= 2 * (weight + THREADS)
    trial.wait_until_over()
    trial.assert_exactly_once(list(ids))
    trial.assert_clean()
