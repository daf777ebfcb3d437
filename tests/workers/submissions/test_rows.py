"""Hostile rows, as another language would write them: each is judged alone and kept whole with all its faults."""

from typing import NamedTuple

import pytest

from tests.workers.batches import GOOD, Batches


class Hostile(NamedTuple):
    """A row as bytes, and its faults as (question id, code)."""

    row: bytes
    faults: list[tuple[str | None, str]]
    replays: bool = False


UNDECODABLE = [(None, "SUBMISSION_UNDECODABLE")]
INVALID = [(None, "SUBMISSION_INVALID")]
ID = [(None, "SUBMISSION_ID_INVALID")]
TIME = [(None, "SUBMISSION_TIME_INVALID")]
RANGE = [(None, "SUBMISSION_TIME_RANGE")]
REQUIRED = [(None, "SUBMISSION_TIME_REQUIRED")]
TEXT = [("name", "ANSWER_TEXT_UNSTORABLE")]
NO_NUMBER = [("age", "ANSWER_NUMBER_RANGE")]
NOW = b'"submitted_at":"2026-01-02T03:04:05Z"'


def answer(value: bytes) -> bytes:
    return b'{"answers":{"name":' + value + b"}}"


def age(value: bytes) -> bytes:
    return b'{"answers":{"name":"a","age":' + value + b"}}"


def row_id(value: bytes) -> bytes:
    return b'{"id":' + value + b"," + NOW + b',"answers":{"name":"a"}}'


def instant(value: bytes) -> bytes:
    return b'{"submitted_at":' + value + b',"answers":{"name":"a"}}'


