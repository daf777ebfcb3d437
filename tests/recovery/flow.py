"""The main job as a stream of its own: a producer that sends batches evenly over the time of a trial."""

import json
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import psycopg

from penstock.producers import Producer
from penstock.producers.batches import SubmitOptions
from penstock.producers.storage.forms import apply_form
from penstock.schemas.errors import PenstockError
from penstock.schemas.forms import parse_form
from tests.recovery.servers import Seeded
from tests.recovery.trial import TENANT, Trial

FORM = parse_form(json.dumps({"title": "T", "questions": [{"id": "q", "text": "?", "type": "text"}]}))
ROWS_A_BATCH = 100
#: Seconds between two kills of a worker.
KILL_EVERY = 2.0


@dataclass
class Flow:
    """Rows on their way. Use it as a context manager: at its end all have been sent."""

    trial: Trial
    batches: int
    over: timedelta

    @property
    def rows(self) -> int:
        """All rows."""
        return self.batches * ROWS_A_BATCH

    def __enter__(self) -> Self:
        with psycopg.connect(self.trial.database.admin_url) as connection:
            apply_form(connection, TENANT, "f", FORM)
        self._thread = threading.Thread(target=self._send_until_sent)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _send_until_sent(self) -> None:
        environment = self.trial.environment | {"PENSTOCK_TENANT": TENANT}
        pause = self.over / self.batches
        with Producer.from_environment(environment) as producer:
            while True:
                try:
                    self._send(producer, pause)
                except PenstockError:
                    # Redis is away: what its remedy says is to run the same call again.
                    pause = timedelta(0)
                    time.sleep(0.5)
                else:
                    return

    def _send(self, producer: Producer, pause: timedelta) -> None:
        rows = ({"answers": {"q": f"answer {number}"}} for number in range(self.rows))
        options = SubmitOptions(batch_size=ROWS_A_BATCH, in_flight=1, pause=pause)
        producer.submit("f", rows, batch_id="flow", options=options)

    def assert_stored_once(self) -> None:
        """Every row is there, and none twice."""
        value = self.trial.database.value
        assert value("SELECT count(*) FROM penstock.submissions") == self.rows
        assert value("SELECT count(DISTINCT submission_id) FROM penstock.submissions") == self.rows
        assert value("SELECT sum(stored) FROM penstock.submission_batches") == self.rows

    def last_effect(self) -> datetime:
        """When the last effect was committed, of a batch or a probe."""
        value = self.trial.database.value
        batch = value("SELECT max(committed_at) FROM penstock.submission_batches")
        probe = value("SELECT max(at) FROM effects_seen")
        found: datetime = max(batch, probe)
        return found


def kill_by_turns(trial: Trial, seeded: Seeded, seconds: float, **env: object) -> datetime:
    """Kill one of two workers again and again, and start another in its place; returns when the last one died."""
    workers = [trial.start(**env), trial.start(**env)]
    ends_at = time.monotonic() + seconds
    killed = datetime.now(UTC)
    while time.monotonic() < ends_at:
        time.sleep(KILL_EVERY)
        place = seeded.randrange(len(workers))
        workers[place].kill()
        killed = datetime.now(UTC)
        workers[place] = trial.start(ready=False, **env)
    return killed
