"""The queues' gauges say what was counted."""

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from penstock.workers.telemetry.queues import observe_queues
from tests.queue_kit import QueueKit, open_kit


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


def test_gauges_are_what_is_counted(kit: QueueKit) -> None:
    kit.one_of_each()
    kit.put(2)
    observe_queues([kit.inspector.counts(kit.queue)])
    for state, count in {"ready": 3, "scheduled": 1, "leased": 1, "parked": 1, "dead": 1}.items():
        labels = {"queue": "posts", "state": state}
        assert REGISTRY.get_sample_value("penstock_queue_depth", labels) == count
    age = REGISTRY.get_sample_value("penstock_queue_oldest_age_seconds", {"queue": "posts"})
    assert age is not None
    assert 0 <= age < 60
    assert REGISTRY.get_sample_value("penstock_jobs_unaccounted") == 0


def test_a_lost_job_is_counted_once(kit: QueueKit) -> None:
    kit.put(2)
    kit.client.lpop(kit.keys.key("ready:acme"))
    counts = [kit.inspector.counts(kit.queue)]
    observe_queues(counts)
    assert REGISTRY.get_sample_value("penstock_jobs_unaccounted") == 1
    observe_queues(counts, faults=1)
    assert REGISTRY.get_sample_value("penstock_jobs_unaccounted") == 1
    observe_queues(counts, faults=3)
    assert REGISTRY.get_sample_value("penstock_jobs_unaccounted") == 3
    kit.client.rpush(kit.keys.key("ready:acme"), "back")
    observe_queues([kit.inspector.counts(kit.queue)])
    assert REGISTRY.get_sample_value("penstock_jobs_unaccounted") == 0
