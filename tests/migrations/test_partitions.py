"""The functions that make the partitions of `submissions`."""

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime

import psycopg
import pytest
from psycopg import errors

Connect = Callable[[], psycopg.Connection]

COPY = """
    COPY penstock.submissions (submitted_at, received_at, submission_id, form_key, batch_id, form_id, answers)
    FROM STDIN
"""


def today() -> date:
    return datetime.now(UTC).date()


def month_from_now(months: int) -> date:
    """The first day of the month that lies so many months ahead."""
    years, month = divmod(today().month - 1 + months, 12)
    return date(today().year + years, month + 1, 1)


def name_of(month: date) -> str:
    return f"submissions_y{month:%Y}m{month:%m}"


def make(connection: psycopg.Connection, month: date | str | None) -> bool:
    row = connection.execute("SELECT penstock.ensure_submissions_partition(%s)", (month,)).fetchone()
    assert row is not None
    return bool(row[0])


def insert(connection: psycopg.Connection, *instants: str) -> None:
    with connection.cursor() as cursor, cursor.copy(COPY.encode()) as copy:
        for number, instant in enumerate(instants):
            submission_id = f"00000000-0000-0000-0000-{number:012d}"
            copy.write_row((instant, instant, submission_id, 1, "b", "f", "{}"))


def places(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """In which partition each row is, and its instant in UTC."""
    return connection.execute(
        "SELECT tableoid::regclass::text, to_char(submitted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
        " FROM penstock.submissions ORDER BY submitted_at"
    ).fetchall()


def partitions(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE inhparent = 'penstock.submissions'::regclass"
    )
    return {str(name) for (name,) in rows}


def test_up_makes_the_month_before_this_one_and_three_more(scratch: psycopg.Connection) -> None:
    assert partitions(scratch) == {name_of(month_from_now(months)) for months in range(-1, 4)} | {"submissions_default"}


def test_the_months_ahead_are_counted_and_made_once(scratch: psycopg.Connection) -> None:
    for expected in (10, 0):
        assert scratch.execute("SELECT penstock.ensure_submissions_partitions(13)").fetchone() == (expected,)
    assert name_of(month_from_now(13)) in partitions(scratch)


@pytest.mark.parametrize("months_ahead", [None, -1, 14])
def test_impossible_months_ahead_are_refused(scratch: psycopg.Connection, months_ahead: int | None) -> None:
    with pytest.raises(errors.InvalidParameterValue):
        scratch.execute("SELECT penstock.ensure_submissions_partitions(%s)", (months_ahead,))


def test_a_partition_is_made_once_whatever_the_day(scratch: psycopg.Connection) -> None:
    assert make(scratch, date(1970, 1, 31)) is True
    assert make(scratch, date(1970, 1, 1)) is False
    assert "submissions_y1970m01" in partitions(scratch)


@pytest.mark.parametrize(
    "month", [None, "1969-12-31", "infinity", "-infinity", pytest.param(month_from_now(14), id="14 months ahead")]
)
def test_an_impossible_month_is_refused(scratch: psycopg.Connection, month: date | str | None) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="between 1970-01 and 13 months ahead"):
        make(scratch, month)


def test_thirteen_months_ahead_is_possible(scratch: psycopg.Connection) -> None:
    assert make(scratch, month_from_now(13)) is True


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_months_are_those_of_utc_in_every_session(scratch: psycopg.Connection, zone: str) -> None:
    scratch.execute("SELECT set_config('timezone', %s, false), set_config('datestyle', 'SQL, DMY', false)", (zone,))
    make(scratch, date(2020, 2, 15))
    make(scratch, date(2020, 3, 15))
    insert(scratch, "2020-02-01 00:00:00Z", "2020-02-29 23:59:59Z", "2020-03-01 00:00:00Z", "2020-01-31 23:59:59Z")
    assert places(scratch) == [
        ("penstock.submissions_default", "2020-01-31 23:59:59"),
        ("penstock.submissions_y2020m02", "2020-02-01 00:00:00"),
        ("penstock.submissions_y2020m02", "2020-02-29 23:59:59"),
        ("penstock.submissions_y2020m03", "2020-03-01 00:00:00"),
    ]


def test_rows_of_the_month_leave_the_default_partition(scratch: psycopg.Connection) -> None:
    insert(scratch, "2020-01-31 23:59:59Z", "2020-02-01 00:00:00Z", "2020-02-29 12:00:00Z", "2020-03-01 00:00:00Z")
    assert {place for place, _ in places(scratch)} == {"penstock.submissions_default"}
    assert make(scratch, date(2020, 2, 1)) is True
    assert [place for place, _ in places(scratch)] == [
        "penstock.submissions_default",
        "penstock.submissions_y2020m02",
        "penstock.submissions_y2020m02",
        "penstock.submissions_default",
    ]


