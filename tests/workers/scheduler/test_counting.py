"""The loop that counts queues: gauges, and a word where a job is missing."""

import logging
from datetime import timedelta
from uuid import uuid4

import pytest
import redis
from prometheus_client import REGISTRY

from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.producers.queue.layout import QueueKeys
from penstock.workers.scheduler.counting import QueueCounting


def unaccounted() -> float | None:
    return REGISTRY.get_sample_value("penstock_jobs_unaccounted")


def test_a_job_that_somebody_removed_is_told_once(
    redis_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        jobs = [NewJob(uuid4(), "k.k", "acme", b"{}\n{}", "d", timedelta(hours=1)) for _ in range(3)]
        Enqueuer(client, namespace).enqueue("submissions", jobs)
        loop = QueueCounting(client, namespace)
        assert loop.run_once() is False
        labels = {"queue": "submissions", "state": "ready"}
        assert REGISTRY.get_sample_value("penstock_queue_depth", labels) == 3
        assert unaccounted() == 0
        client.lpop(QueueKeys(namespace, "submissions").key("ready:acme"))
        with caplog.at_level(logging.ERROR):
            loop.run_once()
            loop.run_once()
        assert unaccounted() == 1
        assert [line.code for line in caplog.records] == ["JOB_UNACCOUNTED"]  # type: ignore[attr-defined]
