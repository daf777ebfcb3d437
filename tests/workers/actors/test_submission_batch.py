"""Deliveries: several batches in one transaction, each with its own outcome, and many transactions at a time."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.job import Dead, Done, Job, Outcome
from penstock.workers.submissions import store
from tests.workers.batches import GOOD, Batches

OUTCOMES = ("stored", "rejected", "duplicate")


def row(row_id: str) -> bytes:
    return f'{{"id":"{row_id}","submitted_at":"2026-01-02T03:04:05Z","answers":{{"name":"a"}}}}'.encode()


def told(outcomes: Sequence[Outcome]) -> list[object]:
    """What each outcome comes to: a code, `repeated`, or stored, rejected and duplicates."""
    found: list[object] = []
    for outcome in outcomes:
        if isinstance(outcome, Dead):
            found.append(outcome.code)
        else:
            assert isinstance(outcome, Done)
            found.append("repeated" if outcome.repeated else tuple(outcome.counts.values()))
    return found


def test_outcomes_are_in_the_order_of_the_jobs_and_a_dead_one_spares_the_others(batches: Batches) -> None:
    batches.write([GOOD], "known")
    jobs = [
        batches.job([GOOD], "z"),
        batches.job([GOOD, GOOD], "known"),
        batches.job([GOOD], "a", form_id="nothing"),
        batches.raw_job(b"\xff"),
        batches.job([GOOD, b"NaN"], "m"),
        batches.job([GOOD], "known"),
        batches.job([], "empty"),
        batches.job([GOOD], "replay", replays="nothing"),
        batches.job([GOOD], "a", tenant="other"),
    ]
    assert told(batches.run(*jobs)) == [
        (1, 0, 0),
        Code.BATCH_CONFLICT,
        Code.FORM_NOT_FOUND,
        Code.JOB_PAYLOAD_INVALID,
        (1, 1, 0),
        "repeated",
        Code.BATCH_EMPTY,
        Code.BATCH_NOT_FOUND,
        (1, 0, 0),
    ]
    assert batches.rows_written() == (4, 4, 1, 4)


def test_jobs_of_one_delivery_share_one_transaction(batches: Batches) -> None:
    batches.run(*(batches.job([GOOD, b"5"], f"b{number}") for number in range(5)))
    # It is now(), which is when the transaction began.
    count = "SELECT count(DISTINCT committed_at) FROM penstock.submission_batches"
    assert batches.database.value(count) == 1
    assert batches.rows_written() == (5, 5, 5, 5)


def test_new_batches_of_one_delivery_share_one_copy(batches: Batches, copies: list[list[str]]) -> None:
    outcomes = batches.run(batches.job([GOOD, b"5"], "y"), batches.job([b"5"], "z"), batches.job([row("x")], "x"))
    assert told(outcomes) == [(1, 1, 0), (0, 1, 0), (1, 0, 0)]
    assert copies == [["x", "y", "z"]]
    by_batch = "SELECT batch_id, count(*) FROM penstock.submissions GROUP BY 1 ORDER BY 1"
    assert batches.database.query(by_batch) == [("x", 1), ("y", 1)]
    assert batches.rows_written() == (2, 3, 2, 3)


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        pytest.param({"batch_id": "known"}, "repeated", id="repeated"),
        pytest.param({"batch_id": "other", "rows": [row("known")]}, (0, 0, 1), id="a row that is stored"),
        pytest.param({"batch_id": "c", "base_batch_id": "known", "batch_size": 5}, Code.BATCH_CONFLICT, id="conflict"),
        pytest.param({"batch_id": "c", "replays": "known", "rows": []}, Code.BATCH_EMPTY, id="nothing to replay"),
    ],
)
def test_one_that_is_not_new_has_each_written_by_itself(
    batches: Batches, odd: dict[str, Any], expected: object
) -> None:
    batches.write([row("known")], "known")
    outcomes = batches.run(
        batches.job([GOOD], "a"),
        batches.job(**({"rows": [row("known")]} | odd)),
        batches.job([GOOD, b"5"], "z"),
    )
    assert told(outcomes) == [(1, 0, 0), expected, (1, 1, 0)]
    assert batches.rows_written()[0] == 3


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        pytest.param([GOOD], "repeated", id="the same rows"),
        pytest.param([GOOD, GOOD], Code.BATCH_CONFLICT, id="other rows"),
    ],
)
def test_one_batch_id_twice_in_one_delivery(batches: Batches, second: list[bytes], expected: object) -> None:
    outcomes = batches.run(batches.job([GOOD]), batches.job(second), batches.job([GOOD], "a"))
    assert told(outcomes) == [(1, 0, 0), expected, (1, 0, 0)]
    assert batches.rows_written() == (2, 2, 0, 2)


def test_a_batch_that_came_under_two_job_ids_is_found_by_both(batches: Batches) -> None:
    first, again = batches.job([GOOD]), batches.job([GOOD])
    for job, expected in ((first, (1, 0, 0)), (again, "repeated"), (again, "repeated"), (first, "repeated")):
        assert told(batches.run(job)) == [expected]
    effects = [found for (found,) in batches.database.query("SELECT job_id FROM penstock.effects")]
    assert sorted(effects) == sorted([first.job_id, again.job_id])


def test_batches_of_one_delivery_that_share_rows(batches: Batches) -> None:
    outcomes = batches.run(batches.job([row("x"), row("y")], "c"), batches.job([row("y"), row("z")], "b"))
    assert sorted(map(str, told(outcomes))) == ["(1, 0, 1)", "(2, 0, 0)"]
    assert batches.rows_written()[0] == 3


def at_once(*calls: Callable[[], Sequence[Outcome]]) -> list[Sequence[Outcome]]:
    """Call each in a thread of its own, all at the same time."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Sequence[Outcome]]) -> Sequence[Outcome]:
        start.wait(60)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def running(batches: Batches, *jobs: Job) -> Callable[[], Sequence[Outcome]]:
    return lambda: batches.run(*jobs)


