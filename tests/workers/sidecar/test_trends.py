"""Trends: a point a minute whoever notes it, and what each minute brought."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI

from penstock.producers.queue.tallies import Tally
from penstock.workers.broker.leases import Settlement, Verb
from penstock.workers.queues.trend_points import POINTS_KEPT, TrendLog
from penstock.workers.scheduler.trends import TrendPoints
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.trends import Trends
from tests.queue_kit import QueueKit, open_kit
from tests.workers.sidecar.paced_kit import take_for_away
from tests.workers.sidecar.sidecar_kit import Client, client_of, running_app, services_of

#: 2026-11-21T10:00:00Z, the beginning of a minute.
NOON = 1_795_255_200.0


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


class Clock:
    now = NOON + 7

    def __call__(self) -> float:
        return self.now


def test_each_minute_tells_what_it_brought(kit: QueueKit) -> None:
    clock = Clock()
    loop = TrendPoints(kit.client, kit.namespace, clock)
    loop.run_once()
    kit.put(4)
    jobs = kit.lease(3)
    kit.leases.settle(kit.queue, [Settlement(job, Verb.ACK, busy=timedelta(seconds=2)) for job in jobs[:2]])
    clock.now += 60
    assert loop.run_once() is False
    clock.now += 180
    loop.run_once()
    first, second = [item for item in Trends(kit.client, kit.namespace).read(10) if item.queue == kit.queue]
    assert first.at == datetime.fromtimestamp(NOON + 60, UTC)
    assert (first.enqueued, first.done, first.retried, first.dead, first.busy_seconds) == (4, 2, 0, 0, 4.0)
    assert (first.ready, first.leased, first.seconds) == (1, 1, 60)
    assert first.wait_seconds_mean is not None
    assert first.oldest_seconds is not None
    # Nobody noted the minutes between: one item covers them.
    assert (second.enqueued, second.done, second.seconds, second.wait_seconds_mean) == (0, 0, 180, None)


def test_many_schedulers_note_a_minute_once(kit: QueueKit) -> None:
    loops = [TrendPoints(kit.client, kit.namespace, Clock()) for _ in range(4)]
    threads = [threading.Thread(target=loop.run_once) for loop in loops for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log = TrendLog(kit.client, kit.namespace)
    assert [point["at"] for point in log.read(kit.queue, 10)] == [NOON * 1_000]
    # A clock that is behind notes nothing between others.
    assert not log.note(kit.queue, int(NOON * 1_000) - 60_000, {})


def test_a_day_is_kept(kit: QueueKit) -> None:
    log = TrendLog(kit.client, kit.namespace)
    for minute in range(1, POINTS_KEPT + 6):
        assert log.note(kit.queue, minute * 60_000, {"tally": Tally(done=minute).as_dict()})
    assert len(log.read(kit.queue, 10_000)) == POINTS_KEPT
    items = Trends(kit.client, kit.namespace).read(24 * 60)
    assert (len(items), {item.done for item in items}) == (24 * 60, {1})
    assert len(Trends(kit.client, kit.namespace).read(5)) == 5


def test_a_queue_that_began_anew_brings_nothing_negative(kit: QueueKit) -> None:
    log = TrendLog(kit.client, kit.namespace)
    for minute, done in enumerate((100, 7), start=1):
        log.note(kit.queue, minute * 60_000, {"tally": {"done": done}})
    (item,) = Trends(kit.client, kit.namespace).read()
    assert item.done == 7


def test_what_can_not_be_read_is_left_out(kit: QueueKit) -> None:
    log = TrendLog(kit.client, kit.namespace)
    kit.client.rpush(f"{kit.namespace}:{{trends}}:{kit.queue}", "no json", "[]", '{"at": "x"}')
    assert log.note(kit.queue, 60_000, {}), "and is in nobody's way"
    assert [point["at"] for point in log.read(kit.queue, 10)] == [60_000]


@pytest.fixture
def app(settings: WorkerSettings, kit: QueueKit) -> Iterator[FastAPI]:
    with running_app(settings, namespace=kit.namespace) as app:
        yield app


@pytest.fixture
def client(app: FastAPI) -> Client:
    return client_of(app)


def test_the_api_tells_them_also_when_redis_is_away(client: Client, app: FastAPI, kit: QueueKit) -> None:
    log = TrendLog(kit.client, kit.namespace)
    for minute in range(1, 4):
        log.note(kit.queue, minute * 60_000, {"ready": 5, "tally": {"done": minute, "leased_total": minute}})
    first = client.get("/api/v1/trends?minutes=60").json()
    assert [(item["at"], item["done"], item["ready"]) for item in first["items"]] == [
        ("1970-01-01T00:02:00Z", 1, 5),
        ("1970-01-01T00:03:00Z", 1, 5),
    ]
    assert first["stale"] is False
    take_for_away(services_of(app).servers.redis)
    later = client.get("/api/v1/trends?minutes=60").json()
    assert later == first | {"stale": True}


@pytest.mark.parametrize("minutes", ["0", "1441", "x"])
def test_minutes_have_bounds(client: Client, minutes: str) -> None:
    assert client.get(f"/api/v1/trends?minutes={minutes}").status_code == 422
