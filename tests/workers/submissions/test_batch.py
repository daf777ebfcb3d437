"""Payloads of batches: what is no batch is dead and writes nothing, whatever the bytes; resends and conflicts."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.schemas.errors import Code
from penstock.workers.job import Dead, Done
from penstock.workers.submissions.json_pieces import UncuttableError, list_pieces, object_pieces
from tests.workers.batches import FORM, FORM_ID, GOOD, Batches, apply

HEAD = b'"form_id":"visitors","batch_id":"b"'
DEEP = b"[" * 100_000 + b"]" * 100_000

NO_BATCH = {
    "nothing": b"",
    "a word": b"batch",
    "a list": b"[]",
    "null": b"null",
    "invalid UTF-8": b"\xff\xfe",
    "UTF-16": json.dumps({"form_id": FORM_ID, "batch_id": "b", "submissions": [{}]}).encode("utf-16"),
    "cut": b"{" + HEAD + b',"submissions":[' + GOOD,
    "cut in a string": b"{" + HEAD + b',"submissions":[{"answers":{"name":"',
    "brackets that do not pair": b"{" + HEAD + b',"submissions":[{"answers":{"name":"a"]}]}',
    "more after the end": b"{" + HEAD + b',"submissions":[' + GOOD + b"]} {}",
    "nested deep": DEEP,
    "no form": b'{"batch_id":"b","submissions":[' + GOOD + b"]}",
    "a form that is a number": b'{"form_id":5,"batch_id":"b","submissions":[' + GOOD + b"]}",
    "an invalid form": b'{"form_id":"a b","batch_id":"b","submissions":[' + GOOD + b"]}",
    "a form with NUL": b'{"form_id":"a\\u0000","batch_id":"b","submissions":[' + GOOD + b"]}",
    "a form with half a surrogate": b'{"form_id":"\\ud800","batch_id":"b","submissions":[' + GOOD + b"]}",
    "a form of invalid UTF-8": b'{"form_id":"\xff","batch_id":"b","submissions":[' + GOOD + b"]}",
    "an invalid batch": b'{"form_id":"visitors","batch_id":"","submissions":[' + GOOD + b"]}",
    "an invalid base batch": b"{" + HEAD + b',"base_batch_id":"a/b","submissions":[' + GOOD + b"]}",
    "an invalid replayed batch": b"{" + HEAD + b',"replays":"a/b","submissions":[' + GOOD + b"]}",
    "version 0": b"{" + HEAD + b',"form_version":0,"submissions":[' + GOOD + b"]}",
    "a version beyond integer": b"{" + HEAD + b',"form_version":2147483648,"submissions":[' + GOOD + b"]}",
    "a version of 5,000 digits": b"{" + HEAD + b',"form_version":' + b"1" * 5_000 + b',"submissions":[' + GOOD + b"]}",
    "batch size 0": b"{" + HEAD + b',"batch_size":0,"submissions":[' + GOOD + b"]}",
    "a position below 0": b"{" + HEAD + b',"first_position":-1,"submissions":[' + GOOD + b"]}",
    "no submissions": b"{" + HEAD + b"}",
    "submissions null": b"{" + HEAD + b',"submissions":null}',
    "submissions an object": b"{" + HEAD + b',"submissions":{"answers":{}}}',
    "submissions a text": b"{" + HEAD + b',"submissions":"[1]"}',
    "submissions a word": b"{" + HEAD + b',"submissions":none}',
    "two lists of submissions": b"{" + HEAD + b',"submissions":[NaN],[NaN]}',
}  # fmt: skip


#: Batches of one good row whose payload is written otherwise than producers write it.
ODD_BATCHES = {
    "rows before all else": b'{"submissions":[' + GOOD + b"]," + HEAD + b"}",
    "a member after the rows": b"{" + HEAD + b',"submissions":[' + GOOD + b'],"form_version":1}',
    "a list after the rows": b"{" + HEAD + b',"submissions":[' + GOOD + b'],"later":[1]}',
    "rows twice": b"{" + HEAD + b',"submissions":[5],"submissions":[' + GOOD + b"]}",
    "good rows, and then other ones": b"{" + HEAD + b',"submissions":[' + GOOD + b"," + GOOD + b'],"submissions":['
    + GOOD + b"]}",
    "rows within another member": b'{"later":{"a":1,"submissions":[' + GOOD + b"," + GOOD + b"]}," + HEAD
    + b',"submissions":[' + GOOD + b"]}",
    "rows within a text": b'{"later":",\\"submissions\\":[{}]}",' + HEAD + b',"submissions":[' + GOOD + b"]}",
    "white space": b"{" + HEAD + b' , "submissions" : [ ' + GOOD + b" ] } ",
}  # fmt: skip


@pytest.mark.parametrize("payload", ODD_BATCHES.values(), ids=ODD_BATCHES)
def test_a_batch_may_be_written_in_any_way_that_json_has(batches: Batches, payload: bytes) -> None:
    (outcome,) = batches.run(batches.raw_job(payload))
    assert outcome == Done(counts={"stored": 1, "rejected": 0, "duplicates": 0})
    assert batches.answers() == [{"name": "Zoë"}]


@pytest.mark.parametrize("payload", NO_BATCH.values(), ids=NO_BATCH)
def test_what_is_no_batch_is_dead(batches: Batches, payload: bytes) -> None:
    (outcome,) = batches.run(batches.raw_job(payload))
    assert isinstance(outcome, Dead)
    assert outcome.code is Code.JOB_PAYLOAD_INVALID
    outcome.message.encode()
    assert "\0" not in outcome.message
    assert batches.rows_written() == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("rows", "head", "code"),
    [
        pytest.param(b"[]", {}, Code.BATCH_EMPTY, id="no row"),
        pytest.param(b" [ \n] ", {}, Code.BATCH_EMPTY, id="no row but white space"),
        pytest.param(b"[" + b",".join([GOOD] * 1_001) + b"]", {}, Code.BATCH_TOO_LARGE, id="1,001 rows"),
        pytest.param(b"[" + b",".join([b"NaN"] * 1_001) + b"]", {}, Code.BATCH_TOO_LARGE, id="1,001 hostile rows"),
        pytest.param([GOOD], {"form_id": "nothing"}, Code.FORM_NOT_FOUND, id="an unknown form"),
        pytest.param([GOOD], {"form_version": 9}, Code.FORM_VERSION_NOT_FOUND, id="an unknown version"),
        pytest.param([GOOD], {"tenant": "nobody"}, Code.FORM_NOT_FOUND, id="a tenant without forms"),
        pytest.param([GOOD], {"replays": "nothing"}, Code.BATCH_NOT_FOUND, id="a replay of nothing"),
    ],
)
def test_a_batch_that_cannot_be_written_writes_nothing(
    batches: Batches, rows: Any, head: dict[str, Any], code: Code
) -> None:
    assert batches.dead(rows, **head) == code
    assert batches.rows_written() == (0, 0, 0, 0)


def test_a_thousand_rows_are_a_batch(batches: Batches) -> None:
    assert batches.counts([GOOD] * 1_000) == (1_000, 0, 0)


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(b'"later":{"x":[1]}', id="a member"),
        pytest.param(b'"later":NaN', id="NaN"),
        pytest.param(b'"later":"\\ud800"', id="half a surrogate"),
        pytest.param(b'"\\ud800":1', id="a name that is half a surrogate"),
        pytest.param(b'"later":' + DEEP, id="nested deep"),
    ],
)
def test_members_of_later_releases_are_ignored(batches: Batches, member: bytes) -> None:
    (outcome,) = batches.run(batches.raw_job(b"{" + HEAD + b"," + member + b',"submissions":[' + GOOD + b"]}"))
    assert isinstance(outcome, Done)
    assert batches.answers() == [{"name": "Zoë"}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
ROW = st.fixed_dictionaries(
    {},
    optional={
        "answers": st.fixed_dictionaries({"name": JSON | st.text(min_size=1)}, optional={"age": JSON, "photo": JSON})
        | JSON,
        "id": st.text(st.characters(), max_size=205) | st.uuids().map(str) | JSON,
        "submitted_at": st.datetimes().map(lambda at: at.isoformat() + "Z") | JSON,
        "position": JSON,
        "more": JSON,
    },
)
DAMAGES = st.sampled_from(
    [b"", b"\xff", b"\0", b"\\", b'"', b"\n", b"NaN", b"\\ud800", b"\\u0000", b"{", b"]", b",", b"1e999999"]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A row, often with something in it that another program might write."""
    row = json.dumps(draw(ROW), ensure_ascii=True).encode()
    place = draw(st.integers(0, len(row)))
    return row[:place] + draw(DAMAGES) + row[place:]


