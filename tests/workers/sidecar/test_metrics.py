"""What a sidecar tells Prometheus of the shared servers, also while one of them is away."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families as parse_text

from penstock.producers.queue.tallies import Tallies
from penstock.workers.broker.leases import Settlement, Verb
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_view import CircuitState
from penstock.workers.protection.limits import LimitUse, RateLimits
from penstock.workers.protection.limits_control import LimitControl, NewOverride
from penstock.workers.protection.limits_view import LimitView
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.shared_readings import OTHER, limit_family, read_gates
from penstock.workers.telemetry.metrics import SHARED
from penstock.workers.telemetry.snapshots import Publisher
from tests.queue_kit import KIND, QueueKit, open_kit
from tests.system import Database, wait_for
from tests.workers.sidecar.paced_kit import take_for_away
from tests.workers.sidecar.sidecar_kit import Client, client_of, running_app, services_of


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


@pytest.fixture
def app(settings: WorkerSettings, kit: QueueKit, tmp_path: Path) -> Iterator[FastAPI]:
    with running_app(settings, namespace=kit.namespace, metrics_dir=tmp_path / "metrics") as app:
        yield app


@pytest.fixture
def client(app: FastAPI) -> Client:
    return client_of(app)


def scrape(client: Client) -> dict[str, float]:
    """Each sample by its name and the values of its labels in the order of their names."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        "/".join([one.name, *(value for _, value in sorted(one.labels.items()))]): one.value
        for family in parse_text(answer.text)
        for one in family.samples
    }


def test_queues_are_as_they_are_counted(client: Client, kit: QueueKit) -> None:
    kit.one_of_each()
    kit.put(2, kind="b.c")
    found = scrape(client)
    depths = {"ready": 3, "scheduled": 1, "leased": 1, "parked": 1, "dead": 1}
    assert {state: found[f"penstock_queue_depth/posts/{state}"] for state in depths} == depths
    assert found[f"penstock_jobs_enqueued_total/{KIND}/posts"] == 6
    assert found["penstock_jobs_enqueued_total/b.c/posts"] == 2
    assert found["penstock_dead_letters_unarchived/posts"] == 1
    assert found["penstock_queue_workers/posts"] == 1
    assert found["penstock_jobs_unaccounted"] == 0
    assert found["penstock_queue_runnable_backlog_seconds/posts"] > 0
    assert (found["penstock_redis_up"], found["penstock_postgresql_up"]) == (1, 1)
    assert found["penstock_redis_memory_used_bytes"] > 2**18


def test_a_kind_too_many_makes_no_label_of_its_own(kit: QueueKit) -> None:
    for number in range(105):
        kit.put(kind=f"k.k{number}")
    counted = Tallies(kit.client, kit.namespace).enqueued(kit.queue)
    assert (len(counted), counted[""], sum(counted.values())) == (101, 5, 105)


def test_a_queue_counts_what_became_of_leases(kit: QueueKit) -> None:
    kit.put(5)
    done, again, later, gone, freed = kit.lease(5)
    entry = {"code": "JOB_TIME_LIMIT", "told": "t", "entry": "{}"}
    half = timedelta(milliseconds=500)
    ends = [
        Settlement(done, Verb.ACK, busy=half),
        Settlement(again, Verb.RETRY, {"delay": 60_000, **entry}, busy=half),
        Settlement(later, Verb.POSTPONE, {"delay": 60_000, "blocked_by": "x"}),
        Settlement(gone, Verb.BURY, entry, busy=half),
        Settlement(freed, Verb.RELEASE),
    ]
    assert all(kit.leases.settle(kit.queue, ends))
    # An answer that was lost: the same once more changes none of the counters but the time.
    kit.leases.settle(kit.queue, [Settlement(one.job, one.verb, one.detail) for one in ends])
    tally = Tallies(kit.client, kit.namespace).read(kit.queue)
    assert (tally.done, tally.retried, tally.postponed, tally.died) == (1, 1, 1, 1)
    assert (tally.accepted, tally.leased_total, tally.busy_ms) == (5, 5, 1_500)


def test_gates_are_told_without_ids(client: Client, kit: QueueKit) -> None:
    CircuitControl(kit.client, kit.namespace).force("platform:x", CircuitState.OPEN, "a test", "ada")
    limits = RateLimits(kit.client, kit.namespace)
    window = timedelta(hours=1)
    assert limits.take([LimitUse("account:123", 2, window, weight=2), LimitUse("account:456", 4, window)]).allowed
    limits.block("account:456", timedelta(minutes=1), "429")
    found = scrape(client)
    assert found["penstock_circuit_state/platform:x"] == 2
    told = {name: found[f"penstock_limit{name}/account"] for name in ("s", "s_exhausted", "s_blocked")}
    assert told == {"s": 2, "s_exhausted": 1, "s_blocked": 1}
    assert found["penstock_limit_largest_used_ratio/account"] == 1
    assert not [name for name in found if "123" in name]


