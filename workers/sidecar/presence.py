"""Whether a server answers, as this process last saw it: asked in the background, so that no page waits for it."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from penstock.schemas.errors import PenstockError

_log = logging.getLogger(__name__)

#: How often a server is asked, whether it is there or not; and how soon after a doubt.
ASK_EVERY = timedelta(seconds=1)

_STOP_WITHIN = timedelta(milliseconds=700)

_ends_at: contextvars.ContextVar[float | None] = contextvars.ContextVar("penstock_sidecar_deadline", default=None)


@contextmanager
def within(limit: timedelta) -> Iterator[None]:
    """Have what the block asks of servers give up after `limit`, or after the limit around it if that is sooner."""
    ends_at, outer = time.monotonic() + limit.total_seconds(), _ends_at.get()
    token = _ends_at.set(ends_at if outer is None else min(ends_at, outer))
    try:
        yield
    finally:
        _ends_at.reset(token)


def seconds_left() -> float | None:
    """What is left of the limit around the caller, at least 0; None where there is none."""
    ends_at = _ends_at.get()
    return None if ends_at is None else max(0.0, ends_at - time.monotonic())


class Presence:
    """What is known of one server.

    From the first failure on it is taken as away until a probe succeeds, and nobody but the probe asks it.

    Args:
        name: for logs, such as `PostgreSQL`.
        probe: asks the server once; takes about a second at the most. Raises a PenstockError where it is away.
    """

    def __init__(self, name: str, probe: Callable[[], None]) -> None:
        self.name = name
        self._probe = probe
        self._wake = threading.Event()
        self._asking = threading.Lock()
        self._stopping = False
        self._away_since: datetime | None = None
        self._error: PenstockError | None = None
        self._on_return: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name=f"penstock-presence-{name}", daemon=True)

    @property
    def is_away(self) -> bool:
        """Whether it did not answer when it was last asked."""
        return self._away_since is not None

    @property
    def away_since(self) -> datetime | None:
        """Since when it has not answered; None where it does."""
        return self._away_since

    @property
    def error(self) -> PenstockError | None:
        """What the last probe met; None where the server is there."""
        return self._error

    def on_return(self, action: Callable[[], None]) -> None:
        """Have `action` run, in the background, whenever the server is back."""
        self._on_return.append(action)

    def failed(self) -> None:
        """Take it as away from now on, and have it asked at once."""
        if self._away_since is None:
            self._away_since = datetime.now(UTC)
        self._wake.set()

    def doubt(self) -> None:
        """Have it asked at once."""
        self._wake.set()

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the probe that is under way."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout: timedelta) -> None:
        """Wait for the end."""
        self._thread.join(timeout.total_seconds())

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self.ask()
            if self.is_away:
                # Doubts don't hurry what is known.
                time.sleep(ASK_EVERY.total_seconds() / 4)
            self._wake.wait(ASK_EVERY.total_seconds())

    def ask(self) -> None:
        """Ask now, in the caller's thread."""
        with self._asking:
            self._ask()

    def _ask(self) -> None:
        try:
            self._probe()
        except PenstockError as error:
            self._error = error
            if self._away_since is None:
                self._away_since = datetime.now(UTC)
                _log.warning("%s; what is known is shown", error.message, extra={"code": error.code})
            return
        except Exception as error:
            _log.warning("asking %s failed: %s", self.name, type(error).__name__)
            return
        self._error = None
        if self._away_since is not None:
            self._away_since = None
            _log.info("%s is there", self.name)
            self._run_on_return()

    def _run_on_return(self) -> None:
        for action in self._on_return:
            try:
                action()
            except Exception as error:
                _log.warning("%s is back; what was to follow failed: %s", self.name, type(error).__name__)


@dataclass(frozen=True, slots=True)
class Servers:
    """The two servers."""

    postgresql: Presence
    redis: Presence

    def start(self) -> None:
        """Begin to ask both."""
        self.postgresql.start()
        self.redis.start()

    def stop(self) -> None:
        """End."""
        self.postgresql.stop()
        self.redis.stop()
        self.postgresql.join(_STOP_WITHIN)
        self.redis.join(_STOP_WITHIN)

    def away(self) -> list[Presence]:
        """Those that are away."""
        return [presence for presence in (self.postgresql, self.redis) if presence.is_away]
