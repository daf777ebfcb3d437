"""Rows as they come: what is one, what is none, and that every cut of a stream gives the same rows."""

import io
import json
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.producers.gateway.cutting import BATCH_BYTES, Cutter, Lines, Part
from penstock.producers.gateway.rows import RowError, check_row, rows_of_body
from penstock.schemas.errors import Code, PenstockError
from penstock.schemas.limits import Limits
from penstock.workers.handover.files import SubmissionFile

LIMITS = Limits()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
ROWS = st.fixed_dictionaries({"answers": st.dictionaries(st.text(max_size=6), JSON, max_size=4)})

MALFORMED = {
    "truncated": b'{"answers":{"q":"x"',
    "no value": b'{"answers":}',
    "deep nesting": b'{"answers":{"q":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "huge exponent": b'{"answers":{"q":1e999999}}',
    "huge integer": b'{"answers":{"q":' + b"9" * 100_000 + b"}}",
    "equal names": b'{"answers":{"q":1,"q":2}}',
    "equal names, one escaped": b'{"answers":{"q":1,"\\u0071":2}}',
    "equal outer names": b'{"answers":{},"answers":{}}',
    "equal inner names": b'{"answers":{"q":[{"a":1,"a":2}]}}',
    "invalid UTF-8": b'{"answers":{"q":"\xff"}}',
    "overlong UTF-8": b'{"answers":{"q":"\xc0\xaf"}}',
    "a byte order mark": b'\xef\xbb\xbf{"answers":{"q":"x"}}',
    "NUL": b'{"answers":{"q":"\x00"}}',
    "NUL after it": b'{"answers":{"q":"x"}}\x00',
    "NaN": b'{"answers":{"q":NaN}}',
    "two values": b'{"answers":{}} {"answers":{}}',
    "a comment": b'{"answers":{}} // x',
    "single quotes": b"{'answers':{}}",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_json_for_every_parser_is_no_row(text: bytes) -> None:
    with pytest.raises(RowError) as refusal:
        check_row(text, LIMITS)
    assert refusal.value.code is Code.SUBMISSION_UNDECODABLE


@pytest.mark.parametrize("text", [b"[]", b"1", b'"x"', b"null"])
def test_json_that_is_no_object_is_no_row(text: bytes) -> None:
    with pytest.raises(RowError) as refusal:
        check_row(text, LIMITS)
    assert refusal.value.code is Code.SUBMISSION_INVALID


def test_a_row_that_is_too_long_is_refused() -> None:
    with pytest.raises(RowError) as refusal:
        check_row(b'{"answers":{"q":"' + b"x" * LIMITS.row_bytes + b'"}}', LIMITS)
    assert refusal.value.code is Code.SUBMISSION_TOO_LARGE


@pytest.mark.parametrize(
    "text",
    [
        b'{"answers":{"q":"a \\": b"}}',
        b'{"answers":{"q":{"a":{"a":1}}}}',
        b'{"answers":{"q":1.10}}',
        b'{"answers":{"q":123456789012345678901234567890}}',
        b'{"answers":{"q":"\\u0000"}}',
        b'{"answers":{"q":"\\ud800"}}',
    ],
    ids=["like a member", "inner objects", "trailing nought", "large integer", "escaped NUL", "lone surrogate"],
)
def test_what_is_unusual_is_kept_as_it_was_sent(text: bytes) -> None:
    assert check_row(text, LIMITS) == text
    assert list(rows_of_body(b'{"submissions":[' + text + b" , " + text + b"]}", LIMITS)) == [text, text]


@given(row=ROWS, indent=st.sampled_from([None, 1]))
def test_rows_are_those_that_submit_makes_of_a_file(row: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(row, indent=indent).replace("\n", " ").encode()
    assert [check_row(text, LIMITS)] == list(SubmissionFile(io.BytesIO(text), "a file", LIMITS).rows())
    assert json.loads(check_row(text, LIMITS)) == row
    assert list(rows_of_body(b'{"submissions":[%s]}' % text, LIMITS)) == [check_row(text, LIMITS)]


@given(
    rows=st.lists(ROWS, min_size=1, max_size=12),
    ends=st.sampled_from(["\n", "\r\n", "\n\n \n"]),
    ended=st.booleans(),
    cuts=st.lists(st.integers(0, 4_000), max_size=8),
)
def test_however_a_stream_is_cut_its_rows_are_the_same(
    rows: list[dict[str, Any]], ends: str, ended: bool, cuts: list[int]
) -> None:
    text = (ends.join(json.dumps(row) for row in rows) + (ends if ended else "")).encode()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    reader = Lines(LIMITS)
    found = [row for a, b in pairwise(places) for row in reader.feed(text[a:b])]
    found += reader.end()
    assert [json.loads(row) for row in found] == rows


def test_a_line_without_an_end_is_given_up() -> None:
    reader = Lines(Limits(row_bytes=1_024))
    pieces = (b"x" * 1_024 for _ in range(100))
    with pytest.raises(RowError) as refusal:
        list(chain.from_iterable(reader.feed(piece) for piece in pieces))
    assert refusal.value.code is Code.SUBMISSION_TOO_LARGE
    assert reader.number == 1


@given(sizes=st.lists(st.integers(1, 3_000), max_size=60))
def test_batches_hold_all_rows_in_order_within_both_limits(sizes: list[int]) -> None:
    cutter = Cutter(Limits(batch_size=7, message_bytes=10_000))
    rows = [b"%d" % number + b"x" * size for number, size in enumerate(sizes)]
    parts: list[Part] = [part for row in rows if (part := cutter.add(row)) is not None]
    rest = cutter.rest()
    parts += [rest] if rest is not None else []
    assert [row for part in parts for row in part.rows] == rows
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    position = 0
    for part in parts:
        assert part.first_position == position
        position += len(part.rows)
        assert len(part.rows) <= 7
        assert len(part.rows) == 1 or sum(map(len, part.rows)) <= min(BATCH_BYTES, 10_000)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"submissions":{}}', b'{"submissions":[],"more":1}', b'{"submissions":[],"submissions":[]}'],
)
def test_a_document_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises((RowError, PenstockError)):
        list(rows_of_body(body, LIMITS))