HOSTILE = {
    "NaN": Hostile(age(b"NaN"), UNDECODABLE),
    "minus infinity": Hostile(age(b"-Infinity"), UNDECODABLE),
    "invalid UTF-8": Hostile(answer(b'"\xff"'), UNDECODABLE),
    "a surrogate in UTF-8": Hostile(answer(b'"\xed\xa0\x80"'), UNDECODABLE),
    "UTF-8 that is cut": Hostile(answer(b'"\xc3"'), UNDECODABLE),
    "invalid UTF-8 in an id": Hostile(row_id(b'"\xff"'), UNDECODABLE),
    "invalid UTF-8 in a name": Hostile(b'{"answers":{"name":"a","\xff":1}}', UNDECODABLE),
    "invalid UTF-8 in an unknown member": Hostile(b'{"\xff":1,"answers":{"name":"a"}}', UNDECODABLE),
    "nested 100,000 deep": Hostile(age(b"[" * 100_000 + b"]" * 100_000), UNDECODABLE),
    "a control character": Hostile(answer(b'"a\x01"'), UNDECODABLE),
    "a line break": Hostile(answer(b'"a\nb"'), UNDECODABLE),
    "NUL as it is": Hostile(answer(b'"\x00"'), UNDECODABLE),
    "an unknown escape": Hostile(answer(b'"\\x41"'), UNDECODABLE),
    "half an escape": Hostile(answer(b'"\\u12"'), UNDECODABLE),
    "a leading zero": Hostile(age(b"01"), UNDECODABLE),
    "hexadecimal": Hostile(age(b"0x1F"), UNDECODABLE),
    "a comma too many": Hostile(b'{"answers":{"name":"a"},}', UNDECODABLE),
    "a comment": Hostile(b'{"answers":{"name":"a"/* b */}}', UNDECODABLE),
    "single quotes": Hostile(b"{'answers':{}}", UNDECODABLE),
    "no value": Hostile(b'{"answers":}', UNDECODABLE),
    "nothing": Hostile(b"", UNDECODABLE),
    "a word": Hostile(b"undefined", UNDECODABLE),
    "an escaped NUL": Hostile(answer(b'"\\u0000"'), TEXT),
    "a lone high surrogate": Hostile(answer(b'"\\ud800"'), TEXT),
    "a lone low surrogate": Hostile(answer(b'"\\udc00 x"'), TEXT),
    "surrogates in the wrong order": Hostile(answer(b'"\\udc00\\ud800"'), TEXT),
    "a huge number": Hostile(age(b"1e400"), NO_NUMBER),
    "a number beyond numeric": Hostile(age(b"1e999999999"), NO_NUMBER),
    "5,000 digits": Hostile(age(b"1" * 5_000), NO_NUMBER),
    "an answer nested 300 deep": Hostile(age(b"[" * 300 + b"]" * 300), [("age", "ANSWER_TYPE_INVALID")]),
    "an unknown question with NUL": Hostile(
        b'{"answers":{"name":"a","x\\u0000":1}}', [(r"x\x00", "ANSWER_UNKNOWN_QUESTION")]
    ),
    "an unknown question that is half a surrogate": Hostile(
        b'{"answers":{"name":"a","\\ud800":1}}', [(r"\ud800", "ANSWER_UNKNOWN_QUESTION")]
    ),
    "of two equal names the last counts": Hostile(
        b'{"answers":{"name":"a","name":5}}', [("name", "ANSWER_TYPE_INVALID")]
    ),
    "two answers": Hostile(b'{"answers":{"name":"a"},"answers":{}}', [("name", "ANSWER_REQUIRED")]),
    "a number": Hostile(b"5", INVALID),
    "a huge number as row": Hostile(b"9" * 5_000, INVALID),
    "a string": Hostile(b'"a,]}"', INVALID),
    "a list": Hostile(b"[[],{}]", INVALID),
    "null": Hostile(b"null", INVALID),
    "true": Hostile(b"true", INVALID),
    "an empty object": Hostile(b"{}", INVALID),
    "no answers": Hostile(b'{"submitted_at":"2026-01-02T03:04:05Z"}', INVALID),
    "no answers and a bad instant": Hostile(b'{"submitted_at":"now"}', TIME + INVALID),
    "answers null": Hostile(b'{"answers":null}', INVALID),
    "answers a list": Hostile(b'{"answers":[]}', INVALID),
    "answers a text": Hostile(b'{"answers":"a"}', INVALID),
    "unknown members": Hostile(b'{"answers":{"name":"a"},"x":1,"y":{}}', INVALID),
    "an unknown member that is half a surrogate": Hostile(b'{"\\ud800":1e400,"answers":{"name":"a"}}', INVALID),
    "an unknown member of 5,000 digits": Hostile(b'{"\\ud800":' + b"1" * 5_000 + b',"answers":{"name":"a"}}', INVALID),
    "an unknown member nested 300 deep": Hostile(
        b'{"x":' + b"[" * 300 + b"]" * 300 + b',"answers":{"name":"a"}}', INVALID
    ),
    "an id that is a number": Hostile(row_id(b"5"), ID),
    "an id of 5,000 digits": Hostile(row_id(b"1" * 5_000), ID),
    "an id that is an object": Hostile(row_id(b'{"id":"x"}'), ID),
    "an id that is false": Hostile(row_id(b"false"), ID),
    "an empty id": Hostile(row_id(b'""'), ID),
    "an id of 201 characters": Hostile(row_id(b'"' + b"a" * 201 + b'"'), ID),
    "an id with NUL": Hostile(row_id(b'"a\\u0000"'), ID),
    "an id with half a surrogate": Hostile(row_id(b'"\\ud800"'), ID),
    "an id without instant": Hostile(b'{"id":"a","answers":{"name":"a"}}', REQUIRED),
    "a UUIDv4 without instant": Hostile(
        b'{"id":"0f9d4a52-6b1d-4c6c-9a5d-2b6f3f1f7a11","answers":{"name":"a"}}', REQUIRED
    ),
    "an instant that is a number": Hostile(instant(b"1700000000"), TIME),
    "an instant of 5,000 digits": Hostile(instant(b"1" * 5_000), TIME),
    "an instant that is a list": Hostile(instant(b"[1]"), TIME),
    "an empty instant": Hostile(instant(b'""'), TIME),
    "an instant without offset": Hostile(instant(b'"2026-01-02T03:04:05"'), TIME),
    "an instant with NUL": Hostile(instant(b'"2026-01-02T03:04:05Z\\u0000"'), TIME),
    "an instant with half a surrogate": Hostile(instant(b'"\\ud800"'), TIME),
    "an instant in other digits": Hostile(
        instant('"\u0662\u0660\u0662\u0666-01-02T03:04:05Z"'.encode()), TIME
    ),
    "an instant before 1970": Hostile(instant(b'"1969-12-31T23:59:59Z"'), RANGE),
    "a position outside a replay": Hostile(b'{"position":0,"answers":{"name":"a"}}', INVALID),
    "a position below 0": Hostile(b'{"position":-1,"answers":{"name":"a"}}', INVALID * 2),
    "a position of 5,000 digits": Hostile(b'{"position":' + b"1" * 5_000 + b',"answers":{"name":"a"}}', INVALID * 2),
    "a position that is a text": Hostile(b'{"position":"0","answers":{"name":"a"}}', INVALID * 2),
    "everything at once": Hostile(
        b'{"id":7,"submitted_at":"x","position":1.5,"more":0,"answers":{"age":-1,"what":[]}}',
        [
            *INVALID * 3, *TIME, *ID,
            ("name", "ANSWER_REQUIRED"), ("age", "ANSWER_NUMBER_RANGE"), ("what", "ANSWER_UNKNOWN_QUESTION"),
        ],
    ),
    "a good id, a bad instant and a bad answer": Hostile(
        b'{"id":"","submitted_at":"x","answers":{}}', [*TIME, *ID, ("name", "ANSWER_REQUIRED")]
    ),
    "an id of the wrong type without instant": Hostile(b'{"id":5,"answers":{"name":"a"}}', ID),
    "an instant of the wrong type beside an id": Hostile(b'{"id":"a","submitted_at":5,"answers":{"name":"a"}}', TIME),
}  # fmt: skip


