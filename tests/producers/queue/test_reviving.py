"""Jobs that are called back from the dead: once, from the death that is meant, with the content that is given."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from penstock.producers.queue.enqueueing import NewJob, Offer, Offered
from penstock.producers.queue.records import JobState
from penstock.workers.broker.leases import LeasedJob, Verb
from tests.producers.queue.conftest import Bench, job

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def die(bench: Bench) -> LeasedJob:
    """The job that is next dies."""
    worker = bench.worker()
    (leased,) = worker.lease()
    assert worker.settle(leased, Verb.BURY, code="C", told="t", entry='{"outcome":"dead"}', attempted=True)
    return leased


def died_at(bench: Bench, dead: NewJob) -> datetime:
    return EPOCH + timedelta(milliseconds=int(bench.record(str(dead.job_id))["died_at"]))


def archive(bench: Bench, dead: NewJob) -> None:
    at = bench.record(str(dead.job_id))["died_at"]
    assert bench.scripts.run("archived", bench.keys, 60_000, "", "", str(dead.job_id), at) == [1, 0]


def dead_job(bench: Bench, *, archived: bool, **facts: object) -> NewJob:
    """A job that is dead, as it would be called back."""
    new = job(**facts)  # type: ignore[arg-type]
    bench.offer(new)
    die(bench)
    back = replace(new, revives=died_at(bench, new))
    if archived:
        archive(bench, new)
    return back


def told(bench: Bench, *jobs: NewJob) -> list[tuple[Offer, JobState]]:
    answers: list[Offered] = bench.offer(*jobs)
    return [(one.offer, one.state) for one in answers]


ARCHIVED = pytest.mark.parametrize("archived", [True, False], ids=["archived", "in Redis"])


@ARCHIVED
def test_a_dead_job_gets_a_new_life_and_is_known_after_that(bench: Bench, archived: bool) -> None:
    back = dead_job(bench, archived=archived)
    assert told(bench, back, back) == [(Offer.REVIVED, JobState.READY), (Offer.KNOWN, JobState.READY)]
    record = bench.record(str(back.job_id))
    assert not {"attempts", "code", "told", "died_at", "archived"} & record.keys()
    worker = bench.worker()
    (leased,) = worker.lease(5)
    assert (leased.message, leased.attempts) == (back.message, 0)
    assert told(bench, back) == [(Offer.KNOWN, JobState.LEASED)]
    assert worker.settle(leased, Verb.ACK)
    assert told(bench, back) == [(Offer.KNOWN, JobState.DONE)]
    assert worker.lease() == []


@ARCHIVED
def test_by_two_at_once_it_runs_once(bench: Bench, archived: bool) -> None:
    back = [dead_job(bench, archived=archived) for _ in range(20)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda one: told(bench, one)[0][0], [*back, *back, *back]))
    assert answers.count(Offer.REVIVED) == 20
    assert sorted(bench.ready()) == sorted(str(one.job_id) for one in back)


@ARCHIVED
def test_an_offer_that_is_repeated_after_a_later_death_does_nothing(bench: Bench, archived: bool) -> None:
    back = dead_job(bench, archived=archived)
    bench.offer(back)
    die(bench)
    later = died_at(bench, back)
    assert later > back.revives  # type: ignore[operator]
    if archived:
        archive(bench, back)
    assert told(bench, back) == [(Offer.KNOWN, JobState.DEAD)]
    assert told(bench, replace(back, revives=later)) == [(Offer.REVIVED, JobState.READY)]


@ARCHIVED
def test_an_operator_may_have_edited_it(bench: Bench, archived: bool) -> None:
    back = replace(dead_job(bench, archived=archived, text="wrong"), digest="other", message=b"right")
    assert told(bench, back) == [(Offer.REVIVED, JobState.READY)]
    (leased,) = bench.worker().lease()
    assert leased.message == b"right"
    # From then on that is its content.
    assert told(bench, replace(back, revives=None)) == [(Offer.KNOWN, JobState.LEASED)]
    assert told(bench, replace(back, revives=None, digest="wrong")) == [(Offer.CONFLICT, JobState.LEASED)]


@ARCHIVED
def test_it_is_known_for_as_long_as_its_producer_said(bench: Bench, archived: bool) -> None:
    back = dead_job(bench, archived=archived, keep=timedelta(days=7))
    bench.offer(replace(back, keep=timedelta(hours=1)))
    assert bench.record(str(back.job_id))["keep"] == str(7 * 86_400_000)


@ARCHIVED
def test_a_message_of_a_plain_actor_stays_in_conflict_with_nothing(bench: Bench, archived: bool) -> None:
    back = dead_job(bench, archived=archived, digest="message")
    bench.offer(replace(back, digest="of its bytes"))
    assert bench.record(str(back.job_id))["digest"] == "message"


def test_one_that_is_not_known_any_more_is_taken_in(bench: Bench) -> None:
    back = replace(job(), revives=datetime.now(UTC))
    assert told(bench, back) == [(Offer.ACCEPTED, JobState.READY)]
    assert told(bench, back) == [(Offer.KNOWN, JobState.READY)]
    assert bench.counts() == {"accepted": 1, "ready": 1}


@pytest.mark.parametrize("state", ["ready", "scheduled", "leased", "done"])
def test_one_that_is_not_dead_is_left_as_it_is(bench: Bench, state: str) -> None:
    new = job(due=timedelta(hours=1) if state == "scheduled" else None)
    bench.offer(new)
    if state in {"leased", "done"}:
        worker = bench.worker()
        (leased,) = worker.lease()
        if state == "done":
            assert worker.settle(leased, Verb.ACK)
    back = replace(new, digest="other", revives=datetime.now(UTC) + timedelta(days=1))
    assert told(bench, back) == [(Offer.KNOWN, JobState(state))]


@ARCHIVED
def test_a_producer_that_submits_again_revives_it_too(bench: Bench, archived: bool) -> None:
    back = replace(dead_job(bench, archived=archived), revives=None)
    assert told(bench, back) == [(Offer.KNOWN, JobState.DEAD)]
    (again,) = bench.offer(back, revive=(JobState.DEAD,))
    assert (again.offer, again.state) == (Offer.REVIVED, JobState.READY)
    assert bench.client.pttl(bench.keys.job(back.job_id)) == -1


def test_a_death_is_later_than_the_one_before_whatever_the_clock_says(bench: Bench) -> None:
    """A server that took over may be behind."""
    back = dead_job(bench, archived=True)
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    bench.offer(replace(back, revives=ahead))
    die(bench)
    assert died_at(bench, back) == ahead + timedelta(milliseconds=1)
    assert told(bench, replace(back, revives=ahead)) == [(Offer.KNOWN, JobState.DEAD)]


def test_only_the_death_that_is_named_is_let_go(bench: Bench) -> None:
    back = dead_job(bench, archived=False)
    at = int(bench.record(str(back.job_id))["died_at"])
    for other in (at - 1, at + 1):
        assert bench.scripts.run("archived", bench.keys, 60_000, "", "", str(back.job_id), other) == [0, 0]
    for gone in (1, 0):
        assert bench.scripts.run("archived", bench.keys, 60_000, "", "", str(back.job_id), at) == [gone, 0]
    assert bench.counts() == {"accepted": 1, "archived": 1}
