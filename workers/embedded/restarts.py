"""When a process that died is started again."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Waits `first`, doubling up to `limit`; a life of `healthy` or more begins at `first` again."""

    first: timedelta = timedelta(seconds=1)
    limit: timedelta = timedelta(seconds=30)
    healthy: timedelta = timedelta(minutes=1)

    def delay(self, previous: timedelta | None, lifetime: timedelta) -> timedelta:
        """How long to wait after a life of `lifetime` before which the wait was `previous` (None: the first)."""
        if previous is None or lifetime >= self.healthy:
            return self.first
        return min(previous * 2, self.limit)