def test_the_same_batch_at_the_same_time_is_written_once(batches: Batches) -> None:
    for number in range(15):
        job = batches.job([GOOD, row(f"x{number}"), b"NaN"], f"b{number}")
        ended = [told(outcomes)[0] for outcomes in at_once(running(batches, job), running(batches, job))]
        assert sorted(map(str, ended)) == ["(2, 1, 0)", "repeated"]
    assert batches.rows_written() == (30, 15, 15, 15)


def test_the_second_waits_for_the_first_and_writes_where_that_fails(batches: Batches) -> None:
    job = batches.job([GOOD])
    with psycopg.connect(batches.database.admin_url) as first:
        first.execute(
            "INSERT INTO penstock.submission_batches (tenant, batch_id, form_key, form_id, form_version, base_batch_id,"
            " first_position, digest, stored, rejected, duplicates, job_id, received_at)"
            " VALUES ('default', 'b', 1, 'visitors', 1, 'b', 0, '', 0, 0, 0, gen_random_uuid(), now())"
        )
        with ThreadPoolExecutor(1) as threads:
            second = threads.submit(batches.run, job)
            wait_until_blocked(batches)
            assert not second.done()
            first.rollback()
            assert told(second.result(30)) == [(1, 0, 0)]


def wait_until_blocked(batches: Batches) -> None:
    """Until a session of this database waits for another's lock."""
    ended = threading.Event()
    for _ in range(1_000):
        if batches.database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            return
        ended.wait(0.01)
    raise AssertionError("nobody waits for a lock")


