"""The loop that counts says a word where a job is missing."""

import logging
from datetime import timedelta
from uuid import uuid4

import pytest
import redis

from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.producers.queue.layout import QueueKeys
from penstock.workers.scheduler.counting import QueueCounting


def test_a_job_that_somebody_removed_is_told_once(
    redis_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        jobs = [NewJob(uuid4(), "k.k", "acme", b"{}\n{}", "d", timedelta(hours=1)) for _ in range(3)]
        Enqueuer(client, namespace).enqueue("submissions", jobs)
        loop = QueueCounting(client, namespace)
        with caplog.at_level(logging.ERROR):
            assert loop.run_once() is False
        assert not caplog.records
        client.lpop(QueueKeys(namespace, "submissions").key("ready:acme"))
        with caplog.at_level(logging.ERROR):
            loop.run_once()
            loop.run_once()
        assert [line.code for line in caplog.records] == ["JOB_UNACCOUNTED"]  # type: ignore[attr-defined]
