"""Each kind of damage is named, with its job; a healthy queue is clean, also while jobs move."""

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Self

import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.broker.leases import Leases, Settlement, Verb, new_boot_id
from penstock.workers.reconcile.reconciliation import Reconciliation
from penstock.workers.reconcile.report import Report
from penstock.workers.reconcile.sightings import pack, unpack
from tests.queue_kit import QueueKit, new_job, open_kit

Damage = Callable[[QueueKit, dict[str, uuid.UUID]], object]


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


def reconcile(kit: QueueKit) -> Report:
    return Reconciliation(kit.client, kit.namespace, None).run()


def job(kit: QueueKit, made: dict[str, uuid.UUID], place: str) -> str:
    return kit.keys.job(made[place])


def test_nothing_at_all_is_clean(kit: QueueKit) -> None:
    assert reconcile(kit).clean


def test_a_job_in_each_place_is_clean(kit: QueueKit) -> None:
    kit.one_of_each()
    kit.put()
    kit.settle(kit.lease(), Verb.RELEASE, alone=True)
    report = reconcile(kit)
    assert report.as_dict()["faults"] == []
    assert (report.clean, report.records, report.looked_again) == (True, 7, 0)
    report.require_clean()


def rename_worker(kit: QueueKit, made: dict[str, uuid.UUID]) -> None:
    kit.client.zrem(kit.keys.key("workers"), kit.leases.boot)


