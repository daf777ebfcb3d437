"""A row as a whole: what is told about it, and in which order."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.schemas.errors import Code
from penstock.schemas.forms import Form
from penstock.workers.answers.form_rules import FormRules

FORM = Form.model_validate(
    {
        "title": "A few questions",
        "questions": [
            {"id": "name", "text": "Name", "type": "text", "required": True},
            {"id": "age", "text": "Age", "type": "number", "min": 0},
            {"id": "colours", "text": "Colours", "type": "multiselect", "options": ["red", "blue"]},
        ],
    }
)
RULES = FormRules(FORM)

UNDECODABLE, INVALID = Code.SUBMISSION_UNDECODABLE, Code.SUBMISSION_INVALID


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(b"", UNDECODABLE, id="nothing"),
        pytest.param(b'{"name":"a"', UNDECODABLE, id="cut off"),
        pytest.param(b'{"name":"a"} ,', UNDECODABLE, id="more behind it"),
        pytest.param(b'{"name":"\xff"}', UNDECODABLE, id="not UTF-8"),
        pytest.param(b'{"name":"\xed\xa0\x80"}', UNDECODABLE, id="a surrogate as UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"name":"a"}', UNDECODABLE, id="a byte order mark"),
        pytest.param('{"name":"a"}'.encode("utf-16"), UNDECODABLE, id="UTF-16"),
        pytest.param(b'{"name":"a\nb"}', UNDECODABLE, id="a raw control character"),
        pytest.param(b'{"name":"a\x00"}', UNDECODABLE, id="a raw NUL"),
        pytest.param(b'{"name":"a","age":NaN}', UNDECODABLE, id="NaN"),
        pytest.param(b'{"name":"a","age":-Infinity}', UNDECODABLE, id="Infinity"),
        pytest.param(b'{"name":"a","age":01}', UNDECODABLE, id="a leading zero"),
        pytest.param(b'{"name":' + b"[" * 100_000, UNDECODABLE, id="nested too deep"),
        pytest.param(b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", UNDECODABLE, id="nested too deep, whole"),
        pytest.param(b"[]", INVALID, id="a list"),
        pytest.param(b"null", INVALID, id="null"),
        pytest.param(b'"name"', INVALID, id="a string"),
        pytest.param(b"5", INVALID, id="a number"),
    ],
)
def test_a_row_that_is_no_object_of_answers(sent: bytes, code: Code) -> None:
    faults = RULES.check(sent)
    assert [fault[:2] for fault in faults] == [(None, code)]


def test_all_faults_are_told_in_the_order_of_the_form() -> None:
    sent = rb'{"zebra":1,"colours":["green","red","red"],"age":"-1","\ud800\u0000":2,"b\\":3}'
    faults = RULES.check(sent)
    assert [fault[:2] for fault in faults] == [
        ("name", Code.ANSWER_REQUIRED),
        ("age", Code.ANSWER_NUMBER_RANGE),
        ("colours", Code.ANSWER_OPTION_UNKNOWN),
        ("colours", Code.ANSWER_OPTION_DUPLICATE),
        ("zebra", Code.ANSWER_UNKNOWN_QUESTION),
        (r"\ud800\x00", Code.ANSWER_UNKNOWN_QUESTION),
        ("b\\", Code.ANSWER_UNKNOWN_QUESTION),
    ]


def test_a_long_unknown_id_is_cut() -> None:
    (fault,) = RULES.check(json.dumps({"name": "a", "x" * 100_000: 1}).encode())
    assert fault == ("x" * 199 + "…", Code.ANSWER_UNKNOWN_QUESTION, fault.message)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b'{"name": "a, b", "age": 5, "colours": ["red", "blue"]}', id="default separators"),
        pytest.param(b'{\n  "name" : "a" ,\n\t"age"\r\n: 0.25\n}\n', id="indented"),
        pytest.param(b'{"name":"a","age":-5,"age":7}', id="of two equal names the last counts"),
        pytest.param(b'{"n\\u0061me":"a"}', id="a name with an escape"),
        pytest.param('{"name":"Zoë \U0001f389"}'.encode(), id="other scripts"),
        pytest.param(rb'{"name":"Zo\u00eb \ud83c\udf89 says\n\"hi\""}', id="the same as escapes"),
    ],
)
def test_a_clean_row_is_the_same_object_however_it_is_written(sent: bytes) -> None:
    assert RULES.check(sent) is sent


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        pytest.param(rb'{"name":"\u0000","name":"a"}', b'{"name":"a"}', id="NUL"),
        pytest.param(rb'{"name":"\ud800","name":"a"}', b'{"name":"a"}', id="an unpaired surrogate"),
        pytest.param(b'{"name":"a","age":1e999999999,"age":7}', b'{"name":"a","age":7}', id="beyond numeric"),
        pytest.param(rb'{"name":["\ud800"],"name":"a"}', b'{"name":"a"}', id="an unpaired surrogate in a list"),
        pytest.param(rb'{"name":{"x":1,"\u0000":2},"name":"a"}', b'{"name":"a"}', id="NUL in a name"),
    ],
)
def test_of_two_equal_names_the_last_counts_and_the_first_is_gone(sent: bytes, canonical: bytes) -> None:
    assert RULES.check(sent) == canonical


def test_of_two_equal_names_the_last_counts_where_the_first_is_right() -> None:
    (fault,) = RULES.check(b'{"name":"a","age":7,"age":-5}')
    assert fault[:2] == ("age", Code.ANSWER_NUMBER_RANGE)


def test_a_changed_row_keeps_its_other_answers_as_they_were_sent() -> None:
    sent = rb'{"age": 1.50, "name": "  Zo\u00eb\t", "colours": null}'
    assert RULES.check(sent) == '{"name":"Zoë","age":1.50}'.encode()


@pytest.mark.parametrize("name", [pytest.param(id_, id=repr(id_)) for id_ in ('a"b', "a\\b", "a\nb", "é", " ")])
def test_any_question_id_will_do(name: str) -> None:
    question = {"id": name, "text": "?", "type": "boolean", "required": True}
    rules = FormRules(Form.model_validate({"title": "Odd id", "questions": [question]}))
    sent = json.dumps({name: True}).encode()
    assert rules.check(sent) is sent
    assert [fault[:2] for fault in rules.check(b"{}")] == [(name, Code.ANSWER_REQUIRED)]


def test_a_form_of_a_thousand_questions() -> None:
    questions = [{"id": f"q{number}", "text": "?", "type": "text"} for number in range(1_000)]
    rules = FormRules(Form.model_validate({"title": "Long", "questions": questions}))
    sent = json.dumps({f"q{number}": "a" for number in reversed(range(1_000))}).encode()
    assert rules.check(sent) is sent


def test_threads_share_one_form_rules() -> None:
    clean, changed = b'{"name":"a","age":1.5}', b'{"name":" a "}'
    start = threading.Barrier(4)

    def work() -> set[object]:
        start.wait(timeout=60)
        return {outcome for _ in range(500) for outcome in (RULES.check(clean), RULES.check(changed))}

    with ThreadPoolExecutor(4) as threads:
        outcomes = [threads.submit(work) for _ in range(4)]
        assert all(outcome.result() == {clean, b'{"name":"a"}'} for outcome in outcomes)
