"""What a lease brings is parted among the threads, unless the parts would not be worth a transaction each."""

import pytest

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
