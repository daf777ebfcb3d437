"""What a lease brings is parted among the threads, unless the parts would not be worth a transaction each."""

import pytest
from msgspec import structs

from penstock.workers.broker.leases import LeasedJob
from penstock.workers.broker.pace import Pace
from tests.workers.broker.test_pace import opened, pace_of


@pytest.mark.parametrize(
    ("milliseconds", "jobs", "room", "share"),
    [
        pytest.param(0.03, 512, 8, 166, id="very quick ones: what takes 5 ms"),
        pytest.param(0.03, 100, 8, 166, id="and if there were more, more"),
        pytest.param(0.1, 512, 8, 64, id="quick ones: each thread has enough"),
        pytest.param(0.1, 80, 8, 50, id="few quick ones: two threads have enough"),
        pytest.param(5, 16, 8, 2, id="one is worth it: all threads have some"),
        pytest.param(200, 8, 8, 1, id="long ones"),
        pytest.param(200, 9, 4, 3, id="long ones, rounded up"),
    ],
)
def test_a_share_is_worth_a_transaction(milliseconds: float, jobs: int, room: int, share: int) -> None:
    assert pace_of(milliseconds, group=500).share([opened()] * jobs, room) == share


def test_while_nothing_is_known_all_threads_have_some() -> None:
    assert Pace(8, 500).share([opened()] * 20, 8) == 3


def test_a_stream_of_quick_jobs_is_gathered_for_a_moment() -> None:
    pace = pace_of(0.1, group=500)
    assert pace.gathering_seconds() == 0, "nobody said that all were taken"
    pace.leased([opened().leased], 500, took_all=True)
    assert pace.gathering_seconds() == 0.005


def test_nothing_is_waited_for_where_it_would_gain_nothing() -> None:
    unknown = Pace(8, 500)
    unknown.leased([opened().leased], 500, took_all=True)
    assert unknown.gathering_seconds() == 0, "nothing is known of the kind"
    single = pace_of(0.1, group=1)
    single.leased([opened().leased], 1, took_all=True)
    assert single.gathering_seconds() == 0, "jobs of the kind don't share"
    slow = pace_of(31, group=500)
    slow.leased([opened().leased], 500, took_all=True)
    assert slow.gathering_seconds() == 0, "they take so long that the rest matters little"
    backlog = pace_of(0.1, group=500)
    backlog.leased([opened().leased] * 500, 500, took_all=False)
    assert backlog.gathering_seconds() == 0, "there is enough to share with"


@pytest.mark.parametrize(
    ("milliseconds", "threads", "group", "deliveries", "enough"),
    [
        pytest.param(0.5, 4, 1, 52, 28, id="very quick single ones: many, and leased by the dozen"),
        pytest.param(5, 4, 1, 8, 6, id="quick single ones: half of what may wait does"),
        pytest.param(0.1, 4, 8, 8, 6, id="groups"),
        pytest.param(200, 4, 1, 4, 4, id="long ones: as soon as a thread is free"),
        pytest.param(200, 1, 8, 1, 1, id="long ones, one thread"),
    ],
)
def test_leases_are_made_when_half_of_what_may_wait_is_gone(
    milliseconds: float, threads: int, group: int, deliveries: int, enough: int
) -> None:
    pace = pace_of(milliseconds, threads=threads, group=group)
    assert (pace.deliveries(), pace.enough()) == (deliveries, enough)
    assert pace.enough() >= threads, "no thread is idle while it waits"


def run_of(pace: Pace, jobs: int, milliseconds: float, times: int = 1) -> None:
    for _ in range(times):
        pace.ran([opened()] * jobs, milliseconds / 1000)


def test_what_a_transaction_takes_is_told_from_what_jobs_take() -> None:
    """Otherwise small groups of quick jobs would pass for slow jobs, and be parted into smaller ones yet."""
    alike, different = Pace(8, 500), Pace(8, 500)
    for pace in (alike, different):
        pace.leased([opened().leased], 500)
    run_of(alike, 10, 3, times=12)
    for jobs in (5, 10, 15) * 4:
        run_of(different, jobs, 2 + jobs / 10)
    assert alike.share([opened()] * 100, 8) == 16, "0.3 ms each, for all that is known"
    assert different.share([opened()] * 100, 8) == 49, "0.1 ms each"
    assert different.jobs(1) > 2 * alike.jobs(1)


