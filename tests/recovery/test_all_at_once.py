"""Workers, Redis and PostgreSQL are killed in one run: every row once all the same."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.recovery.flow import Flow, kill_by_turns
from tests.recovery.servers import OwnPostgres, OwnValkey, Seeded, full
from tests.recovery.trial import UNGUARDED, Trial

SECONDS = 60 if full() else 12
BATCHES = 200 if full() else 40
REDIS_KILLS = 3 if full() else 1
POSTGRES_RESTARTS = 5 if full() else 2
GUARDED = SECONDS * 5
CONTROL = SECONDS * 12


@pytest.fixture
def apart(
    environment: dict[str, str], own_valkey: OwnValkey, own_postgres: OwnPostgres, tmp_path: Path
) -> Iterator[Trial]:
    """A trial on servers of its own."""
    database = own_postgres.database
    urls = {
        "REDIS_URL": own_valkey.url,
        "DATABASE_URL": database.url,
        "PENSTOCK_MIGRATION_DATABASE_URL": database.admin_url,
    }
    with Trial(environment | urls, database, tmp_path) as made:
        yield made


class Havoc(threading.Thread):
    """Kills the servers at moments drawn by chance."""

    def __init__(self, valkey: OwnValkey, postgres: OwnPostgres, seeded: Seeded) -> None:
        super().__init__()
        self._valkey = valkey
        self._postgres = postgres
        blows = [self._kill_redis] * REDIS_KILLS + [self._restart_postgres] * POSTGRES_RESTARTS
        seeded.shuffle(blows)
        self._plan = sorted(zip((seeded.uniform(1, SECONDS) for _ in blows), blows, strict=True), key=lambda at: at[0])

    def run(self) -> None:
        started = time.monotonic()
        for at, blow in self._plan:
            time.sleep(max(0.0, started + at - time.monotonic()))
            blow()

    def _kill_redis(self) -> None:
        self._valkey.kill9()
        time.sleep(1)
        self._valkey.start()

    def _restart_postgres(self) -> None:
        self._postgres.stop_immediately()
        self._postgres.start()


def test_no_row_is_lost_and_none_is_there_twice(
    apart: Trial, own_valkey: OwnValkey, own_postgres: OwnPostgres, seeded: Seeded
) -> None:
    over = timedelta(seconds=SECONDS)
    guarded = apart.spread(GUARDED, over, sleep_seconds=0.1)
    control = apart.spread(CONTROL, over, kind=UNGUARDED, name="control", sleep_seconds=0.3)
    havoc = Havoc(own_valkey, own_postgres, seeded)
    with Flow(apart, BATCHES, over) as flow:
        havoc.start()
        kill_by_turns(apart, seeded, SECONDS, PENSTOCK_LEASE_SECONDS=5)
    havoc.join()
    apart.wait_until_over(120)

    # The control: the same faults, the same jobs, and no ledger.
    seen = apart.effects(control)
    print(f"{flow.rows:,} rows; without a ledger {seen.twice} of {seen.jobs} effects twice")
    flow.assert_stored_once()
    apart.assert_exactly_once(guarded)
    # The control's own jobs run so long that three kills can meet one of them: that makes it poison, and rightly.
    assert apart.counts().dead == apart.states(control)["dead"]
    assert seen.twice > 0
    apart.assert_clean()
