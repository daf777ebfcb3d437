"""A system's producer, in a process of its own: `python -m benchmarks.compared.produce MODULE ROWS_FILE`.

Reads commands from standard input, a JSON object a line, and answers each with `{"began": ..., "ended": ...}`: seconds
of the machine's monotonic clock, from before the first enqueue to after the last:

* `{"do": "submit", "base": ..., "rows": n}`: the first n rows in batches of a thousand;
* `{"do": "dicts", "base": ..., "rows": n}`: the same as Python's own objects;
* `{"do": "send", "name": ..., "jobs": n, "at_once": k}`: n jobs, k to a call (0: singly);
* `{"do": "note", "number": n}`: one job that notes when it began.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.compared.senders import BATCH_ROWS, Arguments, Sender


class Producing:
    """Does what it is told."""

    def __init__(self, sender: Sender, rows: list[bytes]) -> None:
        self._sender = sender
        self._rows = rows

    def prepare(self, told: dict[str, Any]) -> Callable[[], object]:
        """What is to be timed."""
        match told["do"]:
            case "submit":
                rows = self._rows[: told["rows"]]
                return lambda: self._sender.submit(told["base"], rows)
            case "dicts":
                batches = self._dicts(told["base"], told["rows"])
                return lambda: self._sender.send("batch_of_dicts", batches)
            case "note":
                return lambda: self._sender.send("note", [(told["number"],)])
            case _:
                return self._prepare_jobs(told["name"], told["jobs"], told["at_once"])

    def _prepare_jobs(self, name: str, count: int, at_once: int) -> Callable[[], object]:
        jobs: list[Arguments] = [(str(uuid4()),) if name == "tiny" else () for _ in range(count)]
        if not at_once:
            return lambda: self._sender.send(name, jobs)
        calls = [jobs[start : start + at_once] for start in range(0, count, at_once)]
        return partial(self._send_calls, name, calls)

    def _send_calls(self, name: str, calls: list[list[Arguments]]) -> None:
        for call in calls:
            self._sender.send_many(name, call)

    def _dicts(self, base: str, count: int) -> list[Arguments]:
        rows = [json.loads(row) for row in self._rows[:count]]
        starts = range(0, count, BATCH_ROWS)
        return [(f"{base}-{number:04d}", rows[start : start + BATCH_ROWS]) for number, start in enumerate(starts, 1)]


def main() -> None:
    """Answer until standard input ends."""
    sender: Sender = importlib.import_module(sys.argv[1]).make_sender()
    producing = Producing(sender, Path(sys.argv[2]).read_bytes().splitlines())
    for line in sys.stdin:
        work = producing.prepare(json.loads(line))
        began = time.monotonic()
        work()
        sys.stdout.write(json.dumps({"began": began, "ended": time.monotonic()}) + "\n")
        sys.stdout.flush()
    sender.close()


if __name__ == "__main__":
    main()
