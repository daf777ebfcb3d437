"""The loop that moves replays on: sends their letters at their pace, and stops them where they die again."""

import time
from collections.abc import Callable
from datetime import timedelta

from penstock.schemas.errors import PenstockError, UnavailableError
from penstock.workers.dead_letters.replay_engine import ReplayEngine
from penstock.workers.dead_letters.replays import CHANNEL

#: A pace is kept in steps of this length.
_BUSY = timedelta(milliseconds=100)
_IDLE = timedelta(seconds=2)
_FORGET_EVERY = timedelta(minutes=10)


class DeadReplays:
    """Takes a step of each replay that has something to do."""

    name = "replays"
    channel = CHANNEL

    def __init__(self, engine: ReplayEngine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._is_busy = False
        self._forget_at = clock()

    @property
    def interval(self) -> timedelta:
        """Short while there are replays; an order wakes the loop otherwise."""
        return _BUSY if self._is_busy else _IDLE

    def run_once(self) -> bool:
        """Take a step of each; True where one has more to do at once.

        Raises:
            PenstockError: of the family `STORAGE_`, after each had its turn; at once where PostgreSQL is away.
        """
        active = self._engine.active()
        self._is_busy = any(goes_on for _, goes_on in active)
        first: PenstockError | None = None
        more = False
        for replay_id, _ in active:
            try:
                more = self._engine.step(replay_id) or more
            except UnavailableError:
                raise
            except PenstockError as error:
                first = first or error
        if first is not None:
            raise first
        return more or self._forgets()

    def _forgets(self) -> bool:
        if self._clock() < self._forget_at:
            return False
        if self._engine.forget():
            return True
        self._forget_at = self._clock() + _FORGET_EVERY.total_seconds()
        return False
