"""One circuit for a fleet: 8 processes of 4 threads, and 8 threads of one. pybreaker alone is the control of each."""

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pybreaker
import pytest
import redis

from tests.system import wait_for
from tests.workers.protection.circuit_caller import CALL_SECONDS
from tests.workers.protection.circuit_kit import NAME, CircuitKit, open_kit

ROOT = Path(__file__).parents[3]
PROCESSES, THREADS = 8, 4
OPEN_SECONDS = 1.0
RUN_SECONDS = 5.0


@pytest.fixture
def kit(redis_url: str) -> Iterator[CircuitKit]:
    yield from open_kit(redis_url)


def run_fleet(which: str, redis_url: str, kit: CircuitKit, seconds: float) -> list[int]:
    """When each call was made, in milliseconds of Redis's clock."""
    space = kit.namespace
    arguments = [which, redis_url, space, str(THREADS), str(OPEN_SECONDS), str(seconds)]
    command = [sys.executable, "-m", "tests.workers.protection.circuit_caller", *arguments]
    fleet = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(PROCESSES)]
    try:
        wait_for(lambda: int(kit.client.get(f"{space}:ready") or 0) == PROCESSES, "the fleet")  # type: ignore[arg-type]
        kit.client.set(f"{space}:go", 1)
        for process in fleet:
            _, told = process.communicate(timeout=60)
            assert process.returncode == 0, told.decode()
    finally:
        for process in fleet:
            if process.poll() is None:
                process.kill()
                process.wait()
    found: list[bytes] = kit.client.lrange(f"{space}:calls", 0, -1)  # type: ignore[assignment]
    return sorted(map(int, found))


def tries(calls: list[int]) -> list[list[int]]:
    """Calls that lie together, after those before the circuit first opened."""
    bursts: list[list[int]] = []
    for at in calls:
        if bursts and at - bursts[-1][-1] < OPEN_SECONDS * 500:
            bursts[-1].append(at)
        else:
            bursts.append([at])
    return bursts[1:]


def test_the_fleet_tries_once_each_time(kit: CircuitKit, redis_url: str) -> None:
    found = tries(run_fleet("guard", redis_url, kit, RUN_SECONDS))
    assert [len(burst) for burst in found] == [1] * len(found)
    # Each round is the time that it is open, the call, and a little until somebody asks.
    assert len(found) >= 2
    rounds = [(later[0] - burst[0]) / 1_000 for burst, later in itertools.pairwise(found)]
    assert all(OPEN_SECONDS + CALL_SECONDS <= seconds < 2.5 * OPEN_SECONDS for seconds in rounds)


def test_control_with_pybreakers_own_storage_each_process_tries(kit: CircuitKit, redis_url: str) -> None:
    found = tries(run_fleet("stock", redis_url, kit, RUN_SECONDS / 2))
    assert max(len(burst) for burst in found) > 1


def together(call: Callable[[], None]) -> float:
    """Seconds that 8 threads take for a call each."""
    threads = [threading.Thread(target=call) for _ in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def test_calls_of_threads_take_no_turns(kit: CircuitKit) -> None:
    def call() -> None:
        with kit.circuits.guard(NAME):
            time.sleep(0.2)

    # The best of three: the machine may be busy with other tests.
    assert min(together(call) for _ in range(3)) <= 0.8


def test_control_a_breaker_of_pybreaker_lets_threads_take_turns(redis_url: str) -> None:
    breaker = pybreaker.CircuitBreaker()
    assert together(lambda: breaker.call(time.sleep, 0.2)) >= 8 * 0.2


def test_one_of_all_tells_of_a_change_as_its_own(
    kit: CircuitKit, caplog: pytest.LogCaptureFixture, redis_url: str
) -> None:
    caplog.set_level("INFO")
    other = kit.another()
    kit.fail(5)
    for circuits in (kit.circuits, other, other):
        with pytest.raises(Exception, match="lets no call in"), circuits.guard(NAME):
            pytest.fail("an open circuit let a call in")
    told = [(record.levelname, record.getMessage()) for record in caplog.records if "circuit" in record.getMessage()]
    assert told == [
        ("WARNING", f"the circuit {NAME} is open now"),
        ("INFO", f"the circuit {NAME} was found open"),
    ]


def test_concurrent_failures_open_it_once(kit: CircuitKit) -> None:
    def fail() -> None:
        kit.circuits.tell(NAME, call, ConnectionError())

    call = kit.circuits.ask(NAME)
    together(fail)
    view = kit.view()
    assert (view.state, view.failures) == ("open", 0)
    with redis.Redis.from_url(str(kit.settings.redis_url)) as client:
        assert client.hget(kit.key, "trips") == b"0"
