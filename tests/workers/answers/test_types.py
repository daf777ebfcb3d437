"""What each type of question accepts, stores and refuses. Answers are JSON text, as they are on the wire."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from penstock.schemas.errors import Code
from penstock.schemas.forms import Form
from penstock.workers.answers.form_rules import FormRules

OPTIONS = ["Ja", " Nein danke\u00a0", 'say "x"', "\\", "Größe M", "N/A"]
QUESTIONS: dict[str, dict[str, Any]] = {
    "text": {"type": "text"},
    "textarea": {"type": "textarea"},
    "short": {"type": "text", "max_length": 3},
    "email": {"type": "email"},
    "phone": {"type": "phone"},
    "us phone": {"type": "phone", "region": "US"},
    "number": {"type": "number"},
    "bounded": {"type": "number", "min": "-0.5", "max": "1e20"},
    "hair's breadth": {"type": "number", "min": "0.1000000000000000000001", "max": "0.2"},
    "negative": {"type": "number", "max": "-1e30"},
    "date": {"type": "date"},
    "time": {"type": "time"},
    "datetime": {"type": "datetime"},
    "select": {"type": "select", "options": OPTIONS, "empty_values": ["N/A"]},
    "radio": {"type": "radio", "options": OPTIONS},
    "multiselect": {"type": "multiselect", "options": OPTIONS},
    "checkbox": {"type": "checkbox"},
    "checkboxes": {"type": "checkbox", "options": OPTIONS},
    "boolean": {"type": "boolean"},
    "rating": {"type": "rating"},
    "rating to 1000": {"type": "rating", "max": 1000},
    "rating in words": {"type": "rating", "options": ["1", "bad", "good"]},
    "file": {"type": "file"},
    "emptied": {"type": "text", "empty_values": ["N/A", " keine Angabe"]},
    "emptied date": {"type": "date", "empty_values": ["1900-01-01"]},
    "emptied number": {"type": "number", "empty_values": ["-99"]},
}
FORM = Form.model_validate(
    {
        "title": "Every type",
        "timezone": "Europe/Berlin",
        "region": "DE",
        "questions": [{"id": id_, "text": id_, **question} for id_, question in QUESTIONS.items()],
    }
)
RULES = FormRules(FORM)

NBSP = "\u00a0"
SHA256 = "0123456789abcdef" * 4


def row(question: str, answer: str) -> bytes:
    return f"{{{json.dumps(question)}:{answer}}}".encode()


def reference(**changed: Any) -> str:
    whole = {"url": "https://files.example.org/a.pdf", "name": "a.pdf", "size": 10, "content_type": "application/pdf"}
    members = {name: member for name, member in (whole | changed).items() if member is not None}
    return json.dumps(members, separators=(",", ":"))


def cases(table: Iterable[tuple[Any, ...]]) -> list[ParameterSet]:
    return [pytest.param(*case, id=f"{case[0]} {case[1][:40]}") for case in table]


UNCHANGED = [
    ("text", '"Grüße, 東京 🎉"'),
    ("text", '"\\ud83c\\udf89 \\u00e9\\n\\"quoted\\" text"'),
    ("text", '"<b>not stripped</b>"'),
    ("text", '"a\\u0001b"'),
    ("text", '"' + "é" * 1_000 + '"'),
    ("textarea", '"' + "🎉" * 10_000 + '"'),
    ("short", '"abc"'),
    ("number", "70000"),
    ("number", "-0"),
    ("number", "-0.0"),
    ("number", "1.50"),
    ("number", "1E5"),
    ("number", "1e-16383"),
    ("number", "9.99e307"),
    ("number", "1234567890123456789012345678901234567890"),
    ("number", "0." + "1" * 100),
    ("number", "1" + "0" * 307),
    ("bounded", "-0.5"),
    ("bounded", "100000000000000000000"),
    ("hair's breadth", "0.1000000000000000000002"),
    ("hair's breadth", "0.15"),
    ("negative", "-1e30"),
    ("date", '"2024-02-29"'),
    ("date", '"0001-01-01"'),
    ("date", '"9999-12-31"'),
    ("time", '"00:00"'),
    ("time", '"23:59:59"'),
    ("datetime", '"2026-03-29T00:30:00Z"'),
    ("datetime", '"2026-03-29T00:30:00.123456789Z"'),
    ("datetime", '"2026-03-29T00:30:00.500Z"'),
    ("email", '"jane.doe+x@example.org"'),
    ("phone", '"+4930123456"'),
    ("us phone", '"+12125550123"'),
    ("select", '"Ja"'),
    ("select", '" Nein danke\u00a0"'),
    ("radio", '"say \\"x\\""'),
    ("radio", '"\\\\"'),
    ("radio", '"Größe M"'),
    ("radio", '"N/A"'),
    ("multiselect", '["Größe M","Ja"]'),
    ("checkboxes", '["Ja"]'),
    ("checkbox", "true"),
    ("boolean", "false"),
    ("rating", "1"),
    ("rating", "5"),
    ("rating to 1000", "1000"),
    ("rating in words", '"1"'),
    ("file", reference()),
    ("file", reference(sha256=SHA256)),
    ("file", reference(url="HTTPS://[2001:db8::1]:8443/%20?q=1#f", size=0, name=" x ")),
    ("emptied", '"n/a"'),
    ("emptied number", "-99"),
]


@pytest.mark.parametrize(("question", "answer"), cases(UNCHANGED))
def test_stored_as_sent(question: str, answer: str) -> None:
    sent = row(question, answer)
    assert RULES.check(sent) is sent
    assert RULES.judge(sent) is sent


CANONICALISED = [
    ("text", '"\\u00a0 a\\u2003b\\u3000\\r\\n"', '"a\u2003b"'),
    ("text", '" ' + "a" * 1_000 + ' "', '"' + "a" * 1_000 + '"'),
    ("text", '"\u2028a\u0085"', '"a"'),
    ("number", '"70000"', "70000"),
    ("number", '"70000."', "70000"),
    ("number", '".5"', "0.5"),
    ("number", '"-.50"', "-0.50"),
    ("number", '"+3"', "3"),
    ("number", '"-3"', "-3"),
    ("number", '"1e3"', "1e3"),
    ("number", '"1.E-3"', "1e-3"),
    ("number", '"007"', "7"),
    ("number", '"\u00a01.0 "', "1.0"),
    ("number", '"1234567890123456789012345678901234567890.5"', "1234567890123456789012345678901234567890.5"),
    ("date", '" 2024-02-29 "', '"2024-02-29"'),
    ("time", '"\\t09:05"', '"09:05"'),
    ("datetime", '"2026-07-01T12:00:00+02:00"', '"2026-07-01T10:00:00Z"'),
    ("datetime", '"2026-07-01t12:00:00.000000001z"', '"2026-07-01T12:00:00.000000001Z"'),
    ("datetime", '"2026-07-01 12:00:00-23:59"', '"2026-07-02T11:59:00Z"'),
    ("datetime", '"2026-03-29 01:59:59"', '"2026-03-29T00:59:59Z"'),
    ("datetime", '"2026-03-29 03:00"', '"2026-03-29T01:00:00Z"'),
    ("datetime", '"2026-10-25T02:30:00.5"', '"2026-10-25T00:30:00.5Z"'),
    ("datetime", '"2026-10-25 03:00:00"', '"2026-10-25T02:00:00Z"'),
    ("email", '" Jane@EXAMPLE.org "', '"Jane@example.org"'),
    ("email", '"a@xn--bcher-kva.example"', '"a@bücher.example"'),
    ("phone", '"030 / 123456"', '"+4930123456"'),
    ("us phone", '"(212) 555-0123"', '"+12125550123"'),
    ("us phone", '"+49 30 123456"', '"+4930123456"'),
    ("select", f'"{NBSP}Ja "', '"Ja"'),
    ("select", '"Nein danke"', '" Nein danke\u00a0"'),
    ("multiselect", f'["Ja{NBSP}","Nein danke"]', '["Ja"," Nein danke\u00a0"]'),
    ("checkbox", '"YES"', "true"),
    ("boolean", '" No "', "false"),
    ("boolean", '"True"', "true"),
    ("boolean", '"fAlSe"', "false"),
    ("rating", "4.0", "4"),
    ("rating", '"4"', "4"),
    ("rating", "0.5e1", "5"),
    ("rating in words", '"good "', '"good"'),
    ("file", reference(sha256=SHA256.upper()), reference(sha256=SHA256)),
    ("file", reference().replace("10,", "1.0e1,"), reference()),
]


@pytest.mark.parametrize(("question", "answer", "stored"), cases(CANONICALISED))
def test_stored_in_canonical_form(question: str, answer: str, stored: str) -> None:
    canonical = RULES.check(row(question, answer))
    assert canonical == row(question, stored)
    assert RULES.check(canonical) is canonical


NO_ANSWERS = [
    ("text", '""'),
    ("text", '" \\u00a0\\n"'),
    ("text", "null"),
    ("text", "[]"),
    ("number", '" "'),
    ("boolean", '""'),
    ("file", '""'),
    ("multiselect", "[]"),
    ("multiselect", '""'),
    ("select", '" N/A"'),
    ("emptied", '"N/A "'),
    ("emptied", '"keine Angabe"'),
    ("emptied date", '"1900-01-01"'),
    ("emptied number", '"-99"'),
]


@pytest.mark.parametrize(("question", "answer"), cases(NO_ANSWERS))
def test_no_answer_is_left_out(question: str, answer: str) -> None:
    assert RULES.check(row(question, answer)) == b"{}"


@pytest.mark.parametrize(("question", "answer"), [*cases(NO_ANSWERS), pytest.param("text", None, id="missing")])
def test_no_answer_to_a_required_question_is_refused(question: str, answer: str | None) -> None:
    required = {"id": question, "text": "?", "required": True, **QUESTIONS[question]}
    rules = FormRules(Form.model_validate({"title": "Required", "questions": [required]}))
    faults = rules.check(b"{}" if answer is None else row(question, answer))
    assert [fault[:2] for fault in faults] == [(question, Code.ANSWER_REQUIRED)]


TYPE_INVALID, UNSTORABLE = Code.ANSWER_TYPE_INVALID, Code.ANSWER_TEXT_UNSTORABLE
REFUSED = [
    *((name, answer, [TYPE_INVALID]) for name in QUESTIONS for answer in ("{}", "[[]]", "[null]") if name != "file"),
    *((name, "5", [TYPE_INVALID]) for name in ("text", "date", "time", "datetime", "email", "phone", "select", "file")),
    *((name, "true", [TYPE_INVALID]) for name in ("text", "number", "rating", "checkboxes", "radio", "file")),
    ("text", '"a\\u0000b"', [UNSTORABLE]),
    ("text", '"\\u0000"', [UNSTORABLE]),
    ("text", '"\\ud800"', [UNSTORABLE]),
    ("text", '"a\\udc00b"', [UNSTORABLE]),
    ("text", '"\\ude00\\ud83d"', [UNSTORABLE]),
    ("email", '"a\\u0000@example.org"', [UNSTORABLE]),
    ("text", '"' + "a" * 1_001 + '"', [Code.ANSWER_TOO_LONG]),
    ("text", '"' + "\\u0000" * 1_001 + '"', [Code.ANSWER_TOO_LONG, UNSTORABLE]),
    ("textarea", '"' + "é" * 10_001 + '"', [Code.ANSWER_TOO_LONG]),
    ("short", '"abcd"', [Code.ANSWER_TOO_LONG]),
    *(
        ("number", f'"{text}"', [Code.ANSWER_NUMBER_INVALID])
        for text in (
            "NaN",
            "Infinity",
            "12,5",
            "1,000",
            "$3",
            "\uff13",
            "\u0663",
            ".",
            "+",
            "1e",
            "e5",
            "1_000",
            "0x1F",
            "1 2",
            "--1",
        )
    ),
    ("number", "1e400", [Code.ANSWER_NUMBER_RANGE]),
    ("number", '"1e400"', [Code.ANSWER_NUMBER_RANGE]),
    ("number", "1e308", [Code.ANSWER_NUMBER_RANGE]),
    ("number", "-1e308", [Code.ANSWER_NUMBER_RANGE]),
    ("number", "1" * 101, [Code.ANSWER_NUMBER_RANGE]),
    ("number", "0." + "1" * 101, [Code.ANSWER_NUMBER_RANGE]),
    ("number", "1e-16384", [Code.ANSWER_NUMBER_RANGE]),
    ("number", "1e999999999", [Code.ANSWER_NUMBER_RANGE]),
    ("number", "1e-99999999999999999999", [Code.ANSWER_NUMBER_RANGE]),
    ("number", "1e" + "9" * 5_000, [Code.ANSWER_NUMBER_RANGE]),
    ("number", "9" * 200_000, [Code.ANSWER_NUMBER_RANGE]),
    ("bounded", "-0.5000000000000000000000001", [Code.ANSWER_NUMBER_RANGE]),
    ("bounded", "100000000000000000000.1", [Code.ANSWER_NUMBER_RANGE]),
    ("hair's breadth", "0.1", [Code.ANSWER_NUMBER_RANGE]),
    ("hair's breadth", "0.1000000000000000000000", [Code.ANSWER_NUMBER_RANGE]),
    ("hair's breadth", "1", [Code.ANSWER_NUMBER_RANGE]),
    ("negative", "-9223372036854775808", [Code.ANSWER_NUMBER_RANGE]),
    *(
        ("date", f'"{text}"', [Code.ANSWER_DATE_INVALID])
        for text in ("2023-02-29", "2023-13-01", "2023-00-10", "0000-01-01", "20230101", "2023-1-1", "01/02/2023")
    ),
    ("date", '"\uff12023-01-01"', [Code.ANSWER_DATE_INVALID]),
    *(
        ("time", f'"{text}"', [Code.ANSWER_TIME_INVALID])
        for text in ("24:00", "23:60", "23:59:60", "9:00", "09:00Z", "09:00:00.5", "\u0660\u0669:00")
    ),
    *(
        ("datetime", f'"{text}"', [Code.ANSWER_DATETIME_INVALID])
        for text in (
            "2026-03-29 02:30:00",
            "2026-03-29T02:00",
            "2026-03-29",
            "2026-02-30T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-06-30T23:59:60Z",
            "2026-01-01T10:00Z",
            "2026-01-01T10:00.5",
            "2026-01-01T10:00:00.1234567890Z",
            "2026-01-01T10:00:00.Z",
            "2026-01-01T10:00:00+0200",
            "2026-01-01T10:00:00+24:00",
            "0001-01-01T00:00:00+00:01",
            "0001-01-01 00:00:00",
            "9999-12-31T23:59:59-00:01",
        )
    ),
    *(
        ("email", f'"{text}"', [Code.ANSWER_EMAIL_INVALID])
        for text in ("jane", "jane@", "@example.org", "a@b@example.org", "Jane <jane@example.org>", "a@localhost")
    ),
    ("email", '"' + "a" * 100_000 + '@example.org"', [Code.ANSWER_EMAIL_INVALID]),
    *(
        ("phone", f'"{text}"', [Code.ANSWER_PHONE_INVALID])
        for text in ("12", "hello", "+999 123", "030 123456 ext. 7", "+", "9" * 300)
    ),
    ("us phone", '"030 123456"', [Code.ANSWER_PHONE_INVALID]),
    ("select", '"ja"', [Code.ANSWER_OPTION_UNKNOWN]),
    ("radio", '"Ja\\u0000"', [UNSTORABLE]),
    ("multiselect", '"Ja"', [TYPE_INVALID]),
    ("multiselect", '["Ja",1]', [TYPE_INVALID]),
    ("multiselect", '["Ja","Ja "]', [Code.ANSWER_OPTION_DUPLICATE]),
    ("multiselect", '[""]', [Code.ANSWER_OPTION_UNKNOWN]),
    ("multiselect", '["Ja","x","Ja"]', [Code.ANSWER_OPTION_UNKNOWN, Code.ANSWER_OPTION_DUPLICATE]),
    ("checkbox", '"on"', [Code.ANSWER_BOOLEAN_INVALID]),
    ("boolean", "1", [TYPE_INVALID]),
    ("boolean", '"1"', [Code.ANSWER_BOOLEAN_INVALID]),
    *(
        ("rating", text, [Code.ANSWER_RATING_INVALID])
        for text in ("0", "6", "-1", "4.5", '"good"', "1e999999", "1e-400", '"5,0"')
    ),
    ("rating in words", "1", [TYPE_INVALID]),
    ("rating in words", '"2"', [Code.ANSWER_OPTION_UNKNOWN]),
    *(
        ("file", reference(**changed), [Code.ANSWER_FILE_INVALID])
        for changed in (
            {"url": "http://files.example.org/a.pdf"},
            {"url": "https://"},
            {"url": "https:///a.pdf"},
            {"url": "https://user@files.example.org/"},
            {"url": "https://files.example.org\\@evil.example/"},
            {"url": "https://files.example.org/a b"},
            {"url": "https://files.example.org:99999/"},
            {"url": "https://[::1/"},
            {"url": "https://files.example.org/" + "a" * 2_048},
            {"url": 5},
            {"name": ""},
            {"name": "a" * 256},
            {"size": -1},
            {"size": 1.5},
            {"size": "10"},
            {"size": True},
            {"size": 2**63},
            {"content_type": "pdf"},
            {"content_type": "text/plain; charset=utf-8"},
            {"sha256": "ab"},
            {"bytes": "QUJD"},
        )
    ),
    ("file", reference(name=None), [Code.ANSWER_FILE_INVALID]),
    ("file", reference().replace('"a.pdf"', '"a\\u0000"'), [UNSTORABLE]),
    ("file", "{}", [Code.ANSWER_FILE_INVALID]),
    ("no such question", "null", [Code.ANSWER_UNKNOWN_QUESTION]),
]


@pytest.mark.parametrize(("question", "answer", "codes"), cases(REFUSED))
def test_refused(question: str, answer: str, codes: list[Code]) -> None:
    faults = RULES.check(row(question, answer))
    assert isinstance(faults, tuple)
    assert [fault[:2] for fault in faults] == [(question, code) for code in codes]
    assert all(fault.message.startswith(("send ", "answer ")) for fault in faults)


def test_no_message_quotes_the_answer() -> None:
    secret = "Xyzzy"
    for question in QUESTIONS:
        for answer in (f'"{secret}\\u0000"', f'["{secret}",5]', f'{{"{secret}":"{secret}\\u0000"}}'):
            faults = RULES.check(row(question, answer))
            assert isinstance(faults, tuple)
            assert not any(secret in fault.message for fault in faults)