def test_the_same_rows_in_opposite_order_are_stored_once(batches: Batches) -> None:
    for number in range(15):
        rows = [row(f"{number}-{place}") for place in range(30)]
        mine, theirs = batches.job(rows, f"a{number}"), batches.job(rows[::-1], f"b{number}")
        ended = [told(outcomes)[0] for outcomes in at_once(running(batches, mine), running(batches, theirs))]
        assert sorted(map(str, ended)) == ["(0, 0, 30)", "(30, 0, 0)"]
    assert batches.rows_written()[0] == 15 * 30


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The batches of each COPY that was tried, in order."""
    tried: list[list[str]] = []
    copy = store.copy_rows

    def noting(connection: psycopg.Connection, parts: Sequence[tuple[store.PreparedBatch, Any]]) -> None:
        tried.append([batch.batch_id for batch, _ in parts])
        copy(connection, parts)

    monkeypatch.setattr(store, "copy_rows", noting)
    return tried


def test_batches_that_share_rows_of_two_months_never_deadlock(batches: Batches, copies: list[list[str]]) -> None:
    """COPY writes all rows of one partition, then those of the next: both have to begin with the same one."""

    def of_month(month: int, name: str, count: int) -> list[bytes]:
        return [row(f"{name}-{place}").replace(b"2026-01", b"2026-%02d" % month) for place in range(count)]

    batches.write(of_month(1, "partition", 1) + of_month(2, "partition", 1), "partitions")
    copies.clear()
    for number in range(20):
        shared = of_month(1, f"s{number}", 150) + of_month(2, f"s{number}", 150)
        mine = batches.job(shared + of_month(1, f"m{number}", 100), f"a{number}")
        theirs = batches.job(of_month(2, f"t{number}", 100) + shared[::-1], f"b{number}")
        ended = [told(outcomes)[0] for outcomes in at_once(running(batches, mine), running(batches, theirs))]
        assert sorted(map(str, ended)) == ["(100, 0, 300)", "(400, 0, 0)"]
    assert len(copies) == 40


def test_deliveries_that_wait_for_each_other_are_done_in_the_end(batches: Batches) -> None:
    """Batches are in one order, their rows can't be: here PostgreSQL has to end a deadlock."""
    for number in range(3):
        x, y = [row(f"x{number}-{place}") for place in range(20)], [row(f"y{number}-{place}") for place in range(20)]
        ended = at_once(
            running(batches, batches.job(x, f"a{number}"), batches.job(y, f"b{number}")),
            running(batches, batches.job(y, f"c{number}"), batches.job(x, f"d{number}")),
        )
        counts = [outcome.counts for outcomes in ended for outcome in outcomes if isinstance(outcome, Done)]
        assert len(counts) == 4
        assert sum(count["stored"] for count in counts) == sum(count["duplicates"] for count in counts) == 40
    assert batches.rows_written()[0] == 3 * 40


def test_of_two_cuts_of_a_file_at_the_same_time_one_wins(batches: Batches) -> None:
    for number in range(10):
        rows = [GOOD] * 4
        file = f"f{number}"
        parts = [batches.job(rows[:size], f"{file}-{size}", base_batch_id=file, batch_size=size) for size in (2, 4)]
        ended = [told(outcomes)[0] for outcomes in at_once(*(running(batches, part) for part in parts))]
        assert ended in [[(2, 0, 0), Code.BATCH_CONFLICT], [Code.BATCH_CONFLICT, (4, 0, 0)]]
    written = batches.rows_written()
    assert written[1:] == (10, 0, 10)
    assert written[0] == batches.database.value("SELECT sum(stored) FROM penstock.submission_batches")


def counted() -> dict[str, float]:
    found = {
        outcome: REGISTRY.get_sample_value("penstock_submissions_total", {"outcome": outcome}) or 0.0
        for outcome in OUTCOMES
    }
    return found | {"repeated": REGISTRY.get_sample_value("penstock_batches_repeated_total") or 0.0}


def moved(before: dict[str, float]) -> dict[str, float]:
    return {name: count - before[name] for name, count in counted().items() if count != before[name]}


def test_metrics_move_by_what_was_committed(batches: Batches) -> None:
    before = counted()
    batches.write([GOOD, row("x"), row("x"), b"NaN", b"5"])
    assert moved(before) == {"stored": 2, "duplicate": 1, "rejected": 2}
    before = counted()
    batches.write([GOOD, row("x"), row("x"), b"NaN", b"5"])
    assert moved(before) == {"repeated": 1}
    before = counted()
    batches.dead([GOOD])
    assert moved(before) == {}


def test_metrics_do_not_move_where_the_commit_fails(batches: Batches) -> None:
    """A constraint trigger that is deferred speaks at COMMIT and no earlier."""
    database: Any = batches.database
    database.query(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$"
    )
    database.query(
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON penstock.submission_batches DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.refuse()"
    )
    before = counted()
    try:
        with pytest.raises(PenstockError):
            batches.write([GOOD, b"NaN"])
    finally:
        database.query("DROP FUNCTION public.refuse CASCADE")
    assert moved(before) == {}
    assert batches.rows_written() == (0, 0, 0, 0)
    assert batches.counts([GOOD, b"NaN"]) == (1, 1, 0)
    assert moved(before) == {"stored": 1, "rejected": 1}
