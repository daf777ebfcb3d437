"""What the report says of a deployment that is well, strained or broken, and what it asks a person to do."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis
from psycopg_pool import ConnectionPool

from penstock.producers.queue.connection import connect
from penstock.producers.queue.enqueueing import Enqueuer
from penstock.workers.database.pool import open_pool
from penstock.workers.health import examination
from penstock.workers.health.attention import Attention, Need
from penstock.workers.health.examination import Health
from penstock.workers.health.report import Check, HealthReport, Status, worst
from penstock.workers.health.scheduler_signs import read_signs, signs_key, write_sign
from penstock.workers.health.sentence import sentence_of
from penstock.workers.health.sources import Sources
from penstock.workers.health.vitals import Vitals
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_view import CircuitState
from penstock.workers.queues.control import QueueControl
from penstock.workers.scheduler.signs import SchedulerSigns
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.metrics import LOOP_LAG
from tests.queue_kit import new_job
from tests.workers.sidecar.sidecar_kit import client_of, running_app


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> "Iterator[ConnectionPool[psycopg.Connection]]":
    with open_pool(settings.model_copy(update={"pool_min": 1, "pool_max": 2}), "test") as made:
        yield made


@pytest.fixture(scope="module")
def server(settings: WorkerSettings) -> Iterator["redis.Redis"]:
    with connect(settings.redis_url) as made:
        yield made


@pytest.fixture
def examine(
    settings: WorkerSettings, pool: "ConnectionPool[psycopg.Connection]", server: "redis.Redis", request: Any
) -> Any:
    """Examines a namespace of the test's own, under changed settings."""
    namespace = f"{settings.namespace}-{request.node.name[:60].replace('[', '-').rstrip(']')}"

    def run(vitals: Vitals | None = None, **changes: Any) -> HealthReport:
        changed = settings.model_copy(update={"namespace": namespace} | changes)
        health = Health(Sources(changed, pool.connection, server, None if vitals is None else lambda: vitals))
        try:
            return health.report()
        finally:
            health.close()

    run.namespace = namespace  # type: ignore[attr-defined]
    return run


def found(report: HealthReport, name: str) -> Check:
    check = report.named(name)
    assert check is not None
    return check


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"health_query_ms": 1e-6}, "postgresql"),
        ({"health_query_ms": 1e-6}, "redis"),
        ({"health_disk_free_share": 1.0}, "disk"),
        ({"health_error_share": 0.2}, "errors"),
        ({"health_cache_hits": 0.9}, "caches"),
        ({"health_memory_mb": 99}, "memory"),
        ({"health_pool_share": 0.4}, "pool"),
    ],
    ids=["slow PostgreSQL", "slow Redis", "disk", "errors", "caches", "memory", "pool"],
)
def test_a_figure_beyond_its_threshold_is_a_warning_with_a_next_step(
    examine: Any, changes: dict[str, float], check: str
) -> None:
    vitals = Vitals(error_share=0.3, cache_hit_share=0.85, memory_bytes=100 * 1024 * 1024, pool_share=0.5)
    lenient = {"health_error_share": 0.5, "health_cache_hits": 0.5, "health_disk_free_share": 0.0}
    strained = found(examine(vitals, **(lenient | changes)), check)
    assert (strained.status, strained.sentence is not None, bool(strained.step)) == (Status.WARNING, True, True)
    assert found(examine(vitals, **(lenient | {"health_query_ms": 60_000})), check).sentence != strained.sentence


def test_a_job_that_waits_too_long_is_told_unless_its_queue_is_paused(
    examine: Any, settings: WorkerSettings, server: "redis.Redis"
) -> None:
    Enqueuer(server, examine.namespace).enqueue("submissions", [new_job()])
    time.sleep(0.02)
    report = examine(health_oldest_seconds=0.01)
    assert found(report, "queues").status is Status.WARNING
    # Nobody works at it, and it has waited long: that can't get better by itself.
    assert found(report, "workers").status is Status.CRITICAL
    assert report.sentence.startswith("1 job is ready and no worker serves submissions")
    QueueControl(server, examine.namespace, "ana").pause("submissions", "maintenance")
    report = examine(health_oldest_seconds=0.01)
    assert found(report, "queues").status is Status.HEALTHY
    needs = Attention(lambda: report).needs()
    assert [need.sentence for need in needs if need.severity == "info"] == ["The queue submissions is paused"]


