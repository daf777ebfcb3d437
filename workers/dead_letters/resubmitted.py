"""Open letters whose jobs run again, or ran, without an operator's doing: their producers submitted them again."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import psycopg
import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.scripts import Argument, Scripts
from penstock.schemas.identity import dead_id
from penstock.workers.database.transaction import Transaction, Transactions

ROUND_JOBS = 1_000
#: Who such letters are resolved by.
PRODUCER = "producer"

_REVIVED = "revived"
# An earlier death of the same job may be open too: each life but the last one is over.
_LOCK_REVIVED = """
SELECT letter.dead_id
  FROM penstock.dead_letters named
  JOIN penstock.dead_letters letter ON letter.job_id = named.job_id AND letter.died_at <= named.died_at
 WHERE named.dead_id = ANY(%s) AND letter.state = 'open'
 ORDER BY letter.dead_id
   FOR UPDATE OF letter
"""
_RESOLVE = """
UPDATE penstock.dead_letters
   SET state = 'requeued', became = %(became)s, resolved_at = now(), resolved_by = %(by)s, resolution_reason = %(why)s
 WHERE dead_id = ANY(%(ids)s) AND state = 'open'
"""
_WALK = """
SELECT died_at, dead_id, EXISTS (SELECT FROM penstock.effects WHERE effects.job_id = letter.job_id) AS has_effect
  FROM penstock.dead_letters letter
 WHERE state = 'open' AND (died_at, dead_id) > (%s, %s)
 ORDER BY died_at, dead_id LIMIT %s
"""
_LOCK_OPEN = """
SELECT dead_id FROM penstock.dead_letters
 WHERE dead_id = ANY(%s) AND state = 'open' ORDER BY dead_id FOR UPDATE SKIP LOCKED
"""
_BEGINNING = (datetime.min.replace(tzinfo=UTC), UUID(int=0))


class Resubmitted:
    """Settles such letters. Any number may do so at once.

    The queue tells of jobs that it revived while their records were there (`revived`); a job that it had forgotten
    by then is found by its effect, by a slow walk over the open letters.
    """

    def __init__(self, client: redis.Redis, namespace: str, transactions: Transactions) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._namespace = namespace
        self._transactions = transactions
        self._place: tuple[datetime, UUID] = _BEGINNING

    def settle_revived(self, queue: str) -> bool:
        """Note that jobs which a queue has revived wait for their outcome; True where there may be more.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`; what was not noted is told again.
        """
        keys = QueueKeys(self._namespace, queue)
        found = self._revived(keys)
        if not found:
            return False
        ids = [dead_id(queue, member.decode(errors="surrogateescape"), int(at)) for member, at in found]
        why = "the job was submitted again"
        self._transactions.run(lambda transaction: _resolve(transaction, _LOCK_REVIVED, ids, "waiting", why))
        noted: list[Argument] = [part for pair in found for part in pair]
        with redis_errors("forgetting revived jobs"):
            self._scripts.run("revived", keys, *noted)
        return len(found) == ROUND_JOBS

    def settle_effects(self) -> int:
        """Look at the next open letters of the walk: those whose jobs have an effect are done; returns how many.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        return self._transactions.run(self._walk)

    def _walk(self, transaction: Transaction) -> int:
        died_at, identity = self._place
        parameters = ("-infinity" if self._place is _BEGINNING else died_at, identity, ROUND_JOBS)
        rows = transaction.connection.execute(_WALK, parameters).fetchall()
        self._place = (rows[-1][0], rows[-1][1]) if len(rows) == ROUND_JOBS else _BEGINNING
        ids = [one for _, one, has_effect in rows if has_effect]
        return _resolve(transaction, _LOCK_OPEN, ids, "done", "the job's effect is committed")

    def _revived(self, keys: QueueKeys) -> list[tuple[bytes, bytes]]:
        cursor = 0
        with redis_errors("asking for revived jobs"):
            while True:
                cursor, page = cast(
                    "tuple[int, dict[bytes, bytes]]",
                    self._client.hscan(keys.key(_REVIVED), cursor, count=ROUND_JOBS),
                )
                if page or cursor == 0:
                    return list(page.items())[:ROUND_JOBS]


def _resolve(transaction: Transaction, lock: str, ids: Sequence[UUID], became: str, why: str) -> int:
    if not ids:
        return 0
    connection: psycopg.Connection = transaction.connection
    # In order, as everybody who changes several letters.
    locked = [one for (one,) in connection.execute(lock.encode(), (list(ids),)).fetchall()]
    if locked:
        connection.execute(_RESOLVE, {"became": became, "by": PRODUCER, "why": why, "ids": locked})
    return len(locked)
