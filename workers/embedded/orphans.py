"""Servers that outlived the process which started them.

They are told to stop when that process dies, but may still be at it when the next one starts. They are
stopped rather than adopted: an adopted server would not be tied to its new parent's life.
"""

import os
import signal
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

_PAUSE_SECONDS = 0.02


def end_orphans(program: str, marker: str, stop_signal: signal.Signals, limit: timedelta) -> None:
    """Stop every process of `program` that has the argument `marker`, and return when none is left.

    Those that have not stopped by `limit` are killed. PostgreSQL's backends show a title instead of their
    arguments; they end with the postmaster.
    """
    deadline = time.monotonic() + limit.total_seconds()
    asked: set[int] = set()
    while found := find(program, marker):
        late = time.monotonic() > deadline
        for pid in found if late else found - asked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else stop_signal)
        asked |= found
        time.sleep(_PAUSE_SECONDS)


def find(program: str, marker: str) -> set[int]:
    """The processes of the program of that file name, wherever it lies, that have the argument `marker`.

    Only /proc/PID/cmdline is readable for another user's processes in a container without CAP_SYS_PTRACE.
    """
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it ended while we looked
                called, *arguments = os.fsdecode((folder / "cmdline").read_bytes()).split("\0")
                if Path(called).name == program and marker in arguments:
                    found.add(int(folder.name))
    return found
