"""`penstock` as a process of its own, without the half second of imports that each start costs.

A command that is started here is a real process with its own environment, streams, signals and exit code; only its
modules have been imported before, in the process that it was forked from (tests/forking_server.py). Where that could
make a difference (variables that libraries read when they are imported, or PENSTOCK_TEST_FULL=1), and for commands that
no server has, it is the installed script that is run.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from penstock.workers.cli.root import _COMMANDS

_BIN = Path(sys.executable).parent

_SERVER = Path(__file__).with_name("forking_server.py")
_SHORT = tuple(sorted({*_COMMANDS} - {"up", "gateway", "worker", "scheduler", "sidecar"}))
#: What each server has imported. A process that tells metrics or serves must not have the modules of others.
_PARTS: dict[str, tuple[str, ...]] = dict.fromkeys(_SHORT, _SHORT) | {
    name: (name,) for name in ("worker", "scheduler", "sidecar")
}
#: Variables that nothing reads before the command runs.
_LATE = ("PENSTOCK_", "DATABASE_URL", "REDIS_URL", "PATH", "HOME", "PYTHONPATH", "SENTRY_DSN")

Stream = int | IO[Any] | None


class _Server:
    """A forking server of this test process."""

    def __init__(self, commands: Sequence[str]) -> None:
        folder = tempfile.mkdtemp(prefix="penstock-forks-")
        self.path = str(Path(folder) / "socket")
        self._process = subprocess.Popen(
            [sys.executable, "-P", _SERVER, self.path, *commands],
            env={"PATH": f"{_BIN}:/usr/bin:/bin", "HOME": folder},
            stdin=subprocess.PIPE,
        )

    def connect(self) -> socket.socket | None:
        """A connection, once it has imported all; None where it could not."""
        while self._process.poll() is None:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.path)
            except OSError:
                connection.close()
                time.sleep(0.01)
            else:
                return connection
        return None

    def stop(self) -> None:
        """End it; what it started goes on."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


_servers: dict[tuple[str, ...], _Server] = {}
_lock = threading.Lock()


def _connect(command: str) -> socket.socket | None:
    commands = _PARTS[command]
    with _lock:
        server = _servers.get(commands)
        if server is None:
            server = _servers[commands] = _Server(commands)
            atexit.register(server.stop)
    return server.connect()


def start(
    arguments: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
) -> "subprocess.Popen[bytes]":
    """Start `penstock` with these arguments; as `subprocess.Popen`, of whose other options there are none."""
    words = [str(argument) for argument in arguments]
    connection = _connect(words[0]) if _may_be_forked(words, environment) else None
    if connection is None:
        return subprocess.Popen([_BIN / "penstock", *words], env=environment, stdin=stdin, stdout=stdout, stderr=stderr)
    return Forked(connection, words, environment, (stdin, stdout, stderr))


def _may_be_forked(words: list[str], environment: Mapping[str, str]) -> bool:
    if os.environ.get("PENSTOCK_TEST_FULL") == "1" or not words or words[0] not in _PARTS:
        return False
    return all(name.startswith(_LATE) for name in environment)


class Forked(subprocess.Popen[bytes]):
    """A process that a forking server started."""

    def __init__(
        self,
        connection: socket.socket,
        words: list[str],
        environment: Mapping[str, str],
        streams: tuple[Stream, Stream, Stream],
    ) -> None:
        # Of `Popen` only what works with `pid` and `returncode` is used: its own start is not.
        self._child_created = False
        self.args = ["penstock", *words]
        self.returncode = None
        self.stdin = self.stdout = self.stderr = None
        self._connection = connection
        self._told = b""
        self._asking = threading.Lock()
        given = self._open(streams)
        request = {"arguments": words, "environment": dict(environment), "folder": str(Path.cwd())}
        data = json.dumps(request).encode() + b"\n"
        try:
            sent = socket.send_fds(connection, [data], given)
            connection.sendall(data[sent:])
        finally:
            for number in given:
                os.close(number)
        self.pid = int(self._line(b"started ", None) or 0)

    def _open(self, streams: tuple[Stream, Stream, Stream]) -> list[int]:
        """Its ends of the streams, to be closed when it has them; ours become attributes."""
        given: list[int] = []
        for number, stream in enumerate(streams):
            if stream == subprocess.PIPE:
                reading, writing = os.pipe()
                given.append(reading if number == 0 else writing)
                name = ("stdin", "stdout", "stderr")[number]
                setattr(self, name, os.fdopen(writing, "wb") if number == 0 else os.fdopen(reading, "rb"))
            elif stream == subprocess.DEVNULL:
                given.append(os.open(os.devnull, os.O_RDWR))
            elif stream == subprocess.STDOUT:
                given.append(os.dup(given[1]))
            else:
                own = number if stream is None else stream if isinstance(stream, int) else stream.fileno()
                given.append(os.dup(own))
        return given

    def _line(self, begins: bytes, seconds: float | None) -> str | None:
        """What the server says next; None where it says nothing for so long."""
        self._connection.settimeout(seconds)
        while b"\n" not in self._told:
            try:
                data = self._connection.recv(1_000)
            except (TimeoutError, BlockingIOError):
                return None
            if not data:
                raise AssertionError("the forking server's process has gone")
            self._told += data
        line, _, self._told = self._told.partition(b"\n")
        assert line.startswith(begins), line
        return line.removeprefix(begins).decode()

    def __del__(self, *_: object) -> None:
        self._connection.close()

    def poll(self) -> int | None:
        """As `Popen`."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """As `Popen`."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _ended(self, seconds: float | None) -> int | None:
        with self._asking:
            if self.returncode is None:
                status = self._line(b"ended ", seconds)
                if status is None:
                    return None
                self.returncode = os.waitstatus_to_exitcode(int(status))
                self._connection.close()
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """As `Popen`."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """As `Popen`."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """As `Popen`."""
        self.send_signal(signal.SIGKILL)


def run(
    arguments: Sequence[str | Path], environment: Mapping[str, str], stdin: bytes | None = None, seconds: float = 120
) -> "subprocess.CompletedProcess[bytes]":
    """Run `penstock` to its end.

    Raises:
        subprocess.TimeoutExpired: it ran for longer, and was killed.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin or b"")
        given.seek(0)
        process = start(arguments, environment, stdin=given if stdin is not None else None, stdout=out, stderr=err)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(process.args, code, out.read(), err.read())
