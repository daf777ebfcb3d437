"""Runs loops beside each other until told to stop; one that fails stops none of the others."""

import logging
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

from penstock.workers.scheduler.listener import EventListener
from penstock.workers.scheduler.loop import Loop, LoopThread

_log = logging.getLogger(__name__)

#: What still runs then is left: each of its steps commits or does not, and the next scheduler goes on from there.
STOP_WITHIN = timedelta(seconds=4)


class Runner:
    """A thread for each loop, and a listener that wakes those whose channel has an event."""

    def __init__(self, loops: Sequence[Loop], database_url: str) -> None:
        self._stopping = threading.Event()
        self._threads = [LoopThread(loop, self._stopping) for loop in loops]
        channels = {loop.channel for loop in loops if loop.channel is not None}
        self.listener = EventListener(database_url, sorted(channels), self._wake)

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()
        self.listener.start()

    def stop(self) -> bool:
        """Let each loop end its present run; False where one takes too long and is left."""
        self._stopping.set()
        for thread in self._threads:
            thread.wake()
        ends_at = time.monotonic() + STOP_WITHIN.total_seconds()

        def left() -> timedelta:
            return timedelta(seconds=max(0.0, ends_at - time.monotonic()))

        late = [thread.loop.name for thread in self._threads if not thread.join(left())]
        self.listener.stop(left())
        if late:
            _log.warning("left in the middle of a run: %s", ", ".join(late))
        return not late

    def _wake(self, channel: str) -> None:
        for thread in self._threads:
            if thread.loop.channel == channel:
                thread.wake()
