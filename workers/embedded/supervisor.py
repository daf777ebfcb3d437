"""Keeps the processes of a Procfile running, and stops them all when asked.

One loop in the main thread: the kernel ties a child's life to the thread that started it, and signals,
ends of children and output all arrive as something to read.
"""

import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TextIO

from penstock.workers.embedded.child import Child
from penstock.workers.embedded.prefixed_output import PrefixedOutput
from penstock.workers.embedded.procfile import ProcessType
from penstock.workers.embedded.restarts import RestartPolicy
from penstock.workers.embedded.stop_signals import StopSignals

DEFAULT_GRACE = timedelta(seconds=30)
#: How often `on_tick` is called when nothing else happens.
_TICK_SECONDS = 0.5


class Supervisor:
    """The processes of one `up`.

    Args:
        kinds: what to run.
        environment: the processes' whole environment.
        signals: entered by the caller; tells when to stop.
        output: where the processes' lines go.
        announce: told of ends and restarts.
        policy: when a process that ended is started again.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        kinds: Sequence[ProcessType],
        environment: Mapping[str, str],
        signals: StopSignals,
        output: TextIO,
        announce: Callable[[str], None],
        *,
        policy: RestartPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # A pipe makes programs hold their output back; operators want each line when it is written.
        self._environment = {"PYTHONUNBUFFERED": "1", **environment}
        self._signals = signals
        self._announce = announce
        self._clock = clock
        self._output = PrefixedOutput(output, [kind.name for kind in kinds])
        self._children = [Child(kind, self._output, policy or RestartPolicy()) for kind in kinds]

    @property
    def output_lost(self) -> bool:
        """Whether nobody can read our output any more."""
        return self._output.lost

    def run(self, on_tick: Callable[[], None]) -> None:
        """Start all, and keep them running until asked to stop or until nobody reads the output.

        `on_tick` is called at least every half second; what it raises ends the run.
        """
        while not (self._signals.requested or self.output_lost):
            self._start_due()
            on_tick()
            self._wait(_TICK_SECONDS)
            self._reap()

    def stop(self, grace: timedelta = DEFAULT_GRACE) -> None:
        """Ask all to stop; kill what is left after `grace`, or at once when a second signal insists."""
        deadline = self._clock() + grace.total_seconds()
        for child in self._children:
            child.ask_to_stop()
        while self._running() and self._clock() < deadline and self._signals.requests < 2:
            self._wait(min(_TICK_SECONDS, max(0.0, deadline - self._clock())))
            self._reap_quietly()
        for child in self._running():
            self._announce(f"{child.kind.name} did not stop in time and is killed")
            child.kill()
            child.wait()
        self._reap_quietly()

    def _running(self) -> list[Child]:
        return [child for child in self._children if child.is_running]

    def _start_due(self) -> None:
        now = self._clock()
        for child in self._children:
            if not child.is_running and child.restart_at <= now:
                child.start(self._environment, now)

    def _reap(self) -> None:
        now = self._clock()
        for child in self._running():
            ending = child.reap(now)
            if ending is not None and not self._signals.requested:
                seconds = child.restart_at - now
                self._announce(f"{child.kind.name} {ending}; it is started again in {seconds:.3g} s")

    def _reap_quietly(self) -> None:
        for child in self._running():
            child.reap(self._clock())

    def _wait(self, limit_seconds: float) -> None:
        """Forward output as it comes; return when a signal came, a child ended, or the time is over."""
        due = [child.restart_at - self._clock() for child in self._children if not child.is_running]
        with selectors.DefaultSelector() as selector:
            selector.register(self._signals.descriptor, selectors.EVENT_READ, self._signals.drain)
            for child in self._running():
                if child.descriptor is not None:
                    selector.register(child.descriptor, selectors.EVENT_READ, child.forward)
            for key, _ in selector.select(max(0.0, min([limit_seconds, *due]))):
                key.data()
