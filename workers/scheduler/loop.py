"""A loop: something small that is done again and again, by any number of schedulers at once."""

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.telemetry.metrics import LOOP_FAILURES, LOOP_LAG, LOOP_SECONDS

_log = logging.getLogger(__name__)

FIRST_BACKOFF = timedelta(milliseconds=500)
LONGEST_BACKOFF = timedelta(seconds=30)


class Loop(Protocol):
    """What is done again and again.

    Attributes:
        name: in logs and metrics.
        interval: from the end of one run to the beginning of the next, if no event wakes it before.
        channel: the events of PostgreSQL that wake it; None for none.
    """

    @property
    def name(self) -> str:  # noqa: D102  the class tells
        ...

    @property
    def interval(self) -> timedelta:  # noqa: D102
        ...

    @property
    def channel(self) -> str | None:  # noqa: D102
        ...

    def run_once(self) -> bool:
        """Do what there is to do, a bounded piece of it; True where there is more.

        Safe at any time and beside any number of others who do the same: each step commits by itself, so that
        whoever is killed leaves nothing behind that the next run does not find.
        """


class LoopThread:
    """Runs one loop in a thread of its own. What it raises is told and counted, and it goes on."""

    def __init__(self, loop: Loop, stopping: threading.Event, clock: Callable[[], float] = time.monotonic) -> None:
        self.loop = loop
        self._stopping = stopping
        self._clock = clock
        self._wake = threading.Event()
        self._failures = 0
        self._succeeded_at = clock()
        self._thread = threading.Thread(target=self._run, name=f"penstock-{loop.name}", daemon=True)
        LOOP_LAG.labels(loop.name).set_function(self.lag)

    def start(self) -> None:
        """Begin; the first run is at once."""
        self._thread.start()

    def wake(self) -> None:
        """Run now, or once more after the present run."""
        self._wake.set()

    def join(self, timeout: timedelta) -> bool:
        """Wait for the end of the present run; False where it takes longer."""
        self._thread.join(timeout.total_seconds())
        return not self._thread.is_alive()

    def lag(self) -> float:
        """Seconds since the last run that succeeded (since the start, where none has)."""
        return self._clock() - self._succeeded_at

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Before the run: what is told while it runs may be more than it sees.
            self._wake.clear()
            pause = self._pause_after_run()
            # No event cuts a failure's pause short: there may be many of them while a server is away.
            waking = self._stopping if self._failures else self._wake
            if not self._stopping.is_set():
                waking.wait(pause)

    def _pause_after_run(self) -> float:
        """Run once; returns how many seconds to wait."""
        started = self._clock()
        try:
            more = self.loop.run_once()
        except PenstockError as error:
            return self._failed(error.code, error.message)
        except Exception as error:
            # An exception's text can quote a payload, so its type has to do; the stack tells the place.
            _log.debug("the loop %s failed", self.loop.name, exc_info=True)
            return self._failed(Code.INTERNAL_ERROR, type(error).__name__)
        finally:
            LOOP_SECONDS.labels(self.loop.name).observe(self._clock() - started)
        if self._failures:
            _log.info("the loop %s works again", self.loop.name)
        self._failures = 0
        self._succeeded_at = self._clock()
        return 0 if more else self.loop.interval.total_seconds()

    def _failed(self, code: Code, told: str) -> float:
        LOOP_FAILURES.labels(self.loop.name).inc()
        pause = min(
            LONGEST_BACKOFF.total_seconds(), FIRST_BACKOFF.total_seconds() * float(2 ** min(self._failures, 10))
        )
        self._failures += 1
        _log.warning(
            "the loop %s failed: %s; attempt %d follows in %.1f s",
            self.loop.name,
            told,
            self._failures + 1,
            pause,
            extra={"code": code},
        )
        # Several schedulers that met the same fault should not come back in step.
        return pause * random.uniform(0.75, 1.25)  # noqa: S311  nothing secret