@st.composite
def repetitive(draw: st.DrawFn) -> bytes:
    """A row in which answers stand several times, mostly with one at the end that is good."""
    fates = st.sampled_from(
        [b'"a"', b"5", b"null", b'"\\u0000"', b'"\\ud800"', b'["\\udfff"]', b'{"\\u0000":1}', b"1e99999999"]
    )
    pairs = draw(st.lists(st.tuples(st.sampled_from([b"name", b"age", b"photo", b"\\u0061ge"]), fates), max_size=5))
    pairs += draw(st.sampled_from([[], [(b"name", b'"a"'), (b"age", b"5"), (b"photo", b"null")]]))
    return b'{"answers":{' + b",".join(b'"%s":%s' % pair for pair in pairs) + b"}}"


QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def conserved(batches: Batches, rows: list[bytes], *, whole: bool) -> None:
    batch_id = uuid.uuid4().hex
    (outcome,) = batches.run(batches.job(rows, batch_id))
    if not whole:
        try:
            count = len(list_pieces(b"[" + b",".join(rows) + b"]"))
        except UncuttableError:
            assert isinstance(outcome, Dead)
            assert outcome.code is Code.JOB_PAYLOAD_INVALID
            return
        if count == 0:
            assert isinstance(outcome, Dead)
            assert outcome.code is Code.BATCH_EMPTY
            return
    else:
        count = len(rows)
    assert isinstance(outcome, Done), outcome
    assert sum(outcome.counts.values()) == count
    ((stored, rejected),) = batches.database.query(
        "SELECT (SELECT count(*) FROM penstock.submissions WHERE batch_id = %s),"
        " (SELECT count(*) FROM penstock.submission_rejections WHERE batch_id = %s)",
        batch_id,
        batch_id,
    )
    assert (stored, rejected) == (outcome.counts["stored"], outcome.counts["rejected"])


