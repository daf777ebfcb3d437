"""Faults in the middle of a group, in real workers: nothing lost, nothing twice, and nobody is blamed for another."""

import signal

from tests.recovery.trial import Trial

GROUPED = "probe.grouped"


def test_a_kill_in_the_middle_of_a_group_costs_nothing(trial: Trial) -> None:
    # The first ones are leased in small numbers, since nothing is known of their kind yet.
    jobs = trial.enqueue(100, name="before", kind=GROUPED)
    jobs += [killer := trial.enqueue(name="killer", kind=GROUPED, die=1)[0]]
    jobs += trial.enqueue(100, name="after", kind=GROUPED)
    worker = trial.start(ready=False, PENSTOCK_WORKER_THREADS=1)
    assert worker.wait_until_dead() == -signal.SIGKILL
    started = trial.starts_of(jobs)
    assert started[killer] == 1
    lost = len(started) - trial.effects(jobs).jobs
    assert lost >= 2, "it shared its transaction, and all of that is gone"
    trial.start()
    trial.wait_until_over()
    trial.assert_exactly_once(jobs)
    trial.assert_clean()


def test_one_that_always_fails_ends_alone_and_the_others_are_done(trial: Trial) -> None:
    good = trial.enqueue(60, name="before", kind=GROUPED)
    bad = trial.enqueue(name="bad", kind=GROUPED, fail=1_000)
    good += trial.enqueue(60, name="after", kind=GROUPED)
    trial.start(PENSTOCK_WORKER_THREADS=1)
    trial.wait_until_over()
    trial.assert_exactly_once(good)
    assert trial.states(bad) == {"dead": 1}
    assert trial.effects(bad).rows == 0
