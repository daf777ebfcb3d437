"""One process of the Procfile: its present life, its output, and when it is started again."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from penstock.workers.embedded.prefixed_output import LineReader, PrefixedOutput
from penstock.workers.embedded.privileges import Identity
from penstock.workers.embedded.procfile import ProcessType, resolve
from penstock.workers.embedded.restarts import RestartPolicy


class Child:
    """A process that is started again when it ends. Instants are seconds of one monotonic clock."""

    def __init__(self, kind: ProcessType, output: PrefixedOutput, policy: RestartPolicy) -> None:
        self.kind = kind
        self.restart_at = 0.0
        self._output = output
        self._policy = policy
        self._started_at = 0.0
        self._delay: timedelta | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: LineReader | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and its end was not seen by `reap`."""
        return self._process is not None

    @property
    def descriptor(self) -> int | None:
        """Where its output is read, while there may be any."""
        if self._process is None or self._process.stdout is None:
            return None
        return None if self._reader is None or self._reader.ended else self._process.stdout.fileno()

    def start(self, environment: Mapping[str, str], now: float) -> None:
        """Start it, in a session of its own so that Ctrl-C in the terminal does not reach it.

        If this process is killed nobody is left to enforce a grace, so the kernel kills the child: jobs
        survive that by design.
        """
        self._process = subprocess.Popen(
            Identity().command(resolve(self.kind.command), signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
        if self._process.stdout is not None:
            self._reader = LineReader(self._process.stdout.fileno())
        self._started_at = now

    def forward(self) -> None:
        """Write the lines that have arrived."""
        if self._reader is not None:
            for line in self._reader.lines():
                self._output.write(self.kind.name, line)

    def reap(self, now: float) -> str | None:
        """If it has ended, plan its restart and say how it ended."""
        if self._process is None or self._process.poll() is None:
            return None
        self._forward_rest()
        status = self._process.returncode
        self._process, self._reader = None, None
        lifetime = timedelta(seconds=now - self._started_at)
        self._delay = self._policy.delay(self._delay, lifetime)
        self.restart_at = now + self._delay.total_seconds()
        return f"was killed by {_name(-status)}" if status < 0 else f"ended with exit code {status}"

    def ask_to_stop(self) -> None:
        """Send it SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Kill it and what it started; its end is still to be reaped, so its group is surely its own."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for the end of a killed process."""
        if self._process is not None:
            self._process.wait()

    def _forward_rest(self) -> None:
        """Write what the ended process left; a grandchild may hold the pipe open, so don't wait for its end."""
        if self._process is None or self._process.stdout is None or self._reader is None:
            return
        while not self._reader.ended:
            lines = self._reader.lines()
            for line in lines:
                self._output.write(self.kind.name, line)
            if not lines:
                break
        self._process.stdout.close()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
