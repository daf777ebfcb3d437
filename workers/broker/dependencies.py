"""Something outside that whole queues need (PostgreSQL), as this process sees it: there, or away until it answers."""

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from penstock.workers.telemetry.metrics import DEPENDENCY_AWAY

_log = logging.getLogger(__name__)

#: How often a dependency that is away is asked; a fleet's questions are spread by the jitter.
ASK_EVERY = timedelta(seconds=1)
JITTER = 0.2


class Dependency:
    """Knows whether a dependency is away, and finds out when it is back. Safe to share between threads.

    Nobody asks while all goes well. Whoever meets a failure that may mean an outage doubts, and one thread asks: at
    once, and where the answer is no, again and again until it is yes. Meanwhile consumers of the queues that need it
    hold still. The thread begins with the first doubt, so after any fork.

    Args:
        name: what jobs are told to be blocked by.
        ask: whether it serves now; raises nothing.
        renew: called each time it was asked and serves, before anybody is told: to renew connections.
        cut: called when it is found away, to end the waits for it.
        ask_every: between two questions while it is away.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[], bool],
        renew: Callable[[], None] = lambda: None,
        cut: Callable[[], None] = lambda: None,
        ask_every: timedelta = ASK_EVERY,
    ) -> None:
        self.name = name
        self._ask = ask
        self._renew = renew
        self._cut = cut
        self._ask_every = ask_every
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._away_since: float | None = None
        # Questions are numbered, so that who doubts waits for one that was asked after the doubt.
        self._asked = self._answered = self._wanted = 0

    @property
    def is_away(self) -> bool:
        """Whether it did not serve when it was last asked, and is being asked until it does."""
        return self._away_since is not None

    def doubt(self) -> None:
        """Have it asked, as soon as may be; returns at once."""
        with self._changed:
            self._doubt()

    def is_away_after_asking(self, limit: timedelta) -> bool:
        """Have it asked, and wait for the answer for at most `limit`; whether it is away."""
        with self._changed:
            self._doubt()
            wanted = self._wanted
            self._changed.wait_for(
                lambda: self.is_away or self._answered >= wanted or self._stopped, limit.total_seconds()
            )
            return self.is_away

    def wait_until_back(self, limit: timedelta) -> bool:
        """Wait until it serves; False where `limit` came first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.is_away or self._stopped, limit.total_seconds())

    def stop(self) -> None:
        """Ask no more, and let nobody wait any longer."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _doubt(self) -> None:
        if self._stopped or self.is_away:
            return
        self._wanted = self._asked + 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"penstock-{self.name}-prober", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self.is_away or self._wanted > self._asked)
                if self._stopped:
                    return
                self._asked += 1
            self._note(self._serves())
            if self.is_away:
                self._cut()
                pause = self._ask_every.total_seconds() * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, pause)

    def _serves(self) -> bool:
        try:
            serves = self._ask()
            if serves:
                self._renew()
        except Exception:
            # The thread must live: nobody else would ever find out that it is back.
            _log.exception("asking for %s failed", self.name)
            return False
        return serves

    def _note(self, serves: bool) -> None:
        with self._changed:
            self._answered = self._asked
            was_away_since, self._away_since = (
                self._away_since,
                None if serves else self._away_since or time.monotonic(),
            )
            self._changed.notify_all()
        DEPENDENCY_AWAY.labels(self.name).set(0 if serves else 1)
        if serves and was_away_since is not None:
            _log.warning("%s is back after %.1f s; jobs are taken again", self.name, time.monotonic() - was_away_since)
        elif not serves and was_away_since is None:
            _log.error("%s is away: no job that needs it is taken until it is back", self.name)
