"""An outage of Redis as those who wait for its end see it: told once, waited for with growing pauses."""

import logging
import threading
from datetime import timedelta

_FIRST_PAUSE = timedelta(milliseconds=50)
_LONGEST_PAUSE = timedelta(seconds=1)


class Outage:
    """Whether Redis answers one caller. Belongs to one thread."""

    def __init__(self, log: logging.Logger, doing: str) -> None:
        self._log = log
        self._doing = doing
        self._pause = _FIRST_PAUSE
        self._told = False

    def wait(self, error: Exception, stop: threading.Event) -> None:
        """Tell of the first failure, and wait before the next try; a stop ends the wait."""
        if not self._told:
            self._told = True
            # The type and no more: an answer of Redis can quote a command with its values.
            self._log.warning("Redis fails while %s: %s; trying until it does not", self._doing, type(error).__name__)
        stop.wait(self._pause.total_seconds())
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def over(self) -> None:
        """Note that Redis answered."""
        if self._told:
            self._log.info("Redis answers again while %s", self._doing)
        self._told = False
        self._pause = _FIRST_PAUSE
