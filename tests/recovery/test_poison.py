"""Jobs that can't be run, and jobs that kill whoever runs them, harm no other job."""

import dataclasses
import signal
from uuid import UUID

import pytest

from penstock.schemas.errors import Code
from tests.recovery.trial import Trial, TrialWorker
from tests.system import wait_for

GOOD = 37
#: Seconds; how long an unknown kind is kept for a worker that knows it.
UNKNOWN_LIMIT = 4
OFFERED_SOON = {"PENSTOCK_UNKNOWN_KIND_OFFER_SECONDS": 0.5}
SETTINGS = {**OFFERED_SOON, "PENSTOCK_UNKNOWN_KIND_LIMIT_SECONDS": UNKNOWN_LIMIT}
POISON_LIMIT = 2


def reasons(trial: Trial, jobs: list[UUID]) -> list[tuple[str, str | None]]:
    records = trial.records(jobs)
    return [(str(records[job].state), records[job].code) for job in jobs]


def test_what_can_not_be_run_harms_nothing_beside_it(trial: Trial) -> None:
    good = [trial.job({"name": f"good-{number}"}) for number in range(GOOD)]
    garbled = dataclasses.replace(trial.job({"name": "garbled"}), message=b"\xff\x00 no envelope \xfe")
    unknown = trial.job({"name": "unknown"}, kind="probe.of_tomorrow")
    faulty = trial.job({"name": "faulty", "sleep_seconds": "for ever"})
    trial.offer([*good[:10], garbled, *good[10:20], unknown, *good[20:30], faulty, *good[30:]])
    good_ids = [job.job_id for job in good]
    bad_ids = [garbled.job_id, unknown.job_id, faulty.job_id]

    worker = trial.start(**SETTINGS)
    wait_for(lambda: trial.states(good_ids) == {"done": GOOD}, "the good jobs", UNKNOWN_LIMIT)
    wait_for(lambda: trial.counts().dead == 2, "the end of the two that nobody could ever run", UNKNOWN_LIMIT)
    invalid, parked = ("dead", Code.JOB_PAYLOAD_INVALID), ("parked", Code.JOB_UNKNOWN_KIND)
    assert reasons(trial, bad_ids) == [invalid, parked, invalid]
    wait_for(lambda: trial.counts().dead == 3, "the unknown kind to be given up", 3 * UNKNOWN_LIMIT)
    ended = [invalid, ("dead", Code.JOB_UNKNOWN_KIND), invalid]
    assert reasons(trial, bad_ids) == ended

    assert worker.stop() == 0
    trial.start(**SETTINGS)
    after = trial.enqueue(3, name="after")
    trial.wait_until_over()
    assert reasons(trial, bad_ids) == ended
    trial.assert_exactly_once(good_ids + after)
    trial.assert_clean()


def test_an_unknown_kind_runs_once_a_worker_knows_it(trial: Trial) -> None:
    """The middle of a deploy: the first worker has no actors of probes yet."""
    jobs = trial.enqueue(5)
    trial.start(**OFFERED_SOON, PENSTOCK_ACTORS="")
    wait_for(lambda: trial.counts().parked == 5, "the jobs to be parked")
    trial.start(**OFFERED_SOON)
    # Either worker may be offered them, and the one that does not know them parks them again.
    trial.wait_until_over()
    trial.assert_exactly_once(jobs)


@pytest.mark.parametrize("guarded", [True, False], ids=["as it is", "control"])
def test_jobs_that_were_only_fetched_are_not_blamed(trial: Trial, guarded: bool) -> None:
    """Two workers die with jobs in their hands of which none was started; one crash would be the end of a job.

    The control blames every job that a worker holds, and buries the innocent.
    """
    jobs = trial.enqueue(20)
    off = {} if guarded else {"PENSTOCK_TEST_WITHOUT": "suspicion"}
    for _ in range(2):
        worker = trial.start(ready=False, PENSTOCK_TEST_FAULT="after-lease:1", PENSTOCK_POISON_LIMIT=1, **off)
        assert worker.wait_until_dead() == -signal.SIGKILL
    trial.start(PENSTOCK_POISON_LIMIT=1)
    trial.wait_until_over()
    if guarded:
        trial.assert_exactly_once(jobs)
        trial.assert_clean()
    else:
        assert trial.states(jobs)["dead"] > 0


def bury_workers(trial: Trial, deaths: int, limit: int) -> TrialWorker:
    """Start a worker in the place of each that the poison kills; returns the one that comes after so many deaths."""
    for _ in range(deaths):
        worker = trial.start(ready=False, PENSTOCK_POISON_LIMIT=limit)
        assert worker.wait_until_dead() == -signal.SIGKILL
    return trial.start(PENSTOCK_POISON_LIMIT=limit)


def test_a_job_that_kills_its_worker_is_buried_and_its_neighbours_are_done(trial: Trial) -> None:
    before = trial.enqueue(10, name="before")
    (poison,) = trial.enqueue(1, name="poison", die=100)
    behind = trial.enqueue(10, name="behind")
    # At the first death it is one of several that the worker held, so that one does not count.
    with trial.minded(poison_limit=POISON_LIMIT):
        survivor = bury_workers(trial, POISON_LIMIT + 1, POISON_LIMIT)
        trial.wait_until_over()
    assert reasons(trial, [poison]) == [("dead", Code.JOB_POISON)]
    assert trial.starts_of([poison])[poison] == POISON_LIMIT + 1
    assert survivor.is_running()
    trial.assert_exactly_once(before + behind)
    trial.assert_clean()


def test_without_the_limit_it_would_go_on_killing(trial: Trial) -> None:
    """The control: the same deaths and one more, and the job is still alive."""
    (poison,) = trial.enqueue(1, name="poison", die=POISON_LIMIT + 2)
    with trial.minded(poison_limit=100):
        bury_workers(trial, POISON_LIMIT + 2, 100)
        trial.wait_until_over()
    assert reasons(trial, [poison]) == [("done", None)]
