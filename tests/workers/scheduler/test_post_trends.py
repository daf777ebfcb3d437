"""How many posts went out in each minute, and how late: noted by schedulers, told by the sidecar."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis
from psycopg_pool import ConnectionPool

from penstock.producers.queue.connection import connect as connect_redis
from penstock.workers.database.pool import open_pool
from penstock.workers.queues.post_points import PostPoint, PostTrendLog
from penstock.workers.scheduler.post_trends import PostTrends
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.pages.history import figures_of
from tests.posts_kit import Connection, account, connect, connection, new_post
from tests.workers.sidecar.sidecar_kit import client_of, running_app

__all__ = ["account", "connect", "connection"]

#: 2026-11-21T10:00:00Z, the beginning of a minute.
TEN = 1_795_255_200.0


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> "Iterator[ConnectionPool[psycopg.Connection[Any]]]":
    with open_pool(settings.model_copy(update={"pool_min": 1, "pool_max": 2}), "test") as made:
        yield made


@pytest.fixture(scope="module")
def client(settings: WorkerSettings) -> Iterator["redis.Redis"]:
    with connect_redis(settings.redis_url) as made:
        yield made


class Clock:
    now = TEN + 5

    def __call__(self) -> float:
        return self.now


def publish(connection: Connection, account: uuid.UUID, due: float, late: float) -> None:
    """A post that was due at this second since 1970 and went out so many seconds later."""
    post = new_post(connection, account, datetime.fromtimestamp(due, UTC))
    statement = "UPDATE penstock.scheduled_posts SET state = 'published', published_at = %s WHERE post_id = %s"
    connection.execute(statement, (datetime.fromtimestamp(due + late, UTC), post))


def test_each_minute_is_noted_once_it_is_over(
    pool: Any, client: "redis.Redis", namespace: str, connection: Connection, account: uuid.UUID
) -> None:
    clock = Clock()
    loops = [PostTrends(pool, client, f"{namespace}-a", clock) for _ in range(3)]
    log = PostTrendLog(client, f"{namespace}-a")
    publish(connection, account, TEN + 10, 2.0)
    publish(connection, account, TEN + 59.5, 0.25)
    publish(connection, account, TEN + 59.5, 0.75)
    for moment in (TEN + 5, TEN + 65, TEN + 71, TEN + 75):
        clock.now = moment
        for loop in loops:
            assert loop.run_once() is False
    before, last, first = log.read(60)
    assert (before.at, last.at) == (datetime.fromtimestamp(TEN - 60, UTC), datetime.fromtimestamp(TEN, UTC))
    assert (before.published, last.published, last.late_p95) == (0, 0, None)
    assert (first.at, first.published) == (datetime.fromtimestamp(TEN + 60, UTC), 2)
    assert (first.late_p95, first.late_max) == (2.0, 2.0)
    clock.now = TEN + 131
    loops[1].run_once()
    assert [point.published for point in log.read(60)] == [0, 0, 2, 1]
    assert [point.published for point in log.read(1)] == [1]


def test_the_api_and_the_overview_tell_them(client: "redis.Redis", settings: WorkerSettings, namespace: str) -> None:
    own = f"{namespace}-b"
    log = PostTrendLog(client, own)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for ago, late in ((2, 0.4), (1, 3.5)):
        assert log.note(PostPoint(now - timedelta(minutes=ago), 7, late, 9.0))
    assert not log.note(PostPoint(now - timedelta(minutes=2), 9, None, None)), "it is noted"
    with running_app(settings, namespace=own) as app:
        asked = client_of(app)
        told = asked.get("/api/v1/trends?minutes=60").json()["posts"]
        assert [(one["published"], one["lateness_seconds_p95"]) for one in told] == [(7, 0.4), (7, 3.5)]
        assert told[0]["lateness_seconds_max"] == 9.0
        page = asked.get("/", headers={"accept": "text/html"}).text
    assert "Posts&#39; lateness, 95 of 100 below: over the last 6 h from" in page
    assert "3.5 s" in page


def test_a_chart_shows_the_worst_minute_of_five() -> None:
    now = datetime(2026, 11, 21, 10, tzinfo=UTC)
    points = [PostPoint(now - timedelta(minutes=1 + at), 5, float(at), 9.0) for at in range(3)]
    points.append(PostPoint(now - timedelta(minutes=11), 0, None, None))
    found = figures_of([], now, points).lateness_seconds
    assert (found[-1], found[-3], found[0]) == (2.0, None, None)
