"""One server as a child process: started on a port that is free, watched until ready, stopped in bounds."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from penstock.workers.embedded import ports
from penstock.workers.embedded.failures import EmbeddedServerError
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.orphans import end_orphans
from penstock.workers.embedded.private_files import write_private
from penstock.workers.embedded.privileges import Identity

#: Another process can take the port, or an ended server's children can still be leaving.
_ATTEMPTS = 6
_PAUSE_SECONDS = 0.02
_LOG_BYTES_LIMIT = 10_000_000

#: A server gets no variable of ours: they hold other systems' passwords.
_ENVIRONMENT: Mapping[str, str] = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


class ServerProcess(ABC):
    """What PostgreSQL and Valkey have in common.

    Start it from the main thread: the server is told to stop when the thread that started it ends.
    """

    name: str
    #: The file name of the server's program.
    program: str
    #: Asks the server to stop soon and cleanly; also sent when the parent dies.
    stop_signal: signal.Signals

    def __init__(self, home: Home, *, start_limit: timedelta, stop_limit: timedelta) -> None:
        self.home = home
        self.folder = home.server_folder(self.name)
        self.log = home.logs / f"{self.name}.log"
        self.port = 0
        self._start_limit = start_limit
        self._stop_limit = stop_limit
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, if it was started and not stopped since."""
        return None if self._process is None else self._process.pid

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop cleanly; kill what has not stopped within the limit. Harmless when nothing runs."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(self.stop_signal)
        try:
            process.wait(self._stop_limit.total_seconds())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @abstractmethod
    def _identity(self) -> Identity:
        """Whom the server runs as."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The command for `self.port`."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the server answers, asked once and without a long wait."""

    @abstractmethod
    def _marker(self) -> str:
        """An argument of the server's command that no other home's server has."""

    @abstractmethod
    def _clear_leftovers(self) -> None:
        """Remove what a killed server left in the way; called when none of this home runs."""

    def _start(self) -> None:
        """Start, and return when the server answers.

        Raises:
            EmbeddedServerError: it ended or did not answer within the limit.
        """
        self.stop()
        end_orphans(self.program, self._marker(), self.stop_signal, self._stop_limit)
        self._clear_leftovers()
        deadline = time.monotonic() + self._start_limit.total_seconds()
        for attempt in range(_ATTEMPTS):
            self._choose_port()
            self._spawn()
            if self._wait_until_ready(deadline):
                write_private(self.folder / "port", f"{self.port}\n")
                return
            time.sleep(min(2**attempt * 0.1, max(0.0, deadline - time.monotonic())))
        raise EmbeddedServerError(
            f"{self.name} ended {_ATTEMPTS} times while starting; its log is {self.log}{self._last_words()}"
        )

    def _choose_port(self) -> None:
        try:
            remembered = int((self.folder / "port").read_text("ascii"))
        except (OSError, ValueError):
            remembered = 0
        self.port = remembered if remembered and ports.is_free(remembered) else ports.find_free()

    def _spawn(self) -> None:
        rotate(self.log)
        # A session of its own: Ctrl-C in the terminal must reach `up` alone, which stops servers last.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._identity().command(self._command(), self.stop_signal),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(_ENVIRONMENT),
                cwd="/",
                start_new_session=True,
            )

    def _wait_until_ready(self, deadline: float) -> bool:
        """True when it answers, False when it ended; stops it when it does neither by the deadline, and raises."""
        try:
            while self.is_running():
                if self._is_ready():
                    return self.is_running()
                self._pause(deadline)
        except BaseException:
            self.stop()
            raise
        return False

    def _pause(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            seconds = self._start_limit.total_seconds()
            raise EmbeddedServerError(f"{self.name} did not answer within {seconds:.0f} s; its log is {self.log}")
        time.sleep(_PAUSE_SECONDS)

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return f" and ends with: {lines[-1][:300]}" if lines else ""


def run_once(command: list[str], log: Path) -> int:
    """Run a command that prepares a server, with its output in the log; return its exit code."""
    with log.open("ab") as file:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=dict(_ENVIRONMENT),
            cwd="/",
            start_new_session=True,
            check=False,
        ).returncode


def rotate(log: Path) -> None:
    """Put a log aside that has grown long, in place of the one put aside before."""
    if log.exists() and log.stat().st_size > _LOG_BYTES_LIMIT:
        log.replace(log.with_name(log.name + ".1"))
