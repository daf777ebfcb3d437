"""Schedulers as `/metrics` tells them, wherever they run."""

import time
from collections.abc import Iterator

import pytest
import redis

from penstock.workers.health.scheduler_signs import signs_key, write_sign
from penstock.workers.sidecar.scheduler_readings import read_schedulers


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_each_loop_is_as_late_as_with_the_best_scheduler(client: "redis.Redis", namespace: str) -> None:
    assert read_schedulers(client, namespace) == {
        "penstock_schedulers": [((), 0.0)],
        "penstock_scheduler_late_seconds": [],
    }
    write_sign(client, namespace, "one", {"relay": 70.0, "sweep": 0.0})
    write_sign(client, namespace, "two", {"relay": 1.5})
    found = read_schedulers(client, namespace)
    assert found["penstock_schedulers"] == [((), 2.0)]
    assert found["penstock_scheduler_late_seconds"] == [(("relay",), 1.5), (("sweep",), 0.0)]


def test_a_scheduler_that_is_silent_counts_no_more_and_its_loops_are_ever_later(
    client: "redis.Redis", namespace: str
) -> None:
    client.delete(signs_key(namespace))
    sign = f'{{"at": {time.time() - 95:.3f}, "late": {{"relay": 2.0}}}}'
    client.hset(signs_key(namespace), "one", sign)
    found = read_schedulers(client, namespace)
    assert found["penstock_schedulers"] == [((), 0.0)]
    (((loop,), late),) = found["penstock_scheduler_late_seconds"]
    assert loop == "relay"
    # 90 s beyond the 5 s that a sign may be old, and the 2 s that it told.
    assert 91 < late < 110