DAMAGES: dict[str, tuple[str, str, int, Damage]] = {
    "ready, removed from its list": (
        "ready",
        "its record says ready, and it is in no place",
        1,
        lambda kit, made: kit.client.lrem(kit.keys.key("ready:acme"), 0, str(made["ready"])),
    ),
    "scheduled, removed from the set": (
        "scheduled",
        "its record says scheduled, and it is in no place",
        1,
        lambda kit, made: kit.client.zrem(kit.keys.key("scheduled"), str(made["scheduled"])),
    ),
    "leased, removed from its worker": (
        "leased",
        "its record says leased, and it is in no place",
        1,
        lambda kit, made: kit.client.zrem(kit.keys.key(f"leased:{kit.leases.boot}"), str(made["leased"])),
    ),
    "parked, removed from its park": (
        "parked",
        "its record says parked, and it is in no place",
        1,
        lambda kit, made: kit.client.zrem(kit.keys.key("parked:kind:x"), str(made["parked"])),
    ),
    "dead, removed from the dead": (
        "dead",
        "its record says dead, and it is in no place",
        1,
        lambda kit, made: kit.client.zrem(kit.keys.key("dead"), str(made["dead"])),
    ),
    "record gone": (
        "ready",
        "its record is missing, and it stands in ready:acme",
        0,
        lambda kit, made: kit.client.delete(job(kit, made, "ready")),
    ),
    "record of a parked job gone": (
        "parked",
        "its record is missing, and it stands in parked:kind:x",
        0,
        lambda kit, made: kit.client.delete(job(kit, made, "parked")),
    ),
    "message gone": (
        "ready",
        "its message is missing",
        0,
        lambda kit, made: kit.client.hdel(job(kit, made, "ready"), "message"),
    ),
    "ready and scheduled": (
        "ready",
        "it stands in two places: ready:acme and scheduled",
        -1,
        lambda kit, made: kit.client.zadd(kit.keys.key("scheduled"), {str(made["ready"]): 4e12}),
    ),
    "leased and ready": (
        "leased",
        "it stands in two places: leased:{boot} and ready:acme",
        -1,
        lambda kit, made: kit.client.rpush(kit.keys.key("ready:acme"), str(made["leased"])),
    ),
    "twice in one list": (
        "ready",
        "it stands in two places: ready:acme and ready:acme",
        -1,
        lambda kit, made: kit.client.rpush(kit.keys.key("ready:acme"), str(made["ready"])),
    ),
    "in two tenants' lists": (
        "ready",
        "it stands in two places: ready:acme and ready:other",
        0,
        lambda kit, made: kit.client.rpush(kit.keys.key("ready:other"), str(made["ready"])),
    ),
    "done and ready": (
        "done",
        "its record says done, and it stands in ready:acme",
        -1,
        lambda kit, made: kit.client.rpush(kit.keys.key("ready:acme"), str(made["done"])),
    ),
    "record says something else": (
        "ready",
        "its record puts it in dead, and it stands in ready:acme",
        0,
        lambda kit, made: kit.client.hset(job(kit, made, "ready"), "state", "dead"),
    ),
    "record names another tenant": (
        "ready",
        "its record puts it in ready:b, and it stands in ready:acme",
        0,
        lambda kit, made: kit.client.hset(job(kit, made, "ready"), "tenant", "b"),
    ),
    "unknown state": (
        "ready",
        "its record has the unknown state 'lost'",
        0,
        lambda kit, made: kit.client.hset(job(kit, made, "ready"), "state", "lost"),
    ),
    "worker not among the workers": (
        "leased",
        "the worker {boot} that holds it is not among the queue's workers, so nobody recovers it",
        1,
        rename_worker,
    ),
    "tenant not in the rotation": (
        "ready",
        "the tenant acme is not in the rotation, so nobody takes its jobs",
        1,
        lambda kit, _: kit.client.delete(kit.keys.key("rotation")),
    ),
    "park not among the parks": (
        "parked",
        "its park kind:x is not among the queue's parks, so nobody releases it",
        1,
        lambda kit, _: kit.client.delete(kit.keys.key("parks")),
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(kit: QueueKit, name: str) -> None:
    place, told, counted, damage = DAMAGES[name]
    made = kit.one_of_each()
    damage(kit, made)
    report = reconcile(kit)
    assert [(fault.job_id, fault.queue, fault.problem) for fault in report.faults] == [
        (str(made[place]), "posts", told.format(boot=kit.leases.boot))
    ]
    assert [counts.unaccounted for counts in report.counts if counts.queue == "posts"] == [counted]
    with pytest.raises(PenstockError) as caught:
        report.require_clean()
    assert caught.value.code is Code.JOB_UNACCOUNTED
    assert str(made[place]) in caught.value.message


def test_a_job_that_left_no_trace_is_missed_by_the_counters(kit: QueueKit) -> None:
    made = kit.one_of_each()
    kit.client.lrem(kit.keys.key("ready:acme"), 0, str(made["ready"]))
    kit.client.delete(job(kit, made, "ready"))
    report = reconcile(kit)
    assert (report.faults, report.unaccounted, report.clean) == ([], 1, False)
    with pytest.raises(PenstockError, match="the queue 'posts' has 1 job"):
        report.require_clean()


def test_a_counter_that_was_changed_is_told(kit: QueueKit) -> None:
    kit.put(3)
    kit.client.hincrby(kit.keys.key("meta"), "accepted", -1)
    with pytest.raises(PenstockError, match=r"1 job\(s\) more"):
        reconcile(kit).require_clean()


def test_an_id_that_is_no_uuid_is_named_too(kit: QueueKit) -> None:
    kit.put()
    for member in (b"not a uuid", b"\xff\xfe"):
        kit.client.rpush(kit.keys.key("ready:acme"), member)
    told = {fault.job_id for fault in reconcile(kit).faults}
    assert told == {"not a uuid", "\ufffd\ufffd"}


def test_many_faults_are_counted_and_the_first_are_named(kit: QueueKit) -> None:
    jobs = kit.put(50)
    kit.client.delete(kit.keys.key("ready:acme"))
    report = reconcile(kit)
    assert (report.fault_count, report.unaccounted) == (50, 50)
    assert {fault.job_id for fault in report.faults} == {str(one) for one in jobs}
    with pytest.raises(PenstockError, match="and 45 more"):
        report.require_clean()


def test_long_structures_are_read_in_pages(kit: QueueKit) -> None:
    kit.put(2_500)
    kit.put(2_500, due=timedelta(hours=1))
    report = reconcile(kit)
    assert (report.clean, report.records, report.looked_again) == (True, 5_000, 0)


@pytest.mark.parametrize(
    "identity", ["0b6f3b1e-5f0c-4b3a-9d6e-2f1a7c8e9d10", "0B6F3B1E-5F0C-4B3A-9D6E-2F1A7C8E9D10", "x" * 36, "", "y" * 16]
)
def test_packed_ids_come_back(identity: str) -> None:
    assert unpack(pack(identity.encode())) == identity


class Traffic:
    """Jobs that are enqueued, fail, wait, are parked and done, by four threads, as fast as they go."""

    def __init__(self, kit: QueueKit) -> None:
        self._kit = kit
        self._stop = threading.Event()
        self.done = 0

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor()
        self._running = [self._pool.submit(run) for run in (self._enqueue, self._enqueue, self._work, self._work)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for future in self._running:
            future.result()

    def _enqueue(self) -> None:
        while not self._stop.wait(0.001):
            jobs = [new_job(f"t{number % 3}", keep_hours=number % 2) for number in range(20)]
            # What outgrows the workers would be looked at in ever longer passes.
            if self._kit.inspector.counts(self._kit.queue).ready < 500:
                self._kit.enqueuer.enqueue(self._kit.queue, jobs)

    def _work(self) -> None:
        leases = Leases(self._kit.client, self._kit.namespace, new_boot_id(), timedelta(seconds=30))
        ways = itertools.cycle(
            [
                *[(Verb.ACK, {})] * 15,
                (Verb.RETRY, {"delay": 2, "code": "X", "told": "x"}),
                (Verb.PARK, {"key": "k", "blocked_by": "k", "offer": 5}),
                (Verb.RELEASE, {}),
                (Verb.BURY, {"code": "X", "told": "x"}),
            ]
        )
        for request in itertools.count(1):
            jobs = leases.lease(self._kit.queue, 16, request).jobs
            leases.settle(self._kit.queue, [Settlement(one, *next(ways)) for one in jobs])
            leases.tick(self._kit.queue)
            self.done += len(jobs)
            if self._stop.is_set():
                return


def test_a_busy_queue_is_clean_however_often_one_looks(kit: QueueKit) -> None:
    kit.put(3_000)
    with Traffic(kit) as traffic:
        reports = [reconcile(kit) for _ in range(8)]
    assert [fault for report in reports for fault in report.faults] == []
    assert all(report.clean for report in reports)
    assert traffic.done > 500


def test_a_removed_job_is_named_in_a_busy_queue(kit: QueueKit) -> None:
    with Traffic(kit):
        (removed,) = kit.put(due=timedelta(hours=1))
        kit.client.zrem(kit.keys.key("scheduled"), str(removed))
        report = reconcile(kit)
    assert [fault.job_id for fault in report.faults] == [str(removed)]
    assert report.unaccounted == 1
