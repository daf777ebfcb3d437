"""The loops that count: gauges of queues, circuits and limits, and a word where a job is missing."""

import logging
from datetime import timedelta
from uuid import uuid4

import pytest
import redis
from prometheus_client import REGISTRY

from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.producers.queue.layout import QueueKeys
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_view import CircuitState
from penstock.workers.protection.limits import LimitUse, RateLimits
from penstock.workers.protection.limits_control import LimitControl, NewOverride
from penstock.workers.scheduler.counting import GateCounting, QueueCounting


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


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_circuits_are_seen_where_nobody_asks_them(redis_url: str, namespace: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        control, loop = CircuitControl(client, namespace), GateCounting(client, namespace)
        found = []
        for state in (CircuitState.OPEN, CircuitState.CLOSED):
            control.force("platform:counted", state, "a test", "ada")
            assert loop.run_once() is False
            found.append(gauge("penstock_circuit_state", circuit="platform:counted"))
        assert found == [2, 0]


def test_limits_of_operators_are_seen_without_ids(redis_url: str, namespace: str) -> None:
    minute = timedelta(minutes=1)
    with redis.Redis.from_url(redis_url) as client:
        control, limits = LimitControl(client, namespace, "ada"), RateLimits(client, namespace)
        loop = GateCounting(client, namespace)
        ids = ("account:123", "account:*", "tenant:acme/*", "platform:x/account:7", "tenant:acme/kind:k.k")
        for name in ("platform:x", "platform:y", *ids):
            control.set_override(name, NewOverride(10, minute), "a test")
        limits.take([LimitUse("platform:x", None, minute, weight=3)])
        limits.block("platform:y", minute, "429")
        loop.run_once()
        assert gauge("penstock_limits_overridden") == 2 + len(ids)
        left = {label: gauge("penstock_limit_remaining", limit=label) for label in ("platform:x", "platform:y", *ids)}
        assert left == {"platform:x": 7, "platform:y": 0} | dict.fromkeys(ids)
        control.clear_override("platform:x", "a test")
        loop.run_once()
        assert gauge("penstock_limit_remaining", limit="platform:x") is None, "it is no operator's any more"