def is_text(row: bytes, faults: list[tuple[str | None, str]]) -> str | bytes:
    return row if faults == UNDECODABLE else row.decode()


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_row_is_kept_whole_and_spares_the_others(batches: Batches, hostile: Hostile) -> None:
    assert batches.counts([GOOD, hostile.row, GOOD]) == (2, 1, 0)
    assert batches.rejections() == {1: (is_text(*hostile[:2]), hostile.faults)}
    assert batches.answers() == [{"name": "Zoë"}] * 2


def test_all_hostile_rows_in_one_batch(batches: Batches) -> None:
    rows = [row for hostile in HOSTILE.values() for row in (hostile.row, GOOD)]
    assert batches.counts(rows) == (len(HOSTILE), len(HOSTILE), 0)
    assert batches.rejections() == {
        2 * place: (is_text(*hostile[:2]), hostile.faults) for place, hostile in enumerate(HOSTILE.values())
    }
    assert batches.write(rows).repeated


def test_white_space_within_a_rejected_row_is_kept(batches: Batches) -> None:
    assert batches.counts([b'\n { "answers" :\t{"name" : 5} } ', GOOD]) == (1, 1, 0)
    assert batches.rejections() == {0: ('{ "answers" :\t{"name" : 5} }', [("name", "ANSWER_TYPE_INVALID")])}


SHADOWED = {
    "NUL": b'{"name":"\\u0000","name":"Zo\xc3\xab"}',
    "half a surrogate": b'{"name":"\\ud800","name":"Zo\xc3\xab"}',
    "half a surrogate in another type": b'{"name":"Zo\xc3\xab","age":"\\ud800","age":null}',
    "a number beyond numeric": b'{"name":"Zo\xc3\xab","age":1e999999999,"age":null}',
    "a text of NUL where a number belongs": b'{"name":"Zo\xc3\xab","age":"\\u0000","age":null}',
    "a nested NUL": b'{"name":[["\\u0000"]],"name":"Zo\xc3\xab"}',
}


@pytest.mark.parametrize("answers", SHADOWED.values(), ids=SHADOWED)
def test_what_a_later_member_replaces_never_reaches_postgresql(batches: Batches, answers: bytes) -> None:
    assert batches.counts([b'{"answers":' + answers + b"}", GOOD]) == (2, 0, 0)
    assert [stored["name"] for stored in batches.answers()] == ["Zoë"] * 2


def test_what_a_later_member_within_a_file_replaces_never_reaches_postgresql(batches: Batches) -> None:
    photo = b'{"url":"https://example.org/a","name":"\\u0000","name":"a","size":1,"content_type":"image/png"}'
    assert batches.counts([b'{"answers":{"name":"a","photo":' + photo + b"}}"]) == (1, 0, 0)
    (stored,) = batches.answers()
    assert stored["photo"]["name"] == "a"


def test_the_producers_names_are_kept_beside_a_rejection(batches: Batches) -> None:
    batches.counts([b'{"id":"order 7","submitted_at":"soon"}', b'{"id":"' + b"x" * 300 + b'","answers":{}}'])
    named = batches.database.query(
        "SELECT external_id, submitted_at FROM penstock.submission_rejections ORDER BY position"
    )
    assert named == [("order 7", "soon"), ("x" * 200, None)]
