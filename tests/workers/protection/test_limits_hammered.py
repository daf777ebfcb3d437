"""100 in 1 s, asked by 8 processes at once: never more in any window, whatever came before."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workers.protection.limit_hammer import LIMIT, WINDOW
from tests.workers.protection.limit_kit import most_in_any_window

ROOT = Path(__file__).parents[3]
PROCESSES = 8
#: Time for all processes to hear of the start.
LEAD_SECONDS = 0.3
WINDOW_US = round(WINDOW.total_seconds() * 1_000_000)

#: Intervals in which each key is asked, in seconds from a start that is a window's beginning by the clock.
PLAN = {
    "steady": [[0.0, 2.5]],
    "after idling": [[2.5, 2.6], [4.8, 5.9]],
    "burst at a window's end": [[6.8, 7.3], [7.7, 8.3]],
}
CONTROL = {"burst at a window's end": [[0.8, 1.3], [1.7, 2.3]]}


def hammer(redis_url: str, namespace: str, guard: str, plan: dict[str, list[list[float]]]) -> dict[str, list[int]]:
    """What all processes together were given, by key: instants in µs by Redis's clock."""
    module = "tests.workers.protection.limit_hammer"
    command = [sys.executable, "-m", module, redis_url, namespace, guard, json.dumps(plan)]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(PROCESSES)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    until_boundary = 1 - (time.time() + LEAD_SECONDS) % 1
    start = time.monotonic() + LEAD_SECONDS + until_boundary
    for process in running:
        assert process.stdin is not None
        process.stdin.write(f"{start}\n".encode())
        process.stdin.flush()
    printed = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    answers = [json.loads(text) for text in printed]
    return {key: [at for answer in answers for at in answer[key]] for key in plan}


@pytest.fixture(scope="module")
def given(redis_url: str, namespace: str) -> dict[str, list[int]]:
    return hammer(redis_url, namespace, "guarded", PLAN)


@pytest.mark.parametrize("key", PLAN)
def test_never_more_than_the_limit_in_any_window(given: dict[str, list[int]], key: str) -> None:
    most = most_in_any_window([(at, 1) for at in given[key]], WINDOW_US)
    print(f"{key}: at most {most} in any {WINDOW}, {len(given[key])} in all")
    # As many as the limit, or nobody hammered hard enough to show anything.
    assert most == LIMIT


def test_what_leaves_is_given_at_once(given: dict[str, list[int]]) -> None:
    """The first of the second filling follows as soon as the first of the first one has left."""
    instants = sorted(given["steady"])
    assert len(instants) >= 2 * LIMIT
    assert WINDOW_US < instants[LIMIT] - instants[0] < 2 * WINDOW_US


def test_a_fixed_window_is_found_out(redis_url: str, namespace: str) -> None:
    """The control: the same hammering and the same judge, and a guard that many services have."""
    given = hammer(redis_url, namespace, "fixed", CONTROL)
    assert most_in_any_window([(at, 1) for at in given["burst at a window's end"]], WINDOW_US) > 1.5 * LIMIT
