"""Looks at queues and jobs: counts that add up at every instant, pages, and one job with everything around it."""

import itertools
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest

from penstock.producers.queue.records import JobState
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.broker.leases import Leases, Settlement, Verb, new_boot_id
from tests.queue_kit import QueueKit, new_job, open_kit

PLACES = ("ready", "scheduled", "leased", "parked", "dead")


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


def test_a_queue_that_never_was_used_counts_nothing(kit: QueueKit) -> None:
    counts = kit.inspector.counts(kit.queue)
    assert [getattr(counts, place) for place in PLACES] == [0] * 5
    assert (counts.accepted, counts.unaccounted, counts.layout, counts.workers) == (0, 0, 0, 0)
    assert (counts.oldest_ready_age, counts.next_due, counts.paused) == (None, None, None)


def test_each_place_is_counted(kit: QueueKit) -> None:
    kit.one_of_each()
    counts = kit.inspector.counts(kit.queue)
    assert [getattr(counts, place) for place in PLACES] == [1] * 5
    assert (counts.accepted, counts.done, counts.unaccounted) == (6, 1, 0)
    assert (counts.workers, counts.layout) == (1, 1)
    assert counts.oldest_ready_age is not None
    assert timedelta(0) <= counts.oldest_ready_age < timedelta(minutes=1)
    assert counts.next_due is not None
    assert timedelta(minutes=59) < counts.next_due - datetime.now(UTC) < timedelta(minutes=61)
    assert counts.as_dict()["unaccounted"] == 0


def test_the_oldest_job_is_looked_for_among_all_tenants(kit: QueueKit) -> None:
    kit.put(tenant="new")
    (old,) = kit.put(tenant="old")
    kit.client.hincrby(kit.keys.job(old), "changed_at", -3_600_000)
    age = kit.inspector.counts(kit.queue).oldest_ready_age
    assert age is not None
    assert timedelta(hours=1) <= age < timedelta(hours=1, minutes=1)


def test_tenants_are_named_by_size_and_no_more_than_100(kit: QueueKit) -> None:
    for number in range(120):
        kit.put(2 if number == 77 else 1, tenant=f"t{number:03}")
    counts = kit.inspector.counts(kit.queue)
    assert counts.ready == 121
    assert len(counts.ready_by_tenant) == 100
    assert next(iter(counts.ready_by_tenant.items())) == ("t077", 2)


def test_a_pause_is_told(kit: QueueKit) -> None:
    kit.leases._scripts.run("pause", kit.keys, "ada", "deploy", "{}")
    paused = kit.inspector.counts(kit.queue).paused
    assert paused is not None
    assert (paused.by, paused.reason) == ("ada", "deploy")
    assert paused.at is not None
    assert abs(paused.at - datetime.now(UTC)) < timedelta(minutes=1)


def test_suspects_that_are_leased_singly_count_as_ready(kit: QueueKit) -> None:
    kit.put()
    kit.settle(kit.lease(), Verb.RELEASE, alone=True)
    counts = kit.inspector.counts(kit.queue)
    assert (counts.ready, counts.unaccounted) == (1, 0)


def test_a_newer_layout_is_refused(kit: QueueKit) -> None:
    kit.client.hset(kit.keys.key("meta"), "layout", 99)
    with pytest.raises(PenstockError) as caught:
        kit.inspector.counts(kit.queue)
    assert caught.value.code is Code.QUEUE_LAYOUT_NEWER


