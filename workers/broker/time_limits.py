"""Interrupts what runs too long, and only while it runs."""

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from dramatiq.middleware import Interrupt

_log = logging.getLogger(__name__)

#: Whoever is still running so long after the interrupt sits in C code that does not return.
HUNG_AFTER = timedelta(seconds=30)
_LOOK_EVERY = timedelta(milliseconds=200)


class TimeLimitExceededError(Interrupt):
    """Raised in the thread of a delivery that runs longer than its kind allows."""


class ShutdownError(Interrupt):
    """Raised in the thread of a delivery that outlasts the grace of a stopping worker."""


@dataclass(slots=True)
class _Run:
    ends_at: float
    interrupted: bool = False


class TimeLimits(threading.Thread):
    """Watches over running deliveries.

    An interrupt is an exception that Python throws into a thread at its next bytecode; code in C is not interrupted,
    which is what statement time-outs are for. One that hangs there for `HUNG_AFTER` more is given to `on_hung`.
    """

    def __init__(self, on_hung: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name="penstock-time-limits", daemon=True)
        self._on_hung = on_hung
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[int, _Run] = {}
        self._stopped = threading.Event()

    @contextmanager
    def within(self, limit: timedelta) -> Iterator[None]:
        """Run the block for at most `limit`. No interrupt reaches the thread after the block.

        Raises:
            TimeLimitExceededError: in the block.
            ShutdownError: in the block.
        """
        thread = threading.get_ident()
        try:
            # Within the try: an interrupt may land as soon as the run is known.
            with self._lock:
                self._runs[thread] = _Run(self._clock() + limit.total_seconds())
            yield
        finally:
            try:
                self._leave(thread)
            except Interrupt:
                # It landed in the way out.
                self._leave(thread)
                raise

    def _leave(self, thread: int) -> None:
        with self._lock:
            run = self._runs.pop(thread, None)
            if run is not None and run.interrupted:
                # Thrown, and perhaps not landed yet: it must not land in what comes after.
                _throw(thread, None)

    def interrupt_all(self, error: type[Interrupt]) -> int:
        """Interrupt every run; returns how many there were."""
        with self._lock:
            for thread, run in self._runs.items():
                run.interrupted = True
                _throw(thread, error)
            return len(self._runs)

    def stop(self) -> None:
        """End the watch."""
        self._stopped.set()

    def run(self) -> None:
        """Look for runs that are over their limit."""
        while not self._stopped.wait(_LOOK_EVERY.total_seconds()):
            if self._look():
                self._on_hung()

    def _look(self) -> bool:
        now = self._clock()
        with self._lock:
            for thread, run in self._runs.items():
                if now >= run.ends_at and not run.interrupted:
                    _log.warning("a delivery is over its time limit; interrupting it")
                    run.interrupted = True
                    _throw(thread, TimeLimitExceededError)
            return any(now >= run.ends_at + HUNG_AFTER.total_seconds() for run in self._runs.values())


def _throw(thread: int, error: type[BaseException] | None) -> None:
    """Have an exception raised in a thread, or take back (None) what was not raised yet."""
    raised = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
