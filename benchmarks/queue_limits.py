"""What a queue's limits cost: the same jobs with all limits and with none, or here and in another checkout.

`python -m benchmarks.queue_limits [--against PATH] [--rounds N] [--jobs N] [--json]`

Sides take turns, each a process of its own on the same Valkey. Of each way to use a queue it tells the ratio of times
as whoever waits for the answer sees them, and the ratios of the processor time of Valkey and of that process, which
hang less on what else the machine does.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import redis

from penstock.workers.embedded.home import Home
from penstock.workers.embedded.valkey import EmbeddedValkey

WAYS = ("bulk", "singly", "batches", "acks")
HERE = Path(__file__).resolve().parents[1]
#: The folders of a checkout that are the package (docs/decisions/0001).
FOLDERS = ("schemas", "producers", "workers", "migrations")


@dataclass
class Times:
    """Seconds of one way on one side, a figure for each round."""

    waited: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)


class Side:
    """A process that uses a checkout's release.

    Args:
        folder: where the links are made by which the process finds the package.
        limits: as `benchmarks/queue_side.py` takes them.
    """

    def __init__(self, url: str, checkout: Path, folder: Path, limits: str) -> None:
        package = folder / "penstock"
        package.mkdir(parents=True)
        for name in FOLDERS:
            (package / name).symlink_to(checkout.resolve() / name)
        self.process = subprocess.Popen(
            [sys.executable, HERE / "benchmarks" / "queue_side.py", url, limits],
            env=os.environ | {"PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *words: object) -> tuple[float, float]:
        """Have a command done; returns the seconds that it took, and those of the process's own processor time."""
        commands, answers = cast("IO[str]", self.process.stdin), cast("IO[str]", self.process.stdout)
        commands.write(" ".join(str(word) for word in words) + "\n")
        commands.flush()
        waited, used = answers.readline().split()
        return float(waited), float(used)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def measure(url: str, sides: dict[str, Side], rounds: int, jobs: int) -> dict[str, dict[str, Any]]:
    """Of each way the median ratios (the first side ÷ the second), and the medians in ms."""
    admin: Any = redis.Redis.from_url(url)
    found = {way: {name: Times() for name in sides} for way in WAYS}
    for number in range(rounds + 1):
        # Who goes first changes: the second finds a warmer machine.
        names = list(sides) if number % 2 else list(reversed(sides))
        for way in WAYS:
            for name in names:
                admin.flushall()
                sides[name].tell("prepare", way, jobs)
                before = _server_seconds(admin)
                waited, used = sides[name].tell("run")
                if number:  # the first round teaches the server its scripts
                    found[way][name].waited.append(waited)
                    found[way][name].server.append(_server_seconds(admin) - before)
                    found[way][name].client.append(used)
    return {way: _figures(times) for way, times in found.items()}


def _server_seconds(admin: Any) -> float:
    used = admin.info("cpu")
    return float(used["used_cpu_user_main_thread"]) + float(used["used_cpu_sys_main_thread"])


def _figures(times: dict[str, Times]) -> dict[str, Any]:
    one, other = times.values()
    medians = {f"{name}_ms": round(1_000 * statistics.median(of.waited), 2) for name, of in times.items()}
    ratios = {
        "ratio": _ratio(one.waited, other.waited),
        "server_ratio": _ratio(one.server, other.server),
        "client_ratio": _ratio(one.client, other.client),
    }
    return ratios | medians


def _ratio(times: list[float], others: list[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(times, others, strict=True)), 3)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.queue_limits", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout, such as of the release before")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        home = Home(folder / "home").lock()
        stack.callback(home.unlock)
        valkey = EmbeddedValkey(home)
        valkey.start()
        stack.callback(valkey.stop)
        pairs = {"with": (HERE, "all"), "without": (HERE, "none")}
        if chosen.against:
            pairs = {"here": (HERE, "usual"), "there": (chosen.against, "usual")}
        sides = {name: Side(valkey.url, checkout, folder / name, limits) for name, (checkout, limits) in pairs.items()}
        for side in sides.values():
            stack.callback(side.close)
        figures = measure(valkey.url, sides, chosen.rounds, chosen.jobs)
    if chosen.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for way, found in figures.items():
        sys.stdout.write(f"{way}: {found}\n")


if __name__ == "__main__":
    main()
