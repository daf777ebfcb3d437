"""Each check of `penstock health`, failing for real."""

import socket
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from penstock.producers.queue.enqueueing import Enqueuer
from penstock.producers.queue.layout import LAYOUT, QueueKeys
from penstock.workers.health.look import look_once
from penstock.workers.health.report import Check, Status
from penstock.workers.settings import WorkerSettings
from tests.conftest import BlankDatabase
from tests.queue_kit import new_job

SECRET = "hunter2-the-password"
NAMES = ["postgresql", "schema", "redis", "queues", "workers", "jobs_unaccounted"]
#: One check of each look at each server; the others fail alike.
ASKED = {"postgresql", "schema", "redis", "queues"}


def failed(settings: WorkerSettings, **changes: Any) -> dict[str, str | None]:
    """The codes of the checks that fail under changed settings, by check; each tells a remedy and no secret."""
    report = look_once(settings.model_copy(update=changes))
    assert [check.name for check in report.checks][:6] == NAMES
    assert (report.status is Status.CRITICAL) == any(check.status is Status.CRITICAL for check in report.checks)
    for check in report.checks:
        assert check.healthy == (check.code is None) == (check.remedy is None)
        assert check.told
        assert check.seconds < 10
        assert SECRET not in str(check.as_dict())
    return {check.name: check.code for check in report.checks if check.code is not None and check.name in ASKED}


@pytest.fixture
def nobody() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        return int(closed_soon.getsockname()[1])


def test_a_healthy_deployment_is_healthy(settings: WorkerSettings) -> None:
    assert failed(settings) == {}


def test_postgresql_is_away(settings: WorkerSettings, nobody: int) -> None:
    url = f"postgresql://u:{SECRET}@127.0.0.1:{nobody}/x"
    both = {"postgresql": "STORAGE_UNAVAILABLE", "schema": "STORAGE_UNAVAILABLE"}
    assert failed(settings, database_url=url) == both


def test_postgresql_refuses_the_password(settings: WorkerSettings) -> None:
    parts = urlsplit(settings.database_url)
    url = parts._replace(netloc=f"penstock_app:{SECRET}@{parts.netloc.rpartition('@')[2]}").geturl()
    both = {"postgresql": "STORAGE_PERMISSION_DENIED", "schema": "STORAGE_PERMISSION_DENIED"}
    assert failed(settings, database_url=url) == both


def test_there_is_no_schema(settings: WorkerSettings, blank_database: BlankDatabase) -> None:
    assert failed(settings, database_url=blank_database.admin_url) == {"schema": "STORAGE_SCHEMA_OUTDATED"}


def test_redis_is_away(settings: WorkerSettings, nobody: int) -> None:
    both = {"redis": "QUEUE_UNAVAILABLE", "queues": "QUEUE_UNAVAILABLE"}
    assert failed(settings, redis_url=f"redis://:{SECRET}@127.0.0.1:{nobody}/0") == both


def test_redis_refuses_the_password(settings: WorkerSettings) -> None:
    parts = urlsplit(settings.redis_url)
    url = parts._replace(netloc=f":{SECRET}@{parts.netloc.rpartition('@')[2]}").geturl()
    assert failed(settings, redis_url=url) == {"redis": "QUEUE_REFUSED", "queues": "QUEUE_REFUSED"}


def test_a_key_of_a_queue_is_something_else(settings: WorkerSettings) -> None:
    namespace = f"{settings.namespace}-taken"
    with redis.Redis.from_url(settings.redis_url) as client:
        client.set(QueueKeys(namespace, "submissions").key("rotation"), "no list")
    assert failed(settings, namespace=namespace) == {"queues": "QUEUE_REFUSED"}


def test_a_queue_of_a_later_release_is_told(settings: WorkerSettings) -> None:
    namespace = f"{settings.namespace}-later"
    with redis.Redis.from_url(settings.redis_url) as client:
        client.hset(QueueKeys(namespace, "posts").key("meta"), "layout", LAYOUT + 1)
    assert failed(settings, namespace=namespace) == {"queues": "QUEUE_LAYOUT_NEWER"}


def test_the_queues_tell_how_many_jobs_are_where(settings: WorkerSettings) -> None:
    namespace = f"{settings.namespace}-counted"
    jobs = [new_job() for _ in range(1_234)]
    with redis.Redis.from_url(settings.redis_url) as client:
        Enqueuer(client, namespace).enqueue("submissions", jobs)
        Enqueuer(client, namespace).enqueue("posts", [new_job(due=timedelta(hours=1))])
    report = look_once(settings.model_copy(update={"namespace": namespace}))
    (told,) = [check.told for check in report.checks if check.name == "queues"]
    assert told == (
        "submissions: 1,234 ready, 0 leased, 0 scheduled, 0 parked, 0 dead;"
        " posts: 0 ready, 0 leased, 1 scheduled, 0 parked, 0 dead;"
        " publishing: 0 ready, 0 leased, 0 scheduled, 0 parked, 0 dead"
    )


@pytest.mark.parametrize(
    ("check", "further"),
    [
        (Check("redis", Status.HEALTHY, "fine", 0.01), set()),
        (Check("redis", Status.CRITICAL, "m", 0.01, code="C", remedy="r"), {"code", "remedy"}),
    ],
    ids=["healthy", "failed"],
)
def test_a_check_as_json(check: Check, further: set[str]) -> None:
    members = {"name", "status", "healthy", "message", "seconds", "value", "threshold", "unit"}
    assert set(check.as_dict()) == members | further
