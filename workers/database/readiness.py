"""What a process that starts waits for: servers without end, and the schema that its release needs for a while."""

import time
from collections.abc import Callable
from datetime import timedelta

from penstock.schemas.errors import Code, PenstockError, UnavailableError

#: A start meets servers that are starting too: it waits this long between two tries.
RETRY_EVERY = timedelta(seconds=2)
#: A migration may take long: looks at it come ever later, up to this.
LONGEST_PAUSE = timedelta(seconds=10)

_SCHEMA = frozenset({Code.STORAGE_SCHEMA_OUTDATED, Code.STORAGE_MIGRATION_INCOMPLETE})


class StartWaits:
    """The waits of one start.

    Args:
        schema_limit: how long a schema is waited for that is older than this release needs, from when that was seen.
        clock: seconds that only grow.
    """

    def __init__(self, schema_limit: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._schema_limit = schema_limit
        self._clock = clock
        self._outdated_since: float | None = None
        self._pause = RETRY_EVERY

    def pause_after(self, error: PenstockError) -> tuple[timedelta, str]:
        """How long to wait until the next try, and what is waited for, in words.

        Raises:
            PenstockError: the error itself, where waiting changes nothing or has lasted too long.
        """
        if error.code in _SCHEMA:
            return self._pause_for_schema(error)
        if isinstance(error, UnavailableError):
            return RETRY_EVERY, f"{error.message}; trying again"
        raise error

    def _pause_for_schema(self, error: PenstockError) -> tuple[timedelta, str]:
        now = self._clock()
        if self._outdated_since is None:
            self._outdated_since = now
        left = self._schema_limit - timedelta(seconds=now - self._outdated_since)
        if left <= timedelta(0):
            raise error
        pause = min(self._pause, left)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        told = f"{error.message}; waiting for `penstock migrate up`, {left.total_seconds():.0f} s more at the most"
        return pause, told
