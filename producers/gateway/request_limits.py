"""How many requests a key or an address may make in a window, counted in Redis for all gateways together.

The window begins with a key's first request and ends a fixed time later, so around its end up to twice the limit can
come within one window's time: these limits guard the gateway, and promise nothing to anybody else.
"""

import time
from dataclasses import dataclass
from datetime import timedelta

import redis

from penstock.producers.gateway.threads import Threads
from penstock.producers.queue.connection import redis_errors
from penstock.schemas.errors import Code, PenstockError, UnavailableError

# A refused request is not counted: who waits as long as told is let in.
_TAKE = """
local used, left = tonumber(redis.call('GET', KEYS[1]) or '0'), redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('SET', KEYS[1], '1', 'PX', ARGV[2])
  return {1, tonumber(ARGV[2])}
end
if used >= tonumber(ARGV[1]) then return {used + 1, left} end
return {redis.call('INCR', KEYS[1]), left}
"""
#: After Redis did not answer, nobody waits for it again for this long.
_REST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit: its name in headers, requests in a window."""

    name: str
    limit: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class Standing:
    """What a limit has left, and the seconds until its window ends."""

    policy: Policy
    remaining: int
    seconds: int
    refused: bool

    def headers(self) -> list[tuple[str, str]]:
        """`RateLimit` and `RateLimit-Policy` as the IETF's draft has them."""
        window = int(self.policy.window.total_seconds())
        return [
            ("RateLimit-Policy", f'"{self.policy.name}";q={self.policy.limit};w={window}'),
            ("RateLimit", f'"{self.policy.name}";r={self.remaining};t={self.seconds}'),
        ]


class RequestLimits:
    """Counts requests.

    Args:
        client: answers soon or not at all; see `connect`'s patience.
        closed: whether a request that can't be counted is refused.
    """

    def __init__(self, client: "redis.Redis", namespace: str, threads: Threads, *, closed: bool) -> None:
        self._client = client
        self._prefix = f"{namespace}:http:rate"
        self._threads = threads
        self._closed = closed
        self._rest_until = 0.0

    async def take(self, policy: Policy, whose: str) -> Standing | None:
        """Count a request; None where there is no limit, or nobody can count now.

        Raises:
            UnavailableError: `QUEUE_UNAVAILABLE` where nobody can count and that refuses.
        """
        if not policy.limit:
            return None
        if time.monotonic() < self._rest_until:
            self._refuse_if_closed("Redis did not answer a moment ago")
            return None
        try:
            used, left_ms = await self._threads.run(self._take, policy, whose)
        except PenstockError as error:
            self._rest_until = time.monotonic() + _REST_SECONDS
            self._refuse_if_closed(error.message)
            return None
        return Standing(policy, max(0, policy.limit - used), -(-left_ms // 1_000), refused=used > policy.limit)

    def ping(self) -> None:
        """Ask Redis whether it is there.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        with redis_errors("asking whether it is there"):
            self._client.ping()

    def _refuse_if_closed(self, why: str) -> None:
        if self._closed:
            raise UnavailableError(Code.QUEUE_UNAVAILABLE, f"the request can't be counted: {why}")

    def _take(self, policy: Policy, whose: str) -> tuple[int, int]:
        name = f"{self._prefix}:{policy.name}:{whose}"
        window = policy.window // timedelta(milliseconds=1)
        with redis_errors("counting requests"):
            used, left = self._client.eval(_TAKE, 1, name, str(policy.limit), str(window))
        return int(used), int(left)


def exceeded(standing: Standing) -> PenstockError:
    """For a request beyond a limit."""
    return PenstockError(
        Code.RATE_LIMIT_EXCEEDED,
        f"the {standing.policy.name} has made its {standing.policy.limit:,} requests of"
        f" {int(standing.policy.window.total_seconds())} s",
        remedy="Come again after as many seconds as Retry-After says.",
        details={"retry_after_seconds": standing.seconds},
    )
