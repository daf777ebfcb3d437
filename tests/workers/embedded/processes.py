"""Waiting for processes that are not our children, by event and with a limit."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from penstock.workers.embedded.privileges import Identity

LIMIT_SECONDS = 20


def wait_for_end(*pids: int) -> None:
    """Return when all of the processes have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                ended, _, _ = select.select([descriptor], [], [], LIMIT_SECONDS)
            finally:
                os.close(descriptor)
            assert ended, f"process {pid} is still there"


class Script:
    """A Python program in a process of its own, whose output lines are waited for."""

    def __init__(self, source: str, *arguments: object, identity: Identity | None = None) -> None:
        command = [sys.executable, "-u", "-c", source, *map(str, arguments)]
        self.process = subprocess.Popen(
            command if identity is None else identity.command(command, signal.SIGKILL),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        self.seen: list[str] = []

    def wait_for(self, matches: str | Callable[[str], bool]) -> str:
        """The next line that contains the text, or satisfies the function."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(line)
            if matches in line if isinstance(matches, str) else matches(line):
                return line.strip()
        raise AssertionError(f"ended without {matches!r}:\n{''.join(self.seen)}")

    def rest(self) -> str:
        """What it writes until its end."""
        assert self.process.stdout is not None
        text = self.process.stdout.read()
        self.seen.append(text)
        return text

    def end(self) -> int:
        """Its exit code, once it has ended."""
        self.rest()
        return self.process.wait(LIMIT_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
