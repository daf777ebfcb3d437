"""Replays with real processes: healed where the cause is fixed, stopped where not, and `kill -9` in the middle."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest

from penstock.producers import Producer
from penstock.producers.batches import SubmitOptions
from penstock.producers.storage.forms import apply_form
from penstock.workers.dead_letters.store import insert_letters
from tests.recovery.flow import FORM
from tests.recovery.servers import Seeded, full
from tests.recovery.trial import TENANT, UNGUARDED, Effects, Trial
from tests.system import BIN, PATIENCE_SECONDS, wait_for
from tests.workers.dead_letters.replay_kit import a_letter

LETTERS = 1_000 if full() else 60
PACE = 50 if full() else 30
KILLS = 5 if full() else 2
ROWS_A_BATCH = 3
PATIENCE = PATIENCE_SECONDS + 2 * LETTERS / PACE


class Schedulers:
    """A scheduler of the trial that is killed and started again."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.start()

    def start(self) -> None:
        with (self._trial.folder / "scheduler.log").open("ab") as log:
            command = [str(BIN / "penstock"), "scheduler"]
            self._process = subprocess.Popen(command, env=self._trial.environment, stderr=log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)


@pytest.fixture
def schedulers(trial: Trial) -> Iterator[Schedulers]:
    """A worker and a scheduler that run."""
    trial.start()
    made = Schedulers(trial)
    yield made
    made.kill()


def requeue(trial: Trial, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """`penstock dead requeue`, as a user runs it."""
    command = [str(BIN / "penstock"), "dead", "requeue", "--json", *arguments]
    return subprocess.run(command, check=False, env=trial.environment, capture_output=True, timeout=PATIENCE)


def replay(trial: Trial, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    how = ("--canary", "5", "--pace", str(PACE), "--stop-share", "0.2", "--reason", "a test", "--yes")
    return requeue(trial, *how, *arguments)


def letters(trial: Trial, state: str) -> int:
    return int(trial.database.value("SELECT count(*) FROM penstock.dead_letters WHERE state = %s", state))


def test_an_unfixed_cause_stops_it_and_a_fixed_one_heals_all(trial: Trial, schedulers: Schedulers) -> None:
    rows = ({"answers": {"q": f"answer {number}"}} for number in range(LETTERS * ROWS_A_BATCH))
    with Producer.from_environment(trial.environment | {"PENSTOCK_TENANT": TENANT}) as producer:
        producer.submit("nobody-made-it", rows, batch_id="b", options=SubmitOptions(batch_size=ROWS_A_BATCH))
    wait_for(lambda: letters(trial, "open") == LETTERS, "all to be archived as dead letters", PATIENCE)
    chosen = ("--form", "nobody-made-it")
    dry = json.loads(requeue(trial, *chosen, "--dry-run").stdout)
    assert (dry["count"], dry["by_code"], len(dry["sample"])) == (LETTERS, {"FORM_NOT_FOUND": LETTERS}, 5)

    stopped = replay(trial, *chosen, "--wait")
    assert stopped.returncode == 1, stopped.stderr
    found = json.loads(stopped.stdout)
    assert (found["status"], found["sent"]) == ("stopped", 5)
    assert found["told"].endswith(f"over the limit of 20 %; {LETTERS - 5:,} were not sent.")
    assert json.loads(stopped.stderr.splitlines()[-1])["error"]["code"] == "JOB_REPLAY_STOPPED"
    wait_for(lambda: letters(trial, "open") == LETTERS, "those that died again to be letters again")

    with psycopg.connect(trial.database.admin_url) as connection:
        apply_form(connection, TENANT, "nobody-made-it", FORM)
    healed = replay(trial, *chosen, "--wait")
    assert healed.returncode == 0, healed.stderr
    found = json.loads(healed.stdout)
    assert (found["status"], found["done"], found["told"]) == ("done", LETTERS, f"All {LETTERS:,} are done.")
    assert letters(trial, "open") == 0
    value = trial.database.value
    assert value("SELECT count(*) FROM penstock.submissions") == LETTERS * ROWS_A_BATCH
    assert value("SELECT sum(stored) FROM penstock.submission_batches") == LETTERS * ROWS_A_BATCH


def test_a_scheduler_that_is_killed_resumes_and_sends_none_twice(
    trial: Trial, schedulers: Schedulers, seeded: Seeded
) -> None:
    # Without a ledger, each run of a probe leaves an effect.
    deaths = [a_letter(at, kind=UNGUARDED, tenant="killed", payload={"name": f"p-{at}"}) for at in range(LETTERS)]
    with psycopg.connect(trial.database.admin_url) as connection:
        insert_letters(connection, deaths)
    ordered = replay(trial, "--tenant", "killed")
    assert ordered.returncode == 0, ordered.stderr
    replay_id = UUID(json.loads(ordered.stdout)["id"])

    def figure(name: str) -> int:
        return int(trial.database.value(f"SELECT {name} FROM penstock.replays WHERE replay_id = %s", replay_id))

    for kill in range(KILLS):
        least = seeded.randrange(LETTERS * kill // (KILLS + 1), LETTERS * (kill + 1) // (KILLS + 1))
        wait_for(lambda least=least: figure("sent") >= least, f"{least} to be sent", PATIENCE)  # type: ignore[misc]
        schedulers.kill()
        found = trial.database.value("SELECT count(*) FROM penstock.dead_letters WHERE replay_id = %s", replay_id)
        assert figure("sent") == found < LETTERS
        schedulers.start()
    wait_for(lambda: figure("done") == LETTERS, "all to be done", PATIENCE)
    assert (figure("sent"), figure("died"), figure("skipped")) == (LETTERS, 0, 0)
    assert trial.effects([death.job_id for death in deaths]) == Effects(rows=LETTERS, jobs=LETTERS, twice=0)


def test_a_letter_that_two_operators_requeue_at_once_runs_once(trial: Trial, schedulers: Schedulers) -> None:
    death = a_letter(0, kind=UNGUARDED, tenant="twice", payload={"name": "twice"})
    with psycopg.connect(trial.database.admin_url) as connection:
        insert_letters(connection, [death])
    with ThreadPoolExecutor(2) as threads:
        how = (str(death.dead_id), "--reason", "a test", "--yes", "--wait")
        runs = list(threads.map(lambda _: requeue(trial, *how), range(2)))
    assert sorted(run.returncode for run in runs) == [0, 1], [run.stderr for run in runs]
    assert sum(len(json.loads(run.stdout)["requeued"]) for run in runs) == 1
    assert trial.effects([death.job_id]) == Effects(rows=1, jobs=1, twice=0)
