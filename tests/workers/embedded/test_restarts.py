from datetime import timedelta

import pytest

from penstock.workers.embedded.restarts import RestartPolicy


@pytest.mark.parametrize(
    ("lifetimes_seconds", "delays_seconds"),
    [
        ([0, 0, 0, 0, 0, 0, 0], [1, 2, 4, 8, 16, 30, 30]),
        ([0, 0, 60, 0], [1, 2, 1, 2]),
        ([59.9, 59.9], [1, 2]),
        ([3_600], [1]),
    ],
    ids=["doubles up to the limit", "a healthy minute forgives", "less does not", "first death of an old process"],
)
def test_waits(lifetimes_seconds: list[float], delays_seconds: list[float]) -> None:
    policy, delay, seen = RestartPolicy(), None, []
    for lifetime in lifetimes_seconds:
        delay = policy.delay(delay, timedelta(seconds=lifetime))
        seen.append(delay.total_seconds())
    assert seen == delays_seconds