def test_a_job_that_somebody_removed_is_told(client: Client, kit: QueueKit) -> None:
    kit.put(3)
    kit.client.lpop(kit.keys.key("ready:acme"))
    assert scrape(client)["penstock_jobs_unaccounted"] == 1


def test_limits_of_operators_are_told_without_ids(client: Client, kit: QueueKit) -> None:
    minute = timedelta(minutes=1)
    control, limits = LimitControl(kit.client, kit.namespace, "ada"), RateLimits(kit.client, kit.namespace)
    ids = ("account:123", "account:*", "tenant:acme/*", "platform:x/account:7", "tenant:acme/kind:k.k")
    for name in ("platform:x", "platform:y", *ids):
        control.set_override(name, NewOverride(10, minute), "a test")
    limits.take([LimitUse("platform:x", None, minute, weight=3)])
    limits.block("platform:y", minute, "429")
    found = scrape(client)
    assert found["penstock_limits_overridden"] == 2 + len(ids)
    left = {name: value for name, value in found.items() if name.startswith("penstock_limit_remaining")}
    assert left == {"penstock_limit_remaining/platform:x": 7, "penstock_limit_remaining/platform:y": 0}


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("account:123", "account"),
        ("tenant:acme/kind:a.b", "tenant/kind"),
        ("tenant:*", "tenant"),
        ("account:a/b", "account"),
        ("123", OTHER),
        ("Ä:1", OTHER),
        ("a:1/b:2/c:3/d:4", OTHER),
    ],
)
def test_what_a_key_limits(key: str, family: str) -> None:
    assert limit_family(key) == family


def test_circuits_beyond_a_number_are_told_together(kit: QueueKit) -> None:
    control = CircuitControl(kit.client, kit.namespace)
    for number in range(202):
        control.force(f"c{number:03}", CircuitState.CLOSED, "a test", "ada")
    control.force("c201", CircuitState.OPEN, "a test", "ada")
    told = dict(read_gates(control, LimitView(kit.client, kit.namespace))["penstock_circuit_state"])
    assert len(told) == 201
    assert told[OTHER,] == 2


def test_dead_letters_are_told_by_queue_kind_and_code(client: Client, database: Database) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO penstock.dead_letter_groups (fingerprint, kind, code, sample_message, first_seen, last_seen,"
            " total, open, requeued, healed, discarded, first_release, last_release)"
            " SELECT f, 'a.b', c, '', now(), now(), n, n, 0, 0, 0, '', ''"
            " FROM (VALUES ('1', 'X', 3), ('2', 'X', 4), ('3', 'Y', 1), ('4', 'Z', 0)) AS groups (f, c, n)"
        )
    found = scrape(client)
    told = {name: value for name, value in found.items() if name.startswith("penstock_dead_letters/")}
    # No letter of theirs is there that could tell the queue.
    assert told == {"penstock_dead_letters/X/a.b/": 7, "penstock_dead_letters/Y/a.b/": 1}
    assert found["penstock_outbox_backlog"] == 0
    database.query("TRUNCATE penstock.dead_letter_groups")


def test_what_is_known_is_told_while_redis_is_away(
    client: Client, app: FastAPI, kit: QueueKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.workers.sidecar.metrics.FRESH_FOR", timedelta(0))
    kit.put(3)
    assert scrape(client)["penstock_queue_depth/posts/ready"] == 3
    take_for_away(services_of(app).servers.redis)
    kit.put(1)
    found = scrape(client)
    assert (found["penstock_redis_up"], found["penstock_queue_depth/posts/ready"]) == (0, 3)
    assert found["penstock_postgresql_up"] == 1
    assert found["penstock_reading_age_seconds/redis"] > 0


def test_processes_and_declared_metrics_stand_together(client: Client, tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "metrics", "worker")
    publisher.start()
    # The first snapshot is written by a thread.
    wait_for(lambda: 'penstock_processes{process="worker"} 1.0' in client.get("/metrics").text, "the worker's snapshot")
    text = client.get("/metrics").text
    assert all(f"# TYPE {name} " in text for name in SHARED)
    assert text.count("# TYPE penstock_queue_depth ") == 1
    publisher.close()
