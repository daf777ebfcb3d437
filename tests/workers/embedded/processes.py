"""Waiting for processes that are not our children, by event and with a limit."""

import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
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
    """A Python program in a process of its own, whose output lines are waited for.

    Attributes:
        seen: every line that it wrote so far and that we took in.
    """

    def __init__(self, source: str, *arguments: object, identity: Identity | None = None) -> None:
        command = python(source, *arguments)
        self.process = subprocess.Popen(
            command if identity is None else identity.command(command, signal.SIGKILL),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        self.seen: list[str] = []
        self._passed_over: list[str] = []
        self._arriving: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, matches: str | Callable[[str], bool]) -> str:
        """The next line that contains the text, or satisfies the function; lines asked for may come in any order."""
        list(self._new_lines(matches))
        for line in self._passed_over:
            if _fits(line, matches):
                self._passed_over.remove(line)
                return line.strip()
        raise AssertionError(f"ended without {matches!r}:\n{self.text()}")

    def end(self) -> int:
        """Its exit code, once it has ended."""
        list(self._new_lines(lambda _: False))
        return self.process.wait(LIMIT_SECONDS)

    def text(self) -> str:
        """All that was taken in of its output."""
        return "".join(self.seen)

    def close(self) -> None:
        """Kill it, if it is still there."""
        self.process.kill()
        self.process.wait()
        self._reader.join(LIMIT_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _new_lines(self, matches: str | Callable[[str], bool]) -> Iterator[str]:
        """Take in lines up to one that matches, unless one was passed over before, or to the end."""
        if any(_fits(line, matches) for line in self._passed_over):
            return
        while (line := self._next_line(matches)) is not None:
            self.seen.append(line)
            self._passed_over.append(line)
            yield line
            if _fits(line, matches):
                return

    def _next_line(self, matches: object) -> str | None:
        try:
            return self._arriving.get(timeout=LIMIT_SECONDS)
        except queue.Empty:
            raise AssertionError(f"waited in vain for {matches!r}:\n{self.text()}") from None

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._arriving.put(line)
        self._arriving.put(None)


def python(source: str, *arguments: object) -> list[str]:
    """The command that runs `source` with this interpreter."""
    return [sys.executable, "-u", "-c", source, *map(str, arguments)]


def _fits(line: str, matches: str | Callable[[str], bool]) -> bool:
    return matches in line if isinstance(matches, str) else matches(line)
