"""SIGINT, SIGTERM and SIGHUP as a request to stop, and a way to sleep until one comes or a child ends."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While entered (in the main thread), the first signal asks to stop and the next ones insist.

    Attributes:
        insisting_raises: whether the second signal raises KeyboardInterrupt, which ends a long call.
        descriptor: readable whenever a signal arrived, SIGCHLD included; read it by `drain`.
        requests: how many signals asked to stop so far.
    """

    def __init__(self) -> None:
        self.insisting_raises = True
        self.requests = 0
        self._reader, self._writer = -1, -1
        self._handlers: dict[signal.Signals, Any] = {}
        self._old_wakeup = -1

    @property
    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self.requests > 0

    @property
    def descriptor(self) -> int:
        """The descriptor to wait on."""
        return self._reader

    def drain(self) -> None:
        """Forget the arrivals noted by `descriptor`."""
        try:
            while os.read(self._reader, 4096):
                continue
        except BlockingIOError:
            return

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, self._count) for number in _STOPPING}
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._ignore)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.requests += 1
        if self.requests > 1 and self.insisting_raises:
            raise KeyboardInterrupt

    def _ignore(self, _number: int, _frame: FrameType | None) -> None:
        """A handler at all makes the kernel's SIGCHLD reach the wake-up descriptor."""