def test_of_what_a_delivery_takes_little_passes_for_its_own() -> None:
    """What is held ahead hangs on it: jobs that took long by chance where they were few are no quick ones."""
    pace = Pace(8, 500)
    pace.leased([opened().leased], 500)
    for jobs in (1, 2, 3) * 4:
        run_of(pace, jobs, 600 / jobs)
    assert pace.jobs(1) == 2
    assert pace.deliveries() == 4


def test_a_job_that_is_much_larger_than_those_before_is_not_held_for_quick() -> None:
    pace = Pace(8, 500)
    pace.leased([opened().leased], 500)
    for jobs in (5, 10, 15) * 4:
        run_of(pace, jobs, 4.5 + jobs / 100)
    assert [len(group) for group in pace.cut([opened(size=200)] * 40, 500)] == [40]
    assert max(len(group) for group in pace.cut([opened(size=20_000)] * 40, 500)) == 2


def aged(milliseconds: int) -> LeasedJob:
    return structs.replace(opened().leased, leased_at=milliseconds)


def test_all_workers_together_lease_a_stream_every_five_milliseconds() -> None:
    pace = pace_of(0.1, group=500)
    pace.leased([aged(3)] * 9, 500, took_all=True)
    assert pace.gathering_seconds() == 0.005
    for _ in range(20):
        pace.leased([aged(3)] * 9, 500, took_all=True)
    assert pace.gathering_seconds() == 0.02, "others lease before the jobs are old"
    pace.leased([aged(3)] * 8 + [aged(6)], 500, took_all=True)
    assert pace.gathering_seconds() == 0.01, "the others don't keep up"
    pace.leased([aged(5)] * 9, 500, took_all=True)
    assert pace.gathering_seconds() == 0.01, "just right"
    for _ in range(5):
        pace.leased([aged(60)], 500, took_all=True)
    assert pace.gathering_seconds() == 0.005


def test_where_transactions_take_long_a_stream_is_gathered_for_longer() -> None:
    pace = Pace(8, 500)
    pace.leased([opened().leased], 500)
    for jobs in (5, 10, 15) * 4:
        run_of(pace, jobs, 4 + jobs / 10)
    pace.leased([opened().leased], 500, took_all=True)
    assert pace.gathering_seconds() == pytest.approx(0.008)
    for jobs in (5, 10, 15) * 4:
        run_of(pace, jobs, 20 + jobs / 10)
    assert pace.gathering_seconds() == pytest.approx(0.010), "at the most"


def test_that_no_job_is_old_says_nothing_where_few_come_or_none_was_waited_for() -> None:
    pace = pace_of(0.1, group=500)
    for _ in range(5):
        pace.leased([aged(0)] * 3, 500, took_all=True)
    assert pace.gathering_seconds() == 0.005
    pace = pace_of(0.1, group=500)
    for _ in range(5):
        pace.leased([aged(0)] * 9, 500, took_all=False)
    pace.leased([aged(0)] * 9, 500, took_all=True)
    assert pace.gathering_seconds() == 0.005


def test_after_a_lease_of_nothing_a_stream_is_gathered_as_shortly_as_at_first() -> None:
    pace = pace_of(0.1, group=500)
    for _ in range(20):
        pace.leased([aged(3)] * 9, 500, took_all=True)
    assert pace.gathering_seconds() > 0.005
    pace.found_nothing()
    assert pace.gathering_seconds() == 0.005


@pytest.mark.parametrize(
    ("milliseconds", "group", "least"),
    [
        pytest.param(0.1, 500, 50, id="quick ones: what takes 5 ms"),
        pytest.param(0.001, 500, 500, id="very quick ones: a group"),
        pytest.param(200, 500, 1, id="long ones"),
        pytest.param(0.1, 1, 1, id="single ones"),
    ],
)
def test_what_is_less_than_a_commit_is_worth_is_not_parted_among_workers(
    milliseconds: float, group: int, least: int
) -> None:
    assert pace_of(milliseconds, group=group).least() == least


def test_while_nothing_is_known_all_workers_have_some() -> None:
    assert Pace(8, 500).least() == 1