class Traffic:
    """Threads that enqueue, lease and settle in every way until they are stopped; what fails in one fails the test."""

    def __init__(self, kit: QueueKit) -> None:
        self._kit = kit
        self._stop = threading.Event()
        self.settled = 0

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor()
        self._running = [self._pool.submit(run) for run in (self._enqueue, self._work, self._work)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for future in self._running:
            future.result()

    def _enqueue(self) -> None:
        soon = timedelta(milliseconds=5)
        while not self._stop.is_set():
            jobs = [new_job(f"t{number % 3}", due=None if number % 4 else soon) for number in range(8)]
            self._kit.enqueuer.enqueue(self._kit.queue, jobs)

    def _work(self) -> None:
        leases = Leases(self._kit.client, self._kit.namespace, new_boot_id(), timedelta(seconds=30))
        for request in itertools.count(1):
            jobs = leases.lease(self._kit.queue, 8, request).jobs
            ways = [Settlement(job, *WAYS[(request + place) % len(WAYS)]) for place, job in enumerate(jobs)]
            self.settled += sum(leases.settle(self._kit.queue, ways))
            leases.tick(self._kit.queue)
            if self._stop.is_set():
                return


WAYS: list[tuple[Verb, dict[str, Any]]] = [
    (Verb.ACK, {}),
    (Verb.RETRY, {"delay": 1, "code": "X", "told": "x"}),
    (Verb.BURY, {"code": "X", "told": "x"}),
    (Verb.RELEASE, {}),
    (Verb.RELEASE, {"alone": True}),
    (Verb.POSTPONE, {"delay": 1, "blocked_by": "x"}),
    (Verb.PARK, {"key": "k", "blocked_by": "x", "offer": 1}),
]


def test_counts_add_up_at_every_instant_while_jobs_move(kit: QueueKit) -> None:
    with Traffic(kit) as traffic:
        looks = [kit.inspector.counts(kit.queue) for _ in range(1_000)]
    assert {look.unaccounted for look in looks} == {0}
    assert looks[-1].accepted > looks[0].accepted
    assert traffic.settled > 100
    for place in PLACES:
        assert max(getattr(look, place) for look in looks) > 0, place


@pytest.mark.parametrize("state", [JobState.READY, JobState.SCHEDULED, JobState.LEASED, JobState.PARKED, JobState.DEAD])
def test_peek_lists_the_jobs_of_a_state(kit: QueueKit, state: JobState) -> None:
    made = kit.one_of_each()
    page = kit.inspector.peek(kit.queue, state)
    assert page.following is None
    (job,) = page.jobs
    assert (job.job_id, job.state, job.kind, job.tenant) == (str(made[state]), state, "test.kind", "acme")
    assert job.since is not None
    assert job.blocked_by == ("kind:x" if state is JobState.PARKED else None)
    assert job.code == ("JOB_PAYLOAD_INVALID" if state is JobState.DEAD else None)
    assert "message" not in job.as_dict()


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_neither_repeat_nor_leave_out(kit: QueueKit, limit: int) -> None:
    made = [str(job) for tenant in ("a", "b", "c") for job in kit.put(3, tenant)]
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = kit.inspector.peek(kit.queue, JobState.READY, limit, cursor)
        seen += [job.job_id for job in page.jobs]
        cursor, pages = page.following, pages + 1
    assert seen == made
    assert pages == -(-len(made) // limit)


def test_peek_refuses_what_it_cannot_list(kit: QueueKit) -> None:
    for arguments in ((JobState.DONE,), (JobState.READY, 1, "x"), (JobState.READY, 1, "-1")):
        with pytest.raises(InvalidInputError) as caught:
            kit.inspector.peek(kit.queue, *arguments)
        assert caught.value.code is Code.REQUEST_USAGE


def test_a_job_that_nobody_knows(kit: QueueKit) -> None:
    assert kit.inspector.find(uuid.uuid4()) is None


def test_a_ready_job_tells_its_place_and_what_goes_first(kit: QueueKit) -> None:
    kit.put(5, "a")
    kit.put(1, "b")
    second, third = kit.put(3, "c")[1:]
    view = kit.inspector.find(second)
    assert view is not None
    assert (view.state, view.queue, view.tenant, view.place) == ("ready", "posts", "c", 2)
    # One of its own, two of a (its turn comes before), the only one of b.
    assert view.ahead == 1 + 2 + 1
    assert (view.blocked_by, view.eligible_at) == (None, None)
    assert view.enqueued_at is not None
    last = kit.inspector.find(third)
    assert last is not None
    assert (last.place, last.ahead) == (3, 2 + 3 + 1)


def test_the_estimate_is_what_leases_of_one_job_do(kit: QueueKit) -> None:
    jobs = [job for tenant, count in (("a", 4), ("b", 1), ("c", 6), ("d", 2)) for job in kit.put(count, tenant)]
    told = {}
    for job in jobs:
        view = kit.inspector.find(job)
        assert view is not None
        told[str(job)] = view.ahead
    taken = [job.job_id for _ in jobs for job in kit.lease()]
    assert {job_id: place for place, job_id in enumerate(taken)} == told


def test_a_scheduled_job_tells_its_due_time(kit: QueueKit) -> None:
    (job,) = kit.put(due=timedelta(hours=2))
    view = kit.inspector.find(job)
    assert view is not None
    assert (view.state, view.place, view.ahead) == ("scheduled", 1, None)
    assert view.eligible_at is not None
    assert timedelta(minutes=119) < view.eligible_at - datetime.now(UTC) < timedelta(minutes=121)


def test_a_leased_job_tells_who_holds_it(kit: QueueKit) -> None:
    kit.leases.join(kit.queue)
    (job,) = kit.put()
    kit.lease()
    view = kit.inspector.find(job)
    assert view is not None
    assert view.worker is not None
    assert view.worker.boot == kit.leases.boot
    assert view.worker.host
    assert view.worker.lives_until is not None
    assert view.worker.lives_until > datetime.now(UTC)
    assert view.as_dict()["worker"]["pid"]


def test_a_retried_job_tells_its_attempts_and_its_last_failure(kit: QueueKit) -> None:
    (job,) = kit.put()
    entry = '{"at":1795261234567,"outcome":"retry","code":"STORAGE_UNAVAILABLE"}'
    kit.settle(kit.lease(), Verb.RETRY, delay=60_000, code="STORAGE_UNAVAILABLE", told="it is away", entry=entry)
    view = kit.inspector.find(job)
    assert view is not None
    assert (view.attempts, view.code, view.message) == (1, "STORAGE_UNAVAILABLE", "it is away")
    assert view.remedy is not None
    assert "PostgreSQL" in view.remedy
    assert view.history == [
        {"at": "2026-11-21T11:40:34.567000+00:00", "outcome": "retry", "code": "STORAGE_UNAVAILABLE"}
    ]


def test_a_parked_job_tells_what_blocks_it_and_when_it_is_offered(kit: QueueKit) -> None:
    jobs = kit.put(12)
    kit.settle(kit.lease(12), Verb.PARK, key="kind:x", blocked_by="kind:x", offer=60_000)
    first, eleventh = kit.inspector.find(jobs[0]), kit.inspector.find(jobs[10])
    assert first is not None
    assert eleventh is not None
    assert (first.state, first.blocked_by, first.place, eleventh.place) == ("parked", "kind:x", 1, 11)
    assert first.eligible_at is not None
    assert eleventh.eligible_at is not None
    # Ten are offered at a time.
    assert eleventh.eligible_at - first.eligible_at == timedelta(seconds=60)


def test_a_park_that_somebody_else_opens_tells_no_time(kit: QueueKit) -> None:
    (job,) = kit.put()
    kit.settle(kit.lease(), Verb.PARK, key="circuit:x", blocked_by="circuit:x")
    view = kit.inspector.find(job)
    assert view is not None
    assert (view.blocked_by, view.eligible_at) == ("circuit:x", None)


def test_a_paused_queue_blocks_what_waits(kit: QueueKit) -> None:
    made = kit.one_of_each()
    kit.leases._scripts.run("pause", kit.keys, "ada", "deploy", "{}")
    told = {}
    for place, job in made.items():
        view = kit.inspector.find(job)
        assert view is not None
        told[place] = view.blocked_by
    paused = f"paused:{kit.queue}"
    assert told == {
        "ready": paused,
        "scheduled": paused,
        "parked": "kind:x",
        "leased": None,
        "dead": None,
        "done": None,
    }


def test_what_is_left_of_a_done_job(kit: QueueKit) -> None:
    (job,) = kit.put()
    kit.settle(kit.lease(), Verb.ACK)
    view = kit.inspector.find(job)
    assert view is not None
    assert (view.state, view.kind, view.place, view.eligible_at) == ("done", "test.kind", None, None)
    assert view.since is not None
