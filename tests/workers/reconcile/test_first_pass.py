"""Jobs that move between the reading of records and of places: none is taken for lost, and a lost one is."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.producers.queue.locating import Located
from penstock.workers.broker.leases import Verb
from penstock.workers.reconcile.first_pass import PAGE, FirstPass
from penstock.workers.reconcile.verdict import problem_of
from tests.queue_kit import QueueKit, open_kit


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


def suspects(kit: QueueKit, first_pass: FirstPass) -> dict[str, Located]:
    return {
        one.job_id: kit.inspector.locate(kit.queue, one.job_id, sorted(one.met_in), twice=one.twice)
        for one in first_pass.suspects()
    }


def test_jobs_that_move_between_records_and_places_are_no_faults(kit: QueueKit) -> None:
    held, retried, parked = kit.put(3)
    first, second, third = kit.lease(3)
    taken, put_back = kit.put(2)
    first_pass = FirstPass(kit.client, kit.namespace, [kit.queue])
    assert sum(len(page) for page in first_pass.records()) == 5
    kit.settle([first], Verb.ACK)
    kit.settle([second], Verb.RETRY, delay=60_000, code="X", told="x")
    kit.settle([third], Verb.PARK, key="k", blocked_by="k")
    moved = kit.lease(2)
    assert [job.job_id for job in moved] == [str(taken), str(put_back)]
    kit.settle(moved[1:], Verb.RELEASE)
    kit.put(5, "new")
    kit.put(1, due=timedelta(hours=1))
    found = suspects(kit, first_pass)
    assert [problem_of(located) for located in found.values()] == [None] * len(found)
    # What was done meanwhile and what came new is explained by its record, and not looked at one by one.
    assert set(found) <= {str(job) for job in (retried, parked, taken)}
    assert str(held) not in found


@pytest.mark.parametrize("known_before", [True, False])
def test_a_job_that_is_lost_between_records_and_places_is_found(kit: QueueKit, known_before: bool) -> None:
    lost = kit.put(3)[1] if known_before else None
    first_pass = FirstPass(kit.client, kit.namespace, [kit.queue])
    assert [len(page) for page in first_pass.records() if page] == ([3] if known_before else [])
    lost = lost or kit.put(3)[1]
    if known_before:
        kit.client.lrem(kit.keys.key("ready:acme"), 0, str(lost))
    else:
        kit.client.delete(kit.keys.job(lost))
    assert [job_id for job_id, located in suspects(kit, first_pass).items() if problem_of(located)] == [str(lost)]


@pytest.mark.parametrize("grown", [0, 1, 7, PAGE - 1, PAGE, PAGE + 1])
@pytest.mark.parametrize("taken", [0, 3, PAGE])
def test_a_list_that_changes_at_both_ends_is_read_whole(kit: QueueKit, grown: int, taken: int) -> None:
    jobs = [f"{number:05}".encode() for number in range(3 * PAGE + 10)]
    key = kit.keys.key("ready:acme")
    kit.client.rpush(key, *jobs)
    met = []
    for number, page in enumerate(FirstPass(kit.client, kit.namespace, [kit.queue])._list(key)):
        met += page
        if number == 0:
            if taken:
                kit.client.lpop(key, taken)
            if grown:
                kit.client.rpush(key, *[f"new {new}" for new in range(grown)])
    assert set(met) >= set(jobs[taken:])
    # Jobs that are met twice would each be looked at again.
    assert grown > PAGE or len(met) == len(set(met))
