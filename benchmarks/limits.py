"""Rate limits side by side with the library `limits`: exactness in any window, speed, and what a key costs Redis.

Each side takes a limit of 100 in 2 s with 8 processes that ask as
fast as they can, steadily, after idling, and in bursts about the end of a window; the judge counts the most that was
given in any window of 2 s, by Redis's clock. The library tells no instant: of it counts what lies between the moments
before and after its call, so that it is never accused wrongly. Then each side's calls a second with 1 and with 8
processes, in alternation, and the memory of a full key.

`python -m benchmarks.limits [--seconds S] [--rounds N] [--processes P] [--json]`
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import limits
import redis

from penstock.workers.embedded.home import Home
from penstock.workers.embedded.valkey import EmbeddedValkey
from penstock.workers.protection.limits import LimitUse, RateLimits

LIMIT, WINDOW_SECONDS = 100, 2
WINDOW_US = WINDOW_SECONDS * 1_000_000
#: When each key is asked, in seconds from a start that is a beginning of a window by the clock.
#: The burst comes after a few calls that begin a window where windows begin with a first call.
PLAN = {"steady": [(0.0, 5.0)], "idle": [(5.0, 5.1), (9.6, 11.7)], "burst": [(13.8, 13.802), (15.6, 17.7)]}
LEAD_SECONDS = 3.0
#: A fresh connection for each process, and a name that tells the sides apart in Redis.
OURS = "penstock"
STRATEGIES = {
    "limits fixed window": limits.strategies.FixedWindowRateLimiter,
    "limits moving window": limits.strategies.MovingWindowRateLimiter,
    "limits sliding counter": limits.strategies.SlidingWindowCounterRateLimiter,
}
SIDES = (OURS, *STRATEGIES)

#: In µs: not before, and not after.
Span = tuple[int, int]
#: Asks once; when it was given, None where it was refused.
Take = Callable[[str], Span | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit, and its window in seconds."""

    limit: int
    window: int


def taker(side: str, url: str, rule: Rule) -> Take:
    """What asks a side's limit."""
    if side == OURS:
        ours = RateLimits(redis.Redis.from_url(url), "bench")
        window = timedelta(seconds=rule.window)

        def take(key: str) -> Span | None:
            taken = ours.take([LimitUse(key, rule.limit, window)])
            at = round(taken.at.timestamp() * 1_000_000)
            return (at, at) if taken.allowed else None

        return take
    limiter = STRATEGIES[side](limits.storage.RedisStorage(url))
    item = limits.RateLimitItemPerSecond(rule.limit, rule.window)

    def hit(key: str) -> Span | None:
        before = time.time_ns() // 1_000
        return (before, time.time_ns() // 1_000) if limiter.hit(item, side, key) else None

    return hit


def hammer(side: str, url: str, start: float, answers: Any) -> None:
    """One process of the exactness run."""
    take = taker(side, url, Rule(LIMIT, WINDOW_SECONDS))
    given: dict[str, list[Span]] = {key: [] for key in PLAN}
    for key, intervals in PLAN.items():
        for begins, ends in intervals:
            time.sleep(max(0.0, start + begins - time.monotonic()))
            while time.monotonic() < start + ends:
                span = take(key)
                if span is not None:
                    given[key].append(span)
    answers.put(given)


def run(side: str, url: str, rule: Rule, seconds: float, start: float, answers: Any) -> None:
    """One process of the speed run: how many calls it made."""
    take = taker(side, url, rule)
    take("speed")
    time.sleep(max(0.0, start - time.monotonic()))
    calls = 0
    while time.monotonic() < start + seconds:
        take("speed")
        calls += 1
    answers.put(calls)


def together(processes: int, target: Callable[..., None], *arguments: Any) -> list[Any]:
    """What the processes answer."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    running = [context.Process(target=target, args=(*arguments, answers)) for _ in range(processes)]
    for process in running:
        process.start()
    found = [answers.get() for _ in running]
    for process in running:
        process.join()
    return found


def most_in_any_window(spans: Sequence[Span]) -> int:
    """The most that was given for certain in any window: only what lies wholly within it counts."""
    return max(
        (sum(before >= begins and after <= begins + WINDOW_US for before, after in spans) for begins, _ in spans),
        default=0,
    )


def exactness(side: str, url: str, processes: int) -> dict[str, int]:
    """The most that was given in any window, by what was asked before."""
    start = time.monotonic() + LEAD_SECONDS + WINDOW_SECONDS - (time.time() + LEAD_SECONDS) % WINDOW_SECONDS
    answers = together(processes, hammer, side, url, start)
    return {key: most_in_any_window([span for answer in answers for span in answer[key]]) for key in PLAN}


def speed(url: str, rule: Rule, processes: int, seconds: float, rounds: int) -> dict[str, float]:
    """The median calls a second of each side, measured in alternation."""
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            start = time.monotonic() + LEAD_SECONDS
            found[side].append(sum(together(processes, run, side, url, rule, seconds, start)) / seconds)
    return {side: statistics.median(rates) for side, rates in found.items()}


def memory(side: str, url: str, rule: Rule) -> int:
    """Bytes of all that a side keeps of one full key."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        take = taker(side, url, rule)
        for _ in range(rule.limit):
            take("memory")
        return sum(client.memory_usage(key) or 0 for key in client.scan_iter(count=1_000))  # type: ignore[misc]


def measure(url: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """All figures, by side."""
    # Never full in the time that it runs, always full, and above what a log is kept of.
    rules = {"given": Rule(1_000, 1), "refused": Rule(100, 3_600), "counter": Rule(10_000_000, 60)}
    figures: dict[str, Any] = {side: {"most": exactness(side, url, chosen.processes)} for side in SIDES}
    for name, rule in rules.items():
        for processes in (1, chosen.processes):
            with redis.Redis.from_url(url) as client:
                client.flushall()
            for side, rate in speed(url, rule, processes, chosen.seconds, chosen.rounds).items():
                figures[side][f"{name} x{processes}"] = round(rate)
    for side in SIDES:
        figures[side]["bytes of 1,000"] = memory(side, url, Rule(1_000, 3_600))
        # A window that is as long as it takes to fill it, so that all of ours' slots are used.
        figures[side]["bytes of 10,000"] = memory(side, url, Rule(10_000, 1))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.limits", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run of calls")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        home = Home(Path(folder) / "home").lock()
        valkey = EmbeddedValkey(home)
        url = valkey.start()
        try:
            figures = measure(url, chosen)
        finally:
            valkey.stop()
            home.unlock()
    report(figures, as_json=chosen.json)


def report(figures: dict[str, Any], *, as_json: bool) -> None:
    """Print the figures; rates also as a ratio to ours."""
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for side, found in figures.items():
        sys.stdout.write(f"{side}: at most in any {WINDOW_SECONDS} s, of {LIMIT}: {found['most']}\n")
        for name, value in found.items():
            if name != "most":
                ratio = figures[OURS][name] / value
                sys.stdout.write(f"    {name}: {value:,} (penstock ÷ this: {ratio:.2f})\n")


if __name__ == "__main__":
    main()
