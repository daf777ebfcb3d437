"""The arithmetic of docs/capacity.md, by hand; that the page is current is seen by test_golden with the other pages."""

import re
from dataclasses import replace

import pytest

from docs.capacity import PAGE, Figures, Load, Plan, duration, main, number, size, tables

#: Round ones.
FIGURES = Figures(
    json_bytes_a_row=100,
    table_bytes_a_row=200,
    index_bytes_a_row=50,
    wal_bytes_a_row=300,
    redis_bytes_a_done_batch=1_000,
    ledger_bytes_a_batch=500,
    worker_ms_a_row=0.01,
    postgresql_ms_a_row=0.02,
    redis_ms_a_batch=1,
    gateway_rows_a_second=10_000,
)
#: 10,000 rows a second on average, 30,000 at the peak.
LOAD = Load(rows_a_day=864_000_000, peak_factor=3, busy_share=0.5, compression=10, retention_days=10)


@pytest.fixture
def plan() -> Plan:
    return Plan(LOAD, FIGURES)


def test_rates_and_processor(plan: Plan) -> None:
    assert (plan.rows_a_second, plan.peak_rows_a_second, plan.peak_batches_a_second) == (10_000, 30_000, 30)
    # 30,000 rows of 0.01 ms are 0.3 s of work in each second, on cores that are to be half idle.
    assert plan.worker_cores == pytest.approx(0.6)
    assert plan.postgresql_cores == pytest.approx(1.2)
    assert plan.redis_core_share == pytest.approx(0.03)
    assert (plan.worker_pods, plan.worker_connections) == (2, 16)
    assert plan.gateway_processes == 6


def test_processes_are_never_fewer_than_two() -> None:
    small = Plan(replace(LOAD, rows_a_day=1_000), FIGURES)
    assert (small.worker_pods, small.gateway_processes, small.servers) == (2, 2, 1)


def test_disk_and_log(plan: Plan) -> None:
    assert plan.disk_bytes_a_day == pytest.approx(864e6 * 250 + 864e3 * 500)
    assert plan.disk_bytes == pytest.approx(10 * plan.disk_bytes_a_day)
    assert plan.wal_bytes_a_day == pytest.approx(864e6 * 300)
    assert plan.peak_wal_mb_a_second == pytest.approx(9)
    assert plan.month_index_bytes == pytest.approx(864e6 * 30.4 * 50)


def test_the_tightest_limit_says_how_many_servers(plan: Plan) -> None:
    # 1.313 TB of indexes, 128 GB for them in each server.
    assert plan.servers_by_reason() == {"disk": 1, "WAL": 1, "index in memory": 11}
    assert plan.servers == 11
    assert Plan(replace(LOAD, random_ids=False, server_disk_tb=1), FIGURES).servers == 3
    assert Plan(replace(LOAD, random_ids=False, server_wal_mb_a_second=2), FIGURES).servers == 5


def test_what_redis_holds(plan: Plan) -> None:
    assert plan.message_bytes_a_batch == pytest.approx(10_000)
    assert plan.redis_bytes_a_waiting_batch == pytest.approx(11_000)
    assert plan.redis_done_bytes == pytest.approx(864_000 * 7 * 1_000)
    for peak, batches_an_hour in ((False, 36_000), (True, 108_000)):
        hours = plan.held_hours(16, peak=peak)
        assert hours * batches_an_hour * 11_000 + plan.redis_done_bytes == pytest.approx(16e9 * 0.9)
    assert plan.held_hours(4) == 0, "what is known of finished batches takes all of it"


def test_catching_up(plan: Plan) -> None:
    # Two half cores, half idle, store 50,000 rows a second; 10,000 come in.
    assert plan.catch_up_minutes == pytest.approx(10_000 * 3_600 / 40_000 / 60)


def test_the_network(plan: Plan) -> None:
    assert plan.network_mbit_a_second == pytest.approx(24)
    assert plan.redis_network_mbit_a_second == pytest.approx(4.8)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (number(0.0123), "0.012"),
        (number(9.87), "9.9"),
        (number(34_722.2), "34,722"),
        (size(999), "999 B"),
        (size(66_000), "66 kB"),
        (size(2.24e12), "2.2 TB"),
        (duration(0.5), "30 min"),
        (duration(4.51), "4.5 h"),
        (duration(48), "2 days"),
    ],
)
def test_figures_are_rounded_as_a_person_says_them(told: str, expected: str) -> None:
    assert told == expected


def test_a_load_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rows-a-day", "864e6", "--peak-factor", "2", "--redis-memory-gb", "32"])
    told = capsys.readouterr().out
    assert "| rows a second at the peak | 20,000 |" in told
    assert "| 32 GB |" in told
    main(["--rows-a-day", "864e6", "--ordered-ids"])
    assert "index in memory 1)" in capsys.readouterr().out


def test_the_page_has_a_place_for_each_table_and_its_prose_says_what_they_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- end of (\w+) -->", page)) == set(tables())
    figures = Figures.measured()
    ends_at = re.search(r"that is about (\d+) million rows a day for one server", " ".join(page.split()))
    assert ends_at is not None
    millions = int(ends_at[1])
    below = Plan(Load(rows_a_day=0.85 * millions * 1e6), figures).servers_by_reason()["index in memory"]
    above = Plan(Load(rows_a_day=1.15 * millions * 1e6), figures).servers_by_reason()["index in memory"]
    assert (below, above) == (1, 2)
    # "about a core together"
    largest = Plan(Load(), figures)
    assert 0.4 < largest.worker_cores + largest.postgresql_cores < 1.6
