"""Gates before real jobs in real workers: limits, pauses and a forced circuit cost no attempt and no order."""

import json
import subprocess
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from penstock.producers.queue.inspection import QueueInspector
from penstock.workers.protection.keys import gate_keys
from tests.recovery.trial import GUARDED, QUEUE, TENANT, Trial
from tests.system import BIN, wait_for

LIMIT, WINDOW = 20, timedelta(seconds=1)


def penstock(trial: Trial, *arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [BIN / "penstock", *arguments, "--json"], env=trial.environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, object] = json.loads(done.stdout)
    return told


def most_in_any_window(trial: Trial, jobs: list[UUID]) -> int:
    at = sorted(start.at for start in trial.starts() if start.job_id in set(jobs))
    return max(
        sum(1 for later in at[place:] if later < first + WINDOW.total_seconds()) for place, first in enumerate(at)
    )


def attempts(trial: Trial, jobs: list[UUID]) -> Counter[str]:
    found = (trial.client.hget(trial.keys.job(one), "attempts") for one in jobs)
    return Counter(one.decode() if isinstance(one, bytes) else "none" for one in found)


def test_a_limit_holds_across_workers_and_jobs_wait_their_turn(trial: Trial) -> None:
    jobs = trial.enqueue(6 * LIMIT)
    limits = {"PENSTOCK_TENANT_LIMIT": LIMIT, "PENSTOCK_TENANT_LIMIT_WINDOW_SECONDS": WINDOW.total_seconds()}
    for _ in range(2):
        trial.start(**limits, ready=False)
    seconds = trial.wait_until_over()
    trial.assert_exactly_once(jobs)
    assert attempts(trial, jobs) == {"0": len(jobs)}
    # A start is noted some milliseconds after its gate, so a few may seem to be a window closer than they were.
    assert most_in_any_window(trial, jobs) <= LIMIT * 1.15
    ideal = (len(jobs) / LIMIT - 1) * WINDOW.total_seconds()
    print(f"{len(jobs)} jobs at {LIMIT} a window of {WINDOW.total_seconds():g} s: {seconds:.1f} s, ideally {ideal:g} s")
    trial.assert_clean()


def test_without_the_limit_they_run_at_once(trial: Trial) -> None:
    """The control."""
    jobs = trial.enqueue(6 * LIMIT)
    trial.start()
    trial.wait_until_over()
    assert most_in_any_window(trial, jobs) > LIMIT * 2


@pytest.mark.parametrize("thing", [("--kind", GUARDED), ("--tenant", TENANT)], ids=["kind", "tenant"])
def test_a_paused_kind_waits_in_order_and_goes_on(trial: Trial, thing: tuple[str, str]) -> None:
    trial.start(PENSTOCK_WORKER_THREADS=1)
    penstock(trial, "queue", "pause", *thing, "--reason", "they refuse everything", "--yes")
    # The worker hears of it with its next tick.
    wait_for(lambda: heard(trial), "the worker to hear of the pause")
    jobs = trial.enqueue(30)
    wait_for(lambda: trial.counts().parked == len(jobs), "all jobs to be parked")
    view = QueueInspector(trial.client, trial.namespace).find(jobs[0])
    assert view is not None
    assert view.blocked_by == f"paused:{thing[0].removeprefix('--')}:{thing[1]}"
    assert not trial.starts_of(jobs)
    penstock(trial, "queue", "resume", *thing, "--reason", "they are back", "--yes")
    trial.wait_until_over()
    trial.assert_exactly_once(jobs)
    assert attempts(trial, jobs) == {"0": len(jobs)}
    assert [start.job_id for start in trial.starts()][-len(jobs) :] == jobs
    trial.assert_clean()


def heard(trial: Trial) -> bool:
    """Whether a probe that is enqueued now is parked; those that were not go through."""
    (probe,) = trial.enqueue(name=f"ear-{len(trial.starts())}-{trial.counts().parked}")
    wait_for(lambda: trial.states([probe]) in ({"done": 1}, {"parked": 1}), "the probe")
    if trial.states([probe]) == {"done": 1}:
        return False
    # It was the first of the parked; the others are counted without it.
    trial.client.zrem(trial.keys.key(f"parked:{park(trial)}"), str(probe))
    trial.client.delete(trial.keys.job(probe))
    trial.client.hincrby(trial.keys.key("meta"), "purged", 1)
    return True


def park(trial: Trial) -> str:
    (found,) = trial.client.hkeys(trial.keys.key("parks"))  # type: ignore[misc]
    return bytes(found).decode()


def test_an_operators_limit_is_heard_of_while_everything_runs(trial: Trial) -> None:
    trial.start()
    key = f"tenant:{TENANT}/kind:{GUARDED}"
    penstock(trial, "limit", "set", key, "--limit", "1", "--window", "3600", "--reason", "they asked", "--yes")
    assert trial.client.hexists(gate_keys(trial.namespace).key("limits"), key)

    def held() -> bool:
        jobs = trial.enqueue(2, name=f"held-{len(trial.starts())}")
        wait_for(lambda: trial.states(jobs)["done"] + trial.states(jobs)["scheduled"] == 2, "both")
        return trial.states(jobs)["scheduled"] > 0

    wait_for(held, "a job to be held")
    assert trial.counts().dead == 0
    assert trial.counts().queue == QUEUE
