"""A process that has imported a part of the `penstock` command, and forks itself for each time that one is wanted.

Run as `python -P forking_server.py SOCKET COMMAND...`: it imports the modules of these commands, listens at the socket
and ends, with the socket's folder, when its standard input does. Whoever connects sends a JSON object (`arguments`,
`environment`, `folder`) with the three standard streams, and hears `started PID` and, at the end, `ended STATUS`, as
`os.waitpid` has it.
"""

import atexit
import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from penstock.workers.cli import main

#: More than any request has.
_MOST_BYTES = 4 * 1024 * 1024


def serve(path: str) -> None:
    """Fork for each request, until nobody wants any more. A command goes on as the entry point of the package does."""
    # Nobody waits for the processes that wait for the commands.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        while True:
            ready, _, _ = select.select([listener.fileno(), 0], [], [])
            if listener.fileno() not in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _attend(connection)
            connection.close()


def _attend(connection: socket.socket) -> None:
    """In a process of its own: start the command, and tell of its end. Returns in the command's process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams = _receive(connection)
    child = os.fork()
    if child == 0:
        connection.close()
        _become(request, streams)
    for stream in streams:
        os.close(stream)
    try:
        connection.sendall(f"started {child}\n".encode())
        _, status = os.waitpid(child, 0)
        connection.sendall(f"ended {status}\n".encode())
    except OSError:  # who asked is gone
        os._exit(1)
    os._exit(0)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, streams, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
    while not data.endswith(b"\n"):
        more = connection.recv(_MOST_BYTES)
        if not more:  # who asked is gone
            os._exit(1)
        data += more
    return json.loads(data), streams


def _become(request: dict[str, Any], streams: list[int]) -> NoReturn:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:0] = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.stdin = os.fdopen(0, "r", errors=sys.stdin.errors, closefd=False)
    sys.stdout = os.fdopen(1, "w", errors=sys.stdout.errors, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors=sys.stderr.errors, closefd=False)
    sys.argv = ["penstock", *request["arguments"]]
    code = 1
    try:
        main()
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    _end(code)


def _end(code: int) -> NoReturn:
    """As the interpreter's end, without the taking apart of all modules."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as an interpreter does
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    for name in ("root", *sys.argv[2:]):
        import_module(f"penstock.workers.cli.{name}")
    # What is there now is no garbage of any command's.
    gc.freeze()
    serve(sys.argv[1])
    shutil.rmtree(Path(sys.argv[1]).parent)
