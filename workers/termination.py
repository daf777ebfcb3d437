"""SIGTERM and SIGINT as a request to stop."""

import atexit
import queue
import signal
import threading
import time
from types import FrameType

_SLICE_SECONDS = 0.25
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Termination:
    """Hears the signals from its making on. Make it, and wait on it, in the main thread.

    The handler takes no lock: `Event.set` in a handler hangs for ever where the signal finds the main thread at the
    door of `Event.wait`.

    Attributes:
        event: set once the main thread has noticed the request; for other threads.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        # Its put may interrupt its get in the same thread; of what the standard library has, that alone may.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in _SIGNALS:
            signal.signal(number, self._note)
        # While the interpreter ends it takes its handlers back: one signal more would end the process by itself, and
        # not by its exit code.
        atexit.register(_ignore_signals)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the request; False where it did not come in time. 0 looks whether it has come."""
        if self.event.is_set():
            return True
        ends_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            # In slices: a signal that arrives just before the wait begins does not cut it short, and its handler runs
            # when the slice is over.
            left = _SLICE_SECONDS if ends_at is None else min(_SLICE_SECONDS, ends_at - time.monotonic())
            try:
                self._signals.get(block=left > 0, timeout=max(left, 0.0))
            except queue.Empty:
                if left <= 0:
                    return False
            else:
                self.event.set()
                return True

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signals.put(number)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
