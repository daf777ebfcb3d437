"""While many change letters at once, every one gets through and the counts stay right."""

import random
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

from penstock.producers.queue.connection import connect
from penstock.producers.queue.records import JobRecords
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.outcomes import Outcomes
from penstock.workers.dead_letters.store import insert_letters
from penstock.workers.settings import WorkerSettings
from tests.system import Database
from tests.workers.dead_letters.conftest import Insert, Pool
from tests.workers.dead_letters.letter_kit import BEGINNING, death
from tests.workers.dead_letters.test_groups import GROUPS, RECOUNTED, SUBJECTS, SUBJECTS_RECOUNTED

ROUNDS = 40
GROUPS_THERE = 9


class Crowd:
    """Each method changes some letters, in one of the ways in which letters are changed."""

    def __init__(self, transactions: Transactions, database: Database, records: JobRecords) -> None:
        self._transactions = transactions
        self._decisions = LetterDecisions(transactions)
        self._database = database
        self._outcomes = Outcomes(transactions, records)
        self._hours = count(1)

    def archive(self) -> None:
        """Jobs that run die again, in other groups. Two archives may meet the same deaths."""
        died = [
            death(job_id=job_id, died_at=BEGINNING + timedelta(hours=next(self._hours)), code=_code())
            for job_id in self._some("job_id", "became = 'waiting'", 6)
        ] or [death(code=_code())]
        for _ in range(2):
            self._transactions.run(lambda transaction: insert_letters(transaction.connection, died))

    def requeue(self) -> None:
        self._decisions.requeue(self._some("dead_id", "state = 'open'", 30), "ada", "again")

    def discard(self) -> None:
        self._decisions.discard(self._some("dead_id", "state = 'open'", 2), "bob", "no")

    def end(self) -> None:
        self._database.query(
            "INSERT INTO penstock.job_effects (job_id, kind, tenant) SELECT unnest(%s::uuid[]), 'k', 't'"
            " ON CONFLICT DO NOTHING",
            self._some("job_id", "became = 'waiting'", 2),
        )
        self._outcomes.run_round()

    def _some(self, column: str, condition: str, limit: int) -> list[uuid.UUID]:
        found = self._database.query(
            f"SELECT {column} FROM penstock.dead_letters WHERE {condition} ORDER BY random() LIMIT {limit}"
        )
        return [one for (one,) in found]


def _code() -> str:
    return f"CODE_{random.randrange(GROUPS_THERE)}"


def test_nobody_loses_against_another(
    empty: None, pool: Pool, settings: WorkerSettings, database: Database, insert: Insert, redis_url: str
) -> None:
    insert(*(death(code=f"CODE_{n % GROUPS_THERE}") for n in range(200)))
    ready = threading.Barrier(7)

    def run(crowd: Crowd, number: int) -> None:
        change = (crowd.archive, crowd.requeue, crowd.discard, crowd.end)[number % 4]
        ready.wait(60)
        for _ in range(ROUNDS):
            change()

    with connect(redis_url) as client, ThreadPoolExecutor(7) as threads:
        # A single try each: a deadlock would be an error.
        crowd = Crowd(Transactions(pool, settings, tries=1), database, JobRecords(client, "nobody"))
        for one in [threads.submit(run, crowd, number) for number in range(7)]:
            one.result()
    assert database.query(GROUPS) == database.query(RECOUNTED)
    assert database.query(SUBJECTS) == database.query(SUBJECTS_RECOUNTED)
    outcomes = {became for (became,) in database.query("SELECT DISTINCT became FROM penstock.dead_letters")}
    assert {"died", "done"} <= outcomes
