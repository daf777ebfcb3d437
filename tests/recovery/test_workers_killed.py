"""One of two workers is killed every two seconds while submissions flow: every row once, and none late."""

from datetime import timedelta

from tests.recovery.flow import Flow, kill_by_turns
from tests.recovery.servers import Seeded, full
from tests.recovery.trial import UNGUARDED, Trial

SECONDS = 60 if full() else 10
BATCHES = 200 if full() else 40
LEASE = 5.0
#: Beside the batches, which take some milliseconds each: jobs that a kill is likely to meet in the middle.
GUARDED = SECONDS * 5
CONTROL = SECONDS * 12


def test_kills_cost_no_row_and_double_none(trial: Trial, seeded: Seeded) -> None:
    over = timedelta(seconds=SECONDS)
    guarded = trial.spread(GUARDED, over, sleep_seconds=0.1)
    control = trial.spread(CONTROL, over, kind=UNGUARDED, name="control", sleep_seconds=0.3)
    with Flow(trial, BATCHES, over) as flow:
        killed = kill_by_turns(trial, seeded, SECONDS, PENSTOCK_LEASE_SECONDS=LEASE)
    trial.wait_until_over(120)

    late = (flow.last_effect() - killed).total_seconds()
    # The control: the same kills, the same jobs, and no ledger.
    seen = trial.effects(control)
    print(f"{flow.rows:,} rows; last effect {late:.1f} s after the last kill; without a ledger {seen.twice} twice")
    flow.assert_stored_once()
    trial.assert_exactly_once(guarded)
    # The control's own jobs run so long that three kills can meet one of them: that makes it poison, and rightly.
    assert trial.counts().dead == trial.states(control)["dead"]
    assert late < LEASE + 10
    assert seen.jobs == CONTROL
    assert seen.twice > 0
    trial.assert_clean()
