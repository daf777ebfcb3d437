"""`kill -9` of a scheduler at every point of its archive of dead letters, a run for each: none lost, none twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from penstock.workers.broker.leases import Leases, Settlement, Verb, new_boot_id
from tests import forked
from tests.recovery.trial import QUEUE, Trial
from tests.system import wait_for

POINTS = [
    pytest.param("after-read:2", id="after the letters were read"),
    pytest.param("before-commit:2", id="after the insert"),
    pytest.param("after-commit:2", id="after COMMIT"),
    pytest.param("letting-go-unanswered:2", id="let go but never told so"),
    pytest.param("after-letting-go:2", id="after Redis let go"),
]
LETTERS = 35
PATIENCE = 120.0
ROOT = Path(__file__).parents[2]

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(trial: Trial) -> Iterator[Start]:
    """Starts a scheduler with these variables; a faulty one where there are any."""
    started: list[subprocess.Popen[bytes]] = []

    def run(**env: str) -> "subprocess.Popen[bytes]":
        faulty = [sys.executable, "-m", "tests.recovery.faulty_archive"]
        path = os.pathsep.join([trial.environment["PYTHONPATH"], str(ROOT)])
        if env:
            environment = trial.environment | env | {"PYTHONPATH": path}
            started.append(subprocess.Popen(faulty, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL))
        else:
            started.append(forked.start(["scheduler"], trial.environment, stderr=subprocess.DEVNULL))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(30)


@pytest.fixture
def dead(trial: Trial) -> list[UUID]:
    """Jobs that have died."""
    ids = trial.enqueue(LETTERS)
    leases = Leases(trial.client, trial.namespace, new_boot_id(), timedelta(minutes=1))
    jobs = leases.lease(QUEUE, LETTERS, 1).jobs
    detail = {"code": "INTERNAL_ERROR", "told": "the actor raised KeyError", "entry": '{"outcome":"dead"}'}
    assert all(leases.settle(QUEUE, [Settlement(job, Verb.BURY, detail) for job in jobs]))
    leases.leave(QUEUE)
    return ids


def letters(trial: Trial, ids: list[UUID]) -> list[UUID]:
    return [
        found
        for (found,) in trial.database.query("SELECT job_id FROM penstock.dead_letters WHERE job_id = ANY(%s)", ids)
    ]


def die_at(start: Start, point: str, **env: str) -> None:
    assert start(PENSTOCK_TEST_FAULT=point, **env).wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_costs_no_letter_and_doubles_none(trial: Trial, start: Start, dead: list[UUID], point: str) -> None:
    die_at(start, point)
    there = set(letters(trial, dead))
    assert len(there) + trial.counts().unarchived >= LETTERS
    start()
    wait_for(lambda: trial.counts().unarchived == 0, "all letters to be archived", PATIENCE)
    assert sorted(letters(trial, dead)) == sorted(dead)
    assert trial.counts().archived == LETTERS
    trial.assert_clean()


def test_two_schedulers_of_which_one_is_killed_archive_each_letter_once(
    trial: Trial, start: Start, dead: list[UUID]
) -> None:
    start()
    start(PENSTOCK_TEST_FAULT="after-commit:1")
    wait_for(lambda: trial.counts().unarchived == 0, "all letters to be archived", PATIENCE)
    assert sorted(letters(trial, dead)) == sorted(dead)
    trial.assert_clean()


def test_without_the_order_a_kill_loses_letters(trial: Trial, start: Start, dead: list[UUID]) -> None:
    die_at(start, "after-letting-go:1", PENSTOCK_TEST_WITHOUT="order")
    start()
    wait_for(lambda: trial.counts().unarchived == 0, "all letters to be archived", PATIENCE)
    assert len(letters(trial, dead)) < LETTERS
    with pytest.raises(AssertionError, match="PostgreSQL has none of it"):
        trial.assert_clean()
