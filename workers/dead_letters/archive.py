"""The archive: dead letters go from Redis to PostgreSQL, each once, and Redis lets go of what is committed there."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import redis

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.dead_letters.deaths import letter_of
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.store import insert_letters
from penstock.workers.dead_letters.telling import tell_of, with_event
from penstock.workers.dead_letters.unarchived import Death, Standing, Unarchived
from penstock.workers.telemetry.metrics import DEAD_LETTERS_ARCHIVED, DEAD_LETTERS_REFUSED

_log = logging.getLogger(__name__)

ROUND_LETTERS = 1_000
#: Messages and histories of one round; a letter that is longer is a round of its own.
ROUND_BYTES = 8 * 1024 * 1024
#: How long a letter is left alone that can't be archived as it is.
SET_ASIDE = timedelta(minutes=1)
#: Why PostgreSQL refuses one letter and would take others: its values, a constraint, a limit of a row or an index.
_OF_THE_LETTER = ("22", "23", "54")
#: What a record raises that is damaged, or that no release foresaw.
_UNUSABLE = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
_OPEN = "SELECT queue, count(*) FROM penstock.dead_letters WHERE queue = ANY(%s) AND state = 'open' GROUP BY queue"


#: Takes out of letters what must not be kept.
Clean = Callable[[psycopg.Connection, Sequence[LetterRecord]], Sequence[LetterRecord]]


@dataclass(frozen=True, slots=True)
class _Pair:
    standing: Standing
    death: Death
    letter: LetterRecord


class Archive:
    """Archives the dead letters of a namespace. Any number may do so at once, and die at any point.

    Letters are committed before Redis lets them go: who comes after a kill between the two inserts them again, which
    changes nothing, and lets them go. While PostgreSQL is away, Redis has them all.

    Args:
        client: of Redis.
        namespace: of the queues.
        transactions: without tries of their own; the loop tries again.
        clock: seconds, monotonic.
        clean: asked within the transaction what of the letters may be kept; all of them as they are if absent.
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        transactions: Transactions,
        clock: Callable[[], float] = time.monotonic,
        *,
        clean: Clean | None = None,
    ) -> None:
        self._unarchived = Unarchived(client, namespace)
        self._namespace = namespace
        self._transactions = transactions
        self._clock = clock
        self._clean = clean
        self._most = ROUND_LETTERS
        self._aside: dict[Standing, float] = {}

    def run_round(self, queue: str) -> bool:
        """Archive the oldest letters of a queue, a bounded number; True where there are more.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`; what was not committed stays in Redis.
        """
        wanted = self._most
        standing = self._unarchived.oldest(queue, wanted, self._is_left_alone)
        if not standing:
            return False
        deaths = self._unarchived.read(standing, ROUND_BYTES)
        pairs = self._opened(standing, deaths)
        try:
            stored = self._store(queue, pairs)
        except PenstockError as error:
            self._shrink(error, pairs)
            raise
        if stored is None:
            return False
        self._most = min(ROUND_LETTERS, 2 * self._most)
        if stored:
            for pair in stored:
                tell_of(pair.letter, pair.death.message)
            gone = self._unarchived.let_go(queue, [pair.death for pair in stored])
            DEAD_LETTERS_ARCHIVED.labels(queue).inc(gone)
        return len(deaths) < len(standing) or len(standing) == wanted

    def count_open(self, queues: Sequence[str]) -> None:
        """Tell Redis how many letters of each queue wait in PostgreSQL, and forget archived jobs whose time has passed.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`.
        """
        # Before the count: what is archived meanwhile comes on top.
        before = {queue: self._unarchived.archived(queue) for queue in queues}
        counted = self._transactions.run(lambda transaction: _count(transaction.connection, queues))
        for queue in queues:
            self._unarchived.let_go(queue, (), (counted.get(queue, 0), before[queue]))

    def _opened(self, standing: Sequence[Standing], deaths: Sequence[Death | None]) -> list[_Pair]:
        pairs = []
        for one, death in zip(standing, deaths, strict=False):
            if death is None:
                # Gone meanwhile, or without a record: reconcile tells of that.
                self._leave_alone(one)
                continue
            try:
                pairs.append(_Pair(one, death, with_event(letter_of(death))))
            except _UNUSABLE as error:
                self._set_aside(one, error)
        # All who insert do so in one order, so that no two wait for each other.
        return sorted(pairs, key=lambda pair: pair.letter.dead_id)

    def _store(self, queue: str, pairs: list[_Pair]) -> list[_Pair] | None:
        """Those that PostgreSQL has then; None where another archive is at it."""
        if not pairs:
            return []
        try:
            is_done = self._transactions.run(lambda transaction: self._insert(transaction, queue, pairs))
        except PenstockError as error:
            if not _is_of_the_letter(error):
                raise
            failure: Exception = error
        except _UNUSABLE as error:
            failure = error
        else:
            return pairs if is_done else None
        if len(pairs) == 1:
            self._set_aside(pairs[0].standing, failure)
            return []
        # One of them is in the way of all: halves find it in a few tries.
        half = len(pairs) // 2
        first = self._store(queue, pairs[:half])
        second = self._store(queue, pairs[half:])
        return None if first is None or second is None else first + second

    def _insert(self, transaction: Transaction, queue: str, pairs: list[_Pair]) -> bool:
        connection = transaction.connection
        row = connection.execute(_LOCK, (f"penstock/dead_letters/{self._namespace}/{queue}",)).fetchone()
        if row is None or not row[0]:
            return False
        letters = [pair.letter for pair in pairs]
        insert_letters(connection, letters if self._clean is None else self._clean(connection, letters))
        return True

    def _shrink(self, error: PenstockError, pairs: list[_Pair]) -> None:
        """What took too long is tried in a smaller piece."""
        if error.code is Code.STORAGE_TIMEOUT:
            self._most = max(1, len(pairs) // 2)
            if len(pairs) == 1:
                self._set_aside(pairs[0].standing, error)

    def _set_aside(self, standing: Standing, error: Exception) -> None:
        code = error.code if isinstance(error, PenstockError) else Code.INTERNAL_ERROR
        why = error.message if isinstance(error, PenstockError) else type(error).__name__
        DEAD_LETTERS_REFUSED.labels(standing.queue).inc()
        context = {"job_id": standing.member.decode(errors="replace"), "queue": standing.queue, "code": code}
        _log.error("a dead letter can't be archived and stays in Redis: %s", why, extra=context)
        self._leave_alone(standing)

    def _leave_alone(self, standing: Standing) -> None:
        now = self._clock()
        # Some are asked about never again.
        self._aside = {known: until for known, until in self._aside.items() if until > now}
        self._aside[standing] = now + SET_ASIDE.total_seconds()

    def _is_left_alone(self, standing: Standing) -> bool:
        return self._aside.get(standing, 0.0) > self._clock()


def _count(connection: psycopg.Connection, queues: Sequence[str]) -> dict[str, int]:
    return dict(connection.execute(_OPEN, ([str(queue) for queue in queues],)).fetchall())


def _is_of_the_letter(error: PenstockError) -> bool:
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None)
    if state is None:
        # The driver itself could not send a value.
        return isinstance(cause, psycopg.DataError)
    return str(state).startswith(_OF_THE_LETTER)
