"""A process that asks one limit as fast as it can, in intervals of a plan; prints the instants of what it was given.

`python -m tests.workers.protection.limit_hammer URL NAMESPACE GUARD PLAN`: PLAN is a JSON object of intervals by key,
in seconds from a start. It says `ready`, and is told the start: a time of this machine's monotonic clock.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import redis

from penstock.workers.protection.limits import LimitUse, RateLimits

LIMIT = 100
WINDOW = timedelta(seconds=1)

#: What many services do: a counter for each window of the clock.
FIXED_WINDOW = """
local time = redis.call('TIME')
local name = KEYS[1] .. ':' .. time[1]
local count = redis.call('INCR', name)
redis.call('EXPIRE', name, 10)
return {count <= 100 and 1 or 0, time[1] * 1000000 + time[2]}
"""


def guarded(client: "redis.Redis", namespace: str) -> Callable[[str], int | None]:
    """Asks the limit; the instant in µs where it gave."""
    limits = RateLimits(client, namespace)

    def take(key: str) -> int | None:
        taken = limits.take([LimitUse(key, LIMIT, WINDOW)])
        return microseconds(taken.at) if taken.allowed else None

    return take


def fixed(client: "redis.Redis", namespace: str) -> Callable[[str], int | None]:
    """The same by a fixed window."""
    script = client.register_script(FIXED_WINDOW)

    def take(key: str) -> int | None:
        given, at = script(keys=[f"{namespace}:fixed:{key}"])  # type: ignore[misc]
        return at if given else None

    return take


def microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


def main(url: str, namespace: str, guard: str, plan: str) -> None:
    given: dict[str, list[int]] = {}
    with redis.Redis.from_url(url) as client:
        take = {"guarded": guarded, "fixed": fixed}[guard](client, namespace)
        take("a first one, which connects")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        start = float(sys.stdin.readline())
        for key, intervals in json.loads(plan).items():
            given[key] = []
            for begins, ends in intervals:
                time.sleep(max(0.0, start + begins - time.monotonic()))
                while time.monotonic() < start + ends:
                    at = take(key)
                    if at is not None:
                        given[key].append(at)
    sys.stdout.write(json.dumps(given))


if __name__ == "__main__":
    main(*sys.argv[1:])
