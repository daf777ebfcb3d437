"""A dependency that goes away: who asks, who waits, and what becomes of the jobs that need it."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from penstock.schemas.errors import Code, UnavailableError
from penstock.workers.broker.consumer import KnownKind
from penstock.workers.broker.dependencies import Dependency
from penstock.workers.broker.leases import Leases
from penstock.workers.database.transaction import TRIES
from penstock.workers.job import Done, Job, Outcome
from tests.system import wait_for
from tests.workers.broker.conftest import QUEUE, Chore, Errand, Floor, Shop

SOON = timedelta(milliseconds=20)
LONG = timedelta(seconds=60)


class Server:
    """Serves or does not, and counts how often it was asked and what it was told."""

    def __init__(self) -> None:
        self.serves = True
        self.fails = False
        self.heard: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def ask(self) -> bool:
        # The answer is that of the moment of the question, however late it comes.
        serves = self.serves
        self.heard.append("asked")
        self.gate.wait(10)
        if self.fails:
            raise RuntimeError("a fault in who asks")
        return serves

    @property
    def asked(self) -> int:
        return self.heard.count("asked")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def dependency(server: Server) -> Iterator[Dependency]:
    made = Dependency(
        "storage",
        server.ask,
        renew=lambda: server.heard.append("renewed"),
        cut=lambda: server.heard.append("cut"),
        ask_every=SOON,
    )
    yield made
    made.stop()


def test_nobody_asks_while_nobody_doubts(dependency: Dependency, server: Server) -> None:
    before = threading.active_count()
    assert not dependency.is_away
    assert dependency.wait_until_back(timedelta(0))
    assert (server.asked, threading.active_count()) == (0, before)


def test_a_doubt_that_is_unfounded_is_asked_once(dependency: Dependency, server: Server) -> None:
    assert not dependency.is_away_after_asking(LONG)
    time.sleep(5 * SOON.total_seconds())
    assert server.heard == ["asked", "renewed"]


def test_it_is_asked_until_it_serves_and_renewed_before_anybody_hears(dependency: Dependency, server: Server) -> None:
    server.serves = False
    assert dependency.is_away_after_asking(LONG)
    wait_for(lambda: server.asked >= 3, "further questions")
    assert not dependency.wait_until_back(SOON)
    assert "cut" in server.heard
    assert "renewed" not in server.heard
    renewed: list[bool] = []
    dependency._renew = lambda: renewed.append(dependency.is_away)
    server.serves = True
    assert dependency.wait_until_back(LONG)
    assert renewed == [True]
    asked = server.asked
    time.sleep(5 * SOON.total_seconds())
    assert server.asked == asked, "it is asked no more"


def test_many_who_doubt_share_a_question(dependency: Dependency, server: Server) -> None:
    server.serves = False
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda: answers.append(dependency.is_away_after_asking(LONG))) for _ in range(20)
    ]
    server.gate.clear()
    for thread in threads:
        thread.start()
    wait_for(lambda: server.asked == 1, "the question")
    server.gate.set()
    for thread in threads:
        thread.join(60)
    assert answers == [True] * 20


def test_a_question_from_before_the_doubt_is_no_answer_to_it(dependency: Dependency, server: Server) -> None:
    server.gate.clear()
    dependency.doubt()
    wait_for(lambda: server.asked == 1, "the first question")
    # It goes away after that question, whose answer will still be yes.
    server.serves = False
    threading.Timer(0.1, server.gate.set).start()
    assert dependency.is_away_after_asking(LONG)
    assert server.asked >= 2


def test_who_asks_in_vain_asks_again(dependency: Dependency, server: Server) -> None:
    server.fails = True
    assert dependency.is_away_after_asking(LONG)
    server.fails = False
    assert dependency.wait_until_back(LONG)


def test_a_stop_lets_nobody_wait(dependency: Dependency, server: Server) -> None:
    server.serves = False
    assert dependency.is_away_after_asking(LONG)
    threading.Timer(0.1, dependency.stop).start()
    started = time.monotonic()
    dependency.wait_until_back(LONG)
    assert time.monotonic() - started < 30


def away_until(server: Server) -> Callable[[Job], Outcome]:
    """Fails as a job does whose database is away, until it serves."""

    def behave(_: Job) -> Outcome:
        if not server.serves:
            raise UnavailableError(Code.STORAGE_UNAVAILABLE, "away")
        return Done()

    return behave


def opened(floor: Floor, dependency: Dependency, **options: Any) -> Shop:
    """A worker whose jobs need that dependency."""
    shop = floor.prepare(**options)
    shop.broker.storage = dependency
    shop.limits.start()
    shop.worker.start()
    return shop


def test_jobs_stay_ready_and_say_what_they_wait_for(floor: Floor, dependency: Dependency, server: Server) -> None:
    server.serves = False
    jobs = [floor.put(f"j{number}", away_until(server)) for number in range(12)]
    shop = opened(floor, dependency)
    wait_for(lambda: dependency.is_away, "the outage to be noticed")
    wait_for(lambda: floor.counts() == {"accepted": 12, "ready": 12}, "all jobs to be given back")
    wait_for(lambda: {floor.view(one).blocked_by for one in jobs} == {"storage"}, "the jobs to say so")
    tries = sum(map(len, floor.actor.attempts.values()))
    # New ones are not taken either.
    jobs.append(floor.put("late", away_until(server)))
    time.sleep(1)
    assert floor.counts() == {"accepted": 13, "ready": 13}
    assert sum(map(len, floor.actor.attempts.values())) == tries, "no job was tried again"
    assert floor.held_by_redis(shop) == 0

    server.serves = True
    started = time.monotonic()
    for one in jobs:
        view = floor.ended(one)
        assert (view.state, view.attempts, view.blocked_by) == ("done", 0, None)
    assert time.monotonic() - started < 30
    assert all(set(seen) == {1} for seen in floor.actor.attempts.values())


def test_where_the_server_is_there_after_all_a_failure_is_postponed(
    floor: Floor, dependency: Dependency, server: Server
) -> None:
    """Given back, the job would be leased and fail again at once, round and round."""
    # Each delivery tries a few times by itself.
    left = iter(range(2 * TRIES))

    def behave(_: Job) -> Outcome:
        if next(left, None) is not None:
            raise UnavailableError(Code.STORAGE_UNAVAILABLE, "the pool is exhausted")
        return Done()

    opened(floor, dependency)
    job = floor.put("b", behave)
    assert floor.ended(job).state == "done"
    assert server.asked >= 2
    assert floor.actor.attempts["b"] == [1] * (2 * TRIES + 1)


def test_a_queue_with_a_kind_that_does_not_need_it_is_served(
    floor: Floor, dependency: Dependency, server: Server
) -> None:
    server.serves = False
    shop = floor.prepare(kinds=(Chore, Errand))
    shop.broker._kinds[Errand.kind] = KnownKind(2, 1, needs_storage=False)
    shop.broker.storage = dependency
    dependency.doubt()
    wait_for(lambda: dependency.is_away, "the outage to be noticed")
    shop.limits.start()
    shop.worker.start()
    assert floor.ended(floor.put("errand", kind=Errand.kind)).state == "done"
    chore = floor.put("chore", away_until(server))
    wait_for(lambda: floor.view(chore).postpones > 0, "the job that needs it to be postponed")
    assert floor.view(chore).attempts == 0
    server.serves = True
    assert floor.ended(chore).state == "done"


def test_a_worker_that_is_held_up_stops_at_once(floor: Floor, dependency: Dependency, server: Server) -> None:
    server.serves = False
    floor.put("b", away_until(server))
    shop = opened(floor, dependency)
    wait_for(lambda: dependency.is_away, "the outage to be noticed")
    started = time.monotonic()
    assert shop.stop(timedelta(seconds=60)) == 0
    assert time.monotonic() - started < 30
    assert floor.counts() == {"accepted": 1, "ready": 1}


def test_a_job_is_blocked_only_where_every_worker_is_held_up(floor: Floor) -> None:
    job = floor.put("b")
    one, other = (Leases(floor.client, floor.namespace, boot, timedelta(seconds=30)) for boot in ("one", "other"))

    def blocked_by(held_up: str, other_held_up: str) -> str | None:
        one.tick(QUEUE, held_up_by=held_up)
        other.tick(QUEUE, held_up_by=other_held_up)
        return floor.view(job).blocked_by

    assert blocked_by("storage", "") is None
    assert blocked_by("storage", "storage") == "storage"
    assert blocked_by("", "storage") is None
    for leases in (one, other):
        leases.leave(QUEUE)
    assert floor.view(job).blocked_by is None