@QUICK
@given(rows=st.lists(ROW.map(lambda row: json.dumps(row).encode()), min_size=1, max_size=8))
def test_every_json_row_is_stored_or_rejected(batches: Batches, rows: list[bytes]) -> None:
    conserved(batches, rows, whole=True)


@QUICK
@given(rows=st.lists(damaged(), min_size=1, max_size=4))
def test_every_damaged_row_is_stored_or_rejected(batches: Batches, rows: list[bytes]) -> None:
    conserved(batches, rows, whole=False)


@QUICK
@given(rows=st.lists(repetitive(), min_size=1, max_size=8))
def test_every_row_that_repeats_itself_is_stored_or_rejected(batches: Batches, rows: list[bytes]) -> None:
    conserved(batches, rows, whole=True)


@QUICK
@given(rows=st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_arbitrary_bytes_never_stop_a_transaction(batches: Batches, rows: list[bytes]) -> None:
    conserved(batches, rows, whole=False)


@QUICK
@given(values=st.lists(JSON, max_size=5), members=st.dictionaries(st.text(st.characters()), JSON, max_size=4))
def test_pieces_are_what_a_parser_finds(values: list[Any], members: dict[str, Any]) -> None:
    # Compared as text, since NaN is not equal to itself.
    cut = list_pieces(json.dumps(values, indent=1).encode())
    assert [json.dumps(json.loads(piece)) for piece in cut] == [json.dumps(value) for value in values]
    pieces = object_pieces(json.dumps(members).encode())
    assert {name: json.dumps(json.loads(piece)) for name, piece in pieces.items()} == {
        name: json.dumps(value) for name, value in members.items()
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'["' + rb"\"" * 500_000, id="a string without an end"),
        pytest.param(b"[" * 1_000_000, id="brackets without an end"),
        pytest.param(b"[" + b"]" * 1_000_000, id="brackets without a begin"),
        pytest.param(b'["a"' * 200_000, id="lists in lists"),
        pytest.param(b"[1]]", id="a bracket too many"),
        pytest.param(b"[1],[2]", id="two lists"),
        pytest.param(b"[(1]}", id="brackets that do not pair"),
        pytest.param(b"[{]}", id="crossed brackets"),
        pytest.param(b'{"a":1}', id="an object"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_cannot_be_cut_is_told_in_time_that_grows_with_its_length(text: bytes) -> None:
    with pytest.raises(UncuttableError):
        list_pieces(text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        pytest.param(b" [ ] ", [], id="no piece"),
        pytest.param(b'[ NaN , "\xff,]" ]', [b"NaN", b'"\xff,]"'], id="pieces that are not JSON"),
        pytest.param(rb'["\\","\""]', [rb'"\\"', rb'"\""'], id="escapes at the end of a string"),
        pytest.param(b"[1,,]", [b"1", b"", b""], id="a comma too many"),
        pytest.param(b'[{"a":[1,2]},[3,4]]', [b'{"a":[1,2]}', b"[3,4]"], id="commas within"),
    ],
)
def test_pieces(text: bytes, pieces: list[bytes]) -> None:
    assert list_pieces(text) == pieces


def test_a_resend_is_repeated_after_a_new_version_of_the_form(batches: Batches) -> None:
    form_id = "versions"
    apply(batches.database, form_id, FORM)
    assert batches.counts([GOOD], form_id=form_id) == (1, 0, 0)
    apply(batches.database, form_id, FORM | {"title": "Guests"})
    batches.parts.forms.forget_latest("default", form_id)
    assert batches.counts([GOOD], "later", form_id=form_id) == (1, 0, 0)
    assert batches.write([GOOD], form_id=form_id).repeated
    versions = "SELECT batch_id, form_version FROM penstock.submission_batches ORDER BY 1"
    assert batches.database.query(versions) == [("b", 1), ("later", 2)]
    assert batches.write([GOOD], form_id=form_id, form_version=1).repeated
    assert batches.dead([GOOD], form_id=form_id, form_version=2) == Code.BATCH_CONFLICT


@pytest.mark.parametrize(
    ("rows", "head"),
    [
        pytest.param([b'{"answers":{"name":"b"}}'], {}, id="other answers"),
        pytest.param([GOOD, GOOD], {}, id="a row more"),
        pytest.param([b'{"answers":{"name":NaN}}'], {}, id="a row that is not JSON"),
        pytest.param([GOOD], {"form_id": "guests"}, id="another form"),
        pytest.param([GOOD], {"base_batch_id": "file"}, id="another file"),
        pytest.param([GOOD], {"batch_size": 10}, id="another size"),
    ],
)
def test_a_known_batch_id_with_other_work_is_a_conflict(
    batches: Batches, rows: list[bytes], head: dict[str, Any]
) -> None:
    apply(batches.database, "guests", FORM)
    batches.write([GOOD])
    before = batches.rows_written()
    assert batches.dead(rows, **head) == Code.BATCH_CONFLICT
    assert batches.rows_written() == before
    assert batches.answers() == [{"name": "Zoë"}]


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(b'[ {"answers" : {"name":"Zo\xc3\xab"} }\n]', id="white space"),
        pytest.param(b'[{"answers":{"name":"Zo\xc3\xab"}}]', id="byte for byte"),
    ],
)
def test_white_space_does_not_make_another_batch(batches: Batches, again: bytes) -> None:
    batches.write([GOOD])
    assert batches.write(again).repeated


def test_equal_ids_in_two_tenants_are_two_sets(batches: Batches) -> None:
    rows = [GOOD, b'{"id":"a","submitted_at":"2026-01-02T03:04:05Z","answers":{"name":"a"}}', b"NaN"]
    assert batches.counts(rows) == (2, 1, 0)
    assert batches.counts(rows, tenant="other") == (2, 1, 0)
    assert batches.write(rows, tenant="other").repeated
    assert batches.rows_written() == (4, 2, 2, 2)
    assert batches.database.value("SELECT count(DISTINCT submission_id) FROM penstock.submissions") == 4
    assert batches.dead([GOOD, GOOD], tenant="other") == Code.BATCH_CONFLICT