def test_an_open_circuit_is_told(examine: Any, server: "redis.Redis") -> None:
    assert found(examine(), "circuits").status is Status.HEALTHY
    CircuitControl(server, examine.namespace).force("mail", CircuitState.OPEN, "the provider is down", "ana")
    check = found(examine(), "circuits")
    assert (check.status, check.path) == (Status.WARNING, "/circuits")
    assert "mail" in str(check.sentence)


def test_the_schedulers_are_known_by_their_signs(examine: Any, server: "redis.Redis") -> None:
    assert "no scheduler" in found(examine(), "scheduler").told
    write_sign(server, examine.namespace, "one", {"relay": 500.0, "sweep": 0.0})
    assert "relay" in str(found(examine(), "scheduler").sentence)
    # Another one does that loop's work in time.
    write_sign(server, examine.namespace, "two", {"relay": 0.5, "sweep": 0.0})
    check = found(examine(), "scheduler")
    assert (check.status, check.value) == (Status.HEALTHY, 0.5)


def test_a_sign_that_is_no_json_and_an_old_one_are_passed_over(settings: WorkerSettings, server: "redis.Redis") -> None:
    namespace = f"{settings.namespace}-signs"
    server.hset(signs_key(namespace), "broken", "{")
    server.hset(signs_key(namespace), "old", '{"at": 1.0, "late": {}}')
    write_sign(server, namespace, "young", {"relay": 0.0})
    assert [sign.process for sign in read_signs(server, namespace)] == ["young"]


def test_a_scheduler_leaves_a_sign_of_each_of_its_loops(settings: WorkerSettings, server: "redis.Redis") -> None:
    namespace = f"{settings.namespace}-loop"

    class Late:
        name, interval, channel = "late-loop-of-a-test", timedelta(seconds=2), None

        def run_once(self) -> bool:
            return False

    LOOP_LAG.labels(Late.name).set(9.0)
    loop = SchedulerSigns(server, namespace, "one", [Late()])
    assert loop.run_once() is False
    ((process, late),) = [(sign.process, sign.late) for sign in read_signs(server, namespace)]
    assert (process, late) == ("one", {Late.name: 7.0})
    LOOP_LAG.remove(Late.name)


def test_dead_letters_and_the_outbox_are_looked_at(examine: Any) -> None:
    report = examine()
    assert found(report, "dead_letters").told == "0 open, 0 of the last hour"
    assert found(report, "outbox").told == "0 wait, the oldest for 0 s"


