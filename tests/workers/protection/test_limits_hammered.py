"""100 in 2 s, asked by 8 processes at once: never more in any window, whatever came before."""

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
#: Time for all processes to start.
LEAD_SECONDS = 3.0
WINDOW_US = round(WINDOW.total_seconds() * 1_000_000)

#: Intervals in which each key is asked, in seconds from a start that is a window's beginning by the clock.
PLAN = {
    "steady": [[0.0, 5.0]],
    "after idling": [[5.0, 5.1], [9.6, 11.7]],
    "burst at a window's end": [[13.8, 14.3], [15.6, 16.4]],
}


def hammer(redis_url: str, namespace: str, guard: str) -> dict[str, list[int]]:
    """What all processes together were given, by key: instants in µs by Redis's clock."""
    until_boundary = 2 - (time.time() + LEAD_SECONDS) % 2
    start = time.monotonic() + LEAD_SECONDS + until_boundary
    module = "tests.workers.protection.limit_hammer"
    command = [sys.executable, "-m", module, redis_url, namespace, guard, str(start), json.dumps(PLAN)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(PROCESSES)]
    printed = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    answers = [json.loads(text) for text in printed]
    return {key: [at for answer in answers for at in answer[key]] for key in PLAN}


@pytest.fixture(scope="module")
def given(redis_url: str, namespace: str) -> dict[str, list[int]]:
    return hammer(redis_url, namespace, "guarded")


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
    assert WINDOW_US < instants[LIMIT] - instants[0] < WINDOW_US + 250_000


def test_a_fixed_window_is_found_out(redis_url: str, namespace: str) -> None:
    """The control: the same hammering and the same judge, and a guard that many services have."""
    given = hammer(redis_url, namespace, "fixed")
    assert most_in_any_window([(at, 1) for at in given["burst at a window's end"]], WINDOW_US) > 1.5 * LIMIT