def test_a_partition_has_all_that_its_parent_has_and_no_check(scratch: psycopg.Connection) -> None:
    make(scratch, date(2020, 2, 1))
    assert scratch.execute("""
        SELECT count(*), count(*) FILTER (WHERE i.indisvalid AND inhparent IS NOT NULL)
          FROM pg_index i LEFT JOIN pg_inherits ON inhrelid = indexrelid
         WHERE indrelid = 'penstock.submissions_y2020m02'::regclass""").fetchone() == (2, 2)
    checks = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'penstock.submissions_y2020m02'::regclass"
    assert scratch.execute(f"{checks} AND contype = 'c'".encode()).fetchone() == (0,)


def test_writers_of_other_months_and_the_maker_do_not_notice_each_other(
    database: psycopg.Connection, connect: Connect
) -> None:
    before, during, maker = connect(), connect(), connect()
    make(database, date(2020, 1, 1))
    insert(before, "2020-01-01 00:00:00Z")
    assert make(maker, date(2020, 2, 1)) is True
    # The maker has not committed: a writer who comes now must not wait either.
    during.execute("SET lock_timeout = '1s'")
    insert(during, "2020-01-02 00:00:00Z", "2020-01-03 00:00:00Z")
    for connection in (during, maker, before):
        connection.commit()
    assert len(places(database)) == 3


def test_rows_in_the_default_partition_that_are_not_committed_are_waited_for_and_then_told(
    database: psycopg.Connection, connect: Connect
) -> None:
    writer = connect()
    insert(writer, "2020-02-01 00:00:00Z")
    with pytest.raises(errors.LockNotAvailable):
        make(database, date(2020, 2, 1))
    assert name_of(date(2020, 2, 1)) not in partitions(database)
    writer.commit()
    assert make(database, date(2020, 2, 1)) is True
    assert [place for place, _ in places(database)] == ["penstock.submissions_y2020m02"]


def test_the_callers_lock_timeout_stays(scratch: psycopg.Connection) -> None:
    scratch.execute("SET lock_timeout = '7s'")
    make(scratch, date(2020, 2, 1))
    assert scratch.execute("SHOW lock_timeout").fetchone() == ("7s",)


def test_of_callers_at_once_one_makes_it(database: psycopg.Connection, connect: Connect) -> None:
    connections = [connect() for _ in range(4)]
    made: list[bool] = []

    def call(connection: psycopg.Connection) -> None:
        made.append(make(connection, date(2020, 2, 1)))
        connection.commit()

    threads = [threading.Thread(target=call, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(made) == [False, False, False, True]


def test_a_caller_whose_snapshot_is_older_than_the_partition_finds_it(
    database: psycopg.Connection, connect: Connect
) -> None:
    caller = connect()
    caller.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    caller.execute("SELECT FROM penstock.forms")
    assert make(database, date(2020, 2, 1)) is True
    assert make(caller, date(2020, 2, 1)) is False


def test_a_detached_month_stays_detached(scratch: psycopg.Connection) -> None:
    make(scratch, date(2020, 2, 1))
    scratch.execute("ALTER TABLE penstock.submissions DETACH PARTITION penstock.submissions_y2020m02")
    warnings: list[str | None] = []
    scratch.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    assert make(scratch, date(2020, 2, 1)) is False
    assert warnings == ["penstock.submissions_y2020m02 exists and is no partition of penstock.submissions"]


def test_nobodys_search_path_gets_in_the_way(scratch: psycopg.Connection) -> None:
    scratch.execute("CREATE SCHEMA evil")
    scratch.execute("CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS $$ SELECT 1/0 $$")
    scratch.execute("SET search_path = evil, pg_catalog")
    assert make(scratch, date(2020, 2, 1)) is True


def test_a_read_of_one_form_uses_the_index_of_each_partition(scratch: psycopg.Connection) -> None:
    scratch.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    rows = scratch.execute(
        "EXPLAIN SELECT * FROM penstock.submissions WHERE form_id = 'f' ORDER BY submitted_at DESC LIMIT 10"
    ).fetchall()
    plan = [line for (line,) in rows]
    assert sum("Index Scan using" in line for line in plan) == len(partitions(scratch))
    assert not any("->  Sort" in line for line in plan)
