"""A process whose threads call what is down, as fast as a circuit lets them; run by `test_circuits_shared.py`.

Arguments: guard or stock, URL of Redis, namespace, threads, seconds that a circuit is open, seconds to run.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable

import pybreaker
import redis

from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.circuits_view import CircuitOpenError
from tests.workers.protection.circuit_kit import NAME, PlatformDownError, settings_for

CALL_SECONDS = 0.15

Call = Callable[[Callable[[], None]], None]


def guarded(client: redis.Redis, url: str, namespace: str, open_seconds: float) -> Call:
    settings = settings_for(url, open_seconds=open_seconds, open_limit_seconds=open_seconds, window_seconds=5)
    circuits = Circuits(client, namespace, settings)

    def call(called: Callable[[], None]) -> None:
        with contextlib.suppress(CircuitOpenError), circuits.guard(NAME):
            called()

    return call


def stock(client: redis.Redis, url: str, namespace: str, open_seconds: float) -> Call:
    # As the library says: one breaker a process over its own storage in Redis.
    storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, client, namespace=namespace)
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=open_seconds, state_storage=storage)

    def call(called: Callable[[], None]) -> None:
        with contextlib.suppress(pybreaker.CircuitBreakerError):
            breaker.call(called)

    return call


def main(which: str, url: str, namespace: str, threads: int, open_seconds: float, seconds: float) -> None:
    with redis.Redis.from_url(url) as client:
        call = {"guard": guarded, "stock": stock}[which](client, url, namespace, open_seconds)
        client.incr(f"{namespace}:ready")
        while not client.exists(f"{namespace}:go"):
            time.sleep(0.01)
        ends_at = time.monotonic() + seconds

        def called() -> None:
            at, micros = client.time()  # type: ignore[misc]
            client.rpush(f"{namespace}:calls", at * 1_000 + micros // 1_000)
            time.sleep(CALL_SECONDS)
            raise PlatformDownError

        def run() -> None:
            while time.monotonic() < ends_at:
                with contextlib.suppress(PlatformDownError):
                    call(called)
                time.sleep(0.02)

        running = [threading.Thread(target=run) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6]))  # type: ignore[misc]
