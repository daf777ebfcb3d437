"""Rate limits on a real Valkey in a namespace of a test's own, and what must hold of any record of takings."""

import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import redis

from penstock.workers.protection.keys import gate_keys
from penstock.workers.protection.limits import LimitUse, RateLimits, Taken
from penstock.workers.protection.limits_control import LimitControl
from penstock.workers.protection.limits_view import LimitState, LimitView

SECOND = timedelta(seconds=1)


class LimitKit:
    """Takes, changes and looks at limits of one namespace."""

    def __init__(self, client: "redis.Redis", namespace: str) -> None:
        self.client: Any = client
        self.namespace = namespace
        self.keys = gate_keys(namespace)
        self.limits = RateLimits(client, namespace)
        self.control = LimitControl(client, namespace, "ada")
        self.view = LimitView(client, namespace)

    def take(
        self, key: str, limit: int | None = 10, window: timedelta = 60 * SECOND, weight: int = 1, default: str = ""
    ) -> Taken:
        return self.limits.take([LimitUse(key, limit, window, weight, default)])

    def state(self, key: str) -> LimitState | None:
        return {state.key: state for state in self.view.page(1_000)[0]}.get(key)

    def log(self, key: str) -> list[tuple[int, int, int]]:
        """A key's log: instant in µs, total, weight."""
        entries = self.client.lrange(self.keys.key(f"limit:{key}"), 0, -1)
        return [tuple(map(int, entry.split())) for entry in entries]  # type: ignore[misc]


def open_limits(redis_url: str) -> Iterator[LimitKit]:
    """A kit in a namespace that is removed at the end; yields once."""
    prefix = f"test-{secrets.token_hex(6)}"
    with redis.Redis.from_url(redis_url) as client:
        yield LimitKit(client, prefix)
        for key in client.scan_iter(match=f"{prefix}*", count=10_000):
            client.delete(key)


def most_in_any_window(taken: Sequence[tuple[int, int]], window_us: int) -> int:
    """The most units in any window, both ends included, of takings (instant in µs, weight) in any order."""
    ordered = sorted(taken)
    most = units = first = 0
    for at, weight in ordered:
        units += weight
        while ordered[first][0] < at - window_us:
            units -= ordered[first][1]
            first += 1
        most = max(most, units)
    return most