def test_a_look_that_hangs_costs_its_second_and_is_not_begun_twice(
    settings: WorkerSettings,
    pool: "ConnectionPool[psycopg.Connection]",
    server: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, begun = threading.Event(), []

    def hang(_: Sources) -> Iterator[Check]:
        begun.append(1)
        go_on.wait(60)
        yield Check("slow", Status.HEALTHY, "it came at last")

    monkeypatch.setattr(examination, "LOOKS", {hang: ("slow",)})
    now = 0.0
    health = Health(Sources(settings, pool.connection, server), lambda: now, limit=timedelta(seconds=0.2))
    try:
        for _ in range(2):
            started = time.monotonic()
            check = found(health.report(), "slow")
            assert time.monotonic() - started < 20
            assert (check.status, check.code) == (Status.UNKNOWN, "REQUEST_TIMEOUT")
            now += 5
        assert len(begun) == 1
    finally:
        go_on.set()
        health.close()


def test_those_who_ask_at_once_share_one_examination(
    settings: WorkerSettings,
    pool: "ConnectionPool[psycopg.Connection]",
    server: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = []

    def look(_: Sources) -> Iterator[Check]:
        begun.append(1)
        time.sleep(0.1)
        yield Check("one", Status.HEALTHY, "fine")

    monkeypatch.setattr(examination, "LOOKS", {look: ("one",)})
    health = Health(Sources(settings, pool.connection, server), lambda: 0.0)
    askers = [threading.Thread(target=health.report) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    health.close()
    assert len(begun) == 1


SINCE = datetime(2026, 3, 1, 3, 12, tzinfo=UTC)
AWAY = {
    name: Check(name, Status.CRITICAL, "no answer", code="X_UNAVAILABLE", remedy="r")
    for name in ("postgresql", "redis")
}
FINE = {name: Check(name, Status.HEALTHY, "fine") for name in ("postgresql", "redis")}


@pytest.mark.parametrize(
    ("checks", "waiting", "sentence"),
    [
        (FINE, 7, "All well."),
        (FINE | {"s": Check("s", Status.UNKNOWN, "?", code="C", remedy="r")}, 7, "All well."),
        (
            FINE | {"postgresql": AWAY["postgresql"]},
            214,
            "PostgreSQL can't be reached since 03:12 UTC; 214 jobs wait. Nothing is lost.",
        ),
        (
            FINE | {"redis": AWAY["redis"]},
            None,
            "Redis can't be reached since 03:12 UTC; jobs wait, and none runs until it is back.",
        ),
        (
            AWAY,
            1,
            "PostgreSQL and Redis can't be reached since 03:12 UTC; 1 job waits, and none runs until they are back.",
        ),
        (
            FINE
            | {
                "disk": Check("disk", Status.WARNING, "t", sentence="only 3% of the disk is free"),
                "workers": Check("workers", Status.CRITICAL, "t", sentence="no worker is heard of"),
            },
            0,
            "No worker is heard of. One more thing wants a look.",
        ),
    ],
    ids=["well", "something unknown", "PostgreSQL away", "Redis away", "both away", "others"],
)
def test_one_sentence_says_it(checks: dict[str, Check], waiting: int | None, sentence: str) -> None:
    listed = list(checks.values())
    assert sentence_of(listed, {"postgresql": SINCE, "redis": SINCE}, waiting) == sentence
    assert (worst(listed) is Status.HEALTHY) == (sentence == "All well.")


def test_what_needs_a_person_comes_with_the_worst_first() -> None:
    checks = [
        Check("disk", Status.WARNING, "t", sentence="only 3% is free", step="Make room"),
        AWAY["redis"],
        Check("caches", Status.HEALTHY, "fine"),
    ]
    more = [Need("warning", "312 dead letters.", "See them", "/dead-letters/groups/x")]
    attention = Attention(lambda: HealthReport(worst(checks), "s", checks), [lambda: more])
    assert [(need.severity, need.sentence, need.link, need.path) for need in attention.needs()] == [
        ("critical", "Redis can't be reached.", "", "/"),
        ("warning", "Only 3% is free.", "", "/"),
        ("warning", "312 dead letters.", "See the group", "/dead-letters/groups/x"),
    ]


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("/queues/posts", "See the queue"),
        ("/queues", "See the queues"),
        ("/dead-letters", "See the dead letters"),
        ("/circuits", "See circuits and limits"),
        ("/replays/x", "See the replay"),
    ],
)
def test_a_need_leads_to_its_page_in_a_few_words(path: str, link: str) -> None:
    assert Need("warning", "Something.", "a remedy", path).link == link


def test_the_probes_answer_as_the_report_is(settings: WorkerSettings) -> None:
    with running_app(settings) as app:
        client = client_of(app)
        assert client.get("/health/live").json() == {"status": "live"}
        ready = client.get("/health/ready")
        # No worker and no scheduler: that wants a look, and is ready all the same.
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        told = client.get("/health")
        assert (told.status_code, told.json()["status"]) == (200, "WARNING")
        assert {"status", "sentence", "reasons", "checks", "at"} <= set(told.json())
    nobody = "postgresql://u:hunter2@127.0.0.1:1/x"
    with running_app(settings, database_url=nobody) as app:
        client = client_of(app)
        assert client.get("/health/ready").status_code == 503
        told = client.get("/health")
        assert (told.status_code, told.json()["status"]) == (503, "CRITICAL")
        assert told.json()["sentence"].startswith("PostgreSQL can't be reached since ")
        assert "hunter2" not in told.text
        assert client.get("/health/live").status_code == 200
