"""Instants of submissions: what RFC 3339 text means, how far it may lie, and which partition it chooses."""

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest

from penstock.schemas.errors import Code
from penstock.workers.submissions.instants import month_of, months_of, parse_instant, unix_microseconds, within_bounds
from tests.workers.batches import Batches

ACCEPTED = {
    "the epoch": ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    "lower case": ("2026-01-02t03:04:05z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    "a space": ("2026-01-02 03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    "an offset": ("2026-01-02T03:04:05+01:30", datetime(2026, 1, 2, 1, 34, 5, tzinfo=UTC)),
    "the largest offset": ("2026-01-02T03:04:05+23:59", datetime(2026, 1, 1, 3, 5, 5, tzinfo=UTC)),
    "the smallest offset": ("2026-01-02T03:04:05-23:59", datetime(2026, 1, 3, 3, 3, 5, tzinfo=UTC)),
    "an unknown offset": ("2026-01-02T03:04:05-00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    "one digit": ("2026-01-02T03:04:05.5Z", datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
    "four digits": ("2026-01-02T03:04:05.0625Z", datetime(2026, 1, 2, 3, 4, 5, 62_500, tzinfo=UTC)),
    "six digits": ("2026-01-02T03:04:05.000001Z", datetime(2026, 1, 2, 3, 4, 5, 1, tzinfo=UTC)),
    "finer digits are cut": ("2026-01-02T03:04:05.0000019999Z", datetime(2026, 1, 2, 3, 4, 5, 1, tzinfo=UTC)),
    "a leap day": ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
    "before the epoch": ("1969-12-31T23:59:59Z", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    "the last instant of all": ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
}

REFUSED = {
    "a leap second": "2016-12-31T23:59:60Z",
    "24:00": "2026-01-02T24:00:00Z",
    "minute 60": "2026-01-02T03:60:00Z",
    "month 13": "2026-13-02T03:04:05Z",
    "a day that is not": "2026-02-29T03:04:05Z",
    "year 0000": "0000-01-01T00:00:00Z",
    "a fifth digit of the year": "12026-01-02T03:04:05Z",
    "no offset": "2026-01-02T03:04:05",
    "an offset of a day": "2026-01-02T03:04:05+24:00",
    "an offset with 60 minutes": "2026-01-02T03:04:05+01:60",
    "an offset with 99 minutes": "2026-01-02T03:04:05-01:99",
    "an offset without a colon": "2026-01-02T03:04:05+0100",
    "an offset of hours": "2026-01-02T03:04:05+01",
    "no seconds": "2026-01-02T03:04Z",
    "a comma": "2026-01-02T03:04:05,5Z",
    "a point without digits": "2026-01-02T03:04:05.Z",
    "a week": "2026-W01-1T03:04:05Z",
    "a day of the year": "2026-002T03:04:05Z",
    "the basic form": "20260102T030405Z",
    "a date": "2026-01-02",
    "a number": "1767323045",
    "a line break at the end": "2026-01-02T03:04:05Z\n",
    "white space before": " 2026-01-02T03:04:05Z",
    "other digits": "\u0662\u0660\u0662\u0666-01-02T03:04:05Z",
    "a minus sign": "2026-01-02T03:04:05\u221201:00",
    "nothing": "",
}


@pytest.mark.parametrize(("text", "instant"), ACCEPTED.values(), ids=ACCEPTED)
def test_rfc_3339_is_understood(text: str, instant: datetime) -> None:
    parsed = parse_instant(text)
    assert parsed is not None
    assert parsed == unix_microseconds(instant)


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_other_texts_are_no_instants(text: str) -> None:
    assert parse_instant(text) is None


DAY_US = 86_400_000_000
NOW_US = unix_microseconds(datetime(2026, 6, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("unix_us", "is_within"),
    [
        pytest.param(-1, False, id="a microsecond before 1970"),
        pytest.param(0, True, id="1970"),
        pytest.param(NOW_US, True, id="now"),
        pytest.param(NOW_US + DAY_US, True, id="a day ahead"),
        pytest.param(NOW_US + DAY_US + 1, False, id="a microsecond more"),
    ],
)
def test_bounds(unix_us: int, is_within: bool) -> None:
    fault = within_bounds(unix_us, NOW_US)
    assert (fault is None) is is_within
    assert is_within or (fault and fault.code) is Code.SUBMISSION_TIME_RANGE


@pytest.mark.parametrize(
    ("text", "month"),
    [
        pytest.param("2026-01-31T23:59:59.999999Z", date(2026, 1, 1), id="the end of a month"),
        pytest.param("2026-02-01T00:00:00Z", date(2026, 2, 1), id="the begin of the next"),
        pytest.param("2026-02-01T00:30:00+01:00", date(2026, 1, 1), id="a month ends in UTC"),
        pytest.param("2025-12-31T23:30:00-01:00", date(2026, 1, 1), id="a year begins in UTC"),
        pytest.param("1969-12-31T23:59:59.999999Z", date(1969, 12, 1), id="before 1970"),
    ],
)
def test_months(text: str, month: date) -> None:
    unix_us = parse_instant(text)
    assert unix_us is not None
    assert month_of(unix_us) == month
    assert months_of([unix_us, unix_us]) == {month}


def row(submitted_at: str, **members: str) -> bytes:
    head = "".join(f'"{name}":"{value}",' for name, value in members.items())
    return f'{{{head}"submitted_at":"{submitted_at}","answers":{{"name":"a"}}}}'.encode()


def test_rows_go_to_the_partition_of_their_month_which_is_made_on_demand(batches: Batches) -> None:
    sent = {
        "1970-01-01T00:00:00Z": "submissions_y1970m01",
        "1999-12-31T23:59:59.999999Z": "submissions_y1999m12",
        "2000-01-01T00:30:00+01:00": "submissions_y1999m12",
        "2000-01-01T00:00:00Z": "submissions_y2000m01",
    }
    assert batches.counts([row(instant) for instant in sent]) == (4, 0, 0)
    found = batches.database.query(
        "SELECT submitted_at, tableoid::regclass::text FROM penstock.submissions ORDER BY submitted_at"
    )
    expected = sorted((datetime.fromisoformat(instant), f"penstock.{table}") for instant, table in sent.items())
    assert found == expected


def test_instants_around_the_bounds_are_judged_one_by_one(batches: Batches) -> None:
    ahead = batches.enqueued_at + timedelta(days=1)
    rows = [
        row("1969-12-31T23:59:59Z"),
        row("1970-01-01T00:00:00Z"),
        row(ahead.isoformat()),
        row((ahead + timedelta(microseconds=1)).isoformat()),
    ]
    assert batches.counts(rows) == (2, 2, 0)
    assert {place: faults for place, (_, faults) in batches.rejections().items()} == {
        0: [(None, "SUBMISSION_TIME_RANGE")],
        3: [(None, "SUBMISSION_TIME_RANGE")],
    }


def uuid7(instant: datetime) -> uuid.UUID:
    """RFC 9562 §5.7, with no random bits."""
    return uuid.UUID(int=unix_microseconds(instant) // 1_000 << 80 | 7 << 76 | 2 << 62)


@pytest.mark.parametrize(
    "submitted_at", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59Z"]
)
def test_instants_at_the_ends_of_the_calendar_are_out_of_bounds(batches: Batches, submitted_at: str) -> None:
    assert batches.counts([row(submitted_at)]) == (0, 1, 0)
    assert batches.rejections()[0][1] == [(None, "SUBMISSION_TIME_RANGE")]


def test_a_uuid7_brings_its_instant(batches: Batches) -> None:
    instant = datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
    value = uuid7(instant)
    assert batches.counts([b'{"id":"%s","answers":{"name":"a"}}' % str(value).encode()]) == (1, 0, 0)
    assert batches.database.query("SELECT submission_id, submitted_at, external_id FROM penstock.submissions") == [
        (value, instant, None)
    ]


def test_submitted_at_counts_before_the_instant_of_a_uuid7(batches: Batches) -> None:
    value = uuid7(datetime(2026, 3, 4, tzinfo=UTC))
    assert batches.counts([row("2026-01-02T03:04:05Z", id=str(value))]) == (1, 0, 0)
    assert batches.database.query("SELECT submission_id, submitted_at FROM penstock.submissions") == [
        (value, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    ]


def test_a_uuid7_of_a_year_far_ahead_is_refused(batches: Batches) -> None:
    value = uuid.UUID(int=(1 << 48) - 1 << 80 | 7 << 76 | 2 << 62)
    assert batches.counts([b'{"id":"%s","answers":{"name":"a"}}' % str(value).encode()]) == (0, 1, 0)
    assert batches.rejections()[0][1] == [(None, "SUBMISSION_TIME_RANGE")]


def test_rows_without_instant_have_the_batches(batches: Batches) -> None:
    assert batches.counts([b'{"answers":{"name":"a"}}']) == (1, 0, 0)
    assert batches.database.query("SELECT submitted_at, received_at FROM penstock.submissions") == [
        (batches.enqueued_at, batches.enqueued_at)
    ]


@pytest.mark.parametrize("enqueued_at", [datetime(1969, 12, 31, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)])
def test_a_producer_without_a_clock_lives_in_1970(batches: Batches, enqueued_at: datetime) -> None:
    batches.enqueued_at = enqueued_at
    assert batches.counts([b'{"answers":{"name":"a"}}', row("1970-01-02T00:00:00Z")]) == (2, 0, 0)
    assert batches.database.value("SELECT min(received_at) FROM penstock.submissions") == datetime(
        1970, 1, 1, tzinfo=UTC
    )
