"""A form's definition: what is accepted, and that every fault is told at once."""

import json
from typing import Any

import pytest

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.forms import QuestionType, parse_form

ONE = {"id": "q", "text": "What?", "type": "text"}


def form(*questions: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"title": "A form", "questions": list(questions) or [ONE]} | members


def question(kind: str, **members: Any) -> dict[str, Any]:
    return {"id": "q", "text": "What?", "type": kind} | members


REFUSED = {
    "no title": ({"questions": [ONE]}, "title"),
    "empty title": (form(title=""), "title"),
    "title of 201": (form(title="x" * 201), "title"),
    "description of 1001": (form(description="x" * 1001), "description"),
    "no questions": ({"title": "x", "questions": []}, "questions"),
    "question text of 501": (form(question("text", text="x" * 501)), "questions.0.text"),
    "unknown type": (form(question("colour")), "questions.0.type"),
    "two of one id": (form(ONE, ONE), "questions"),
    "unknown member": (form(colour="red"), "colour"),
    "select without options": (form(question("select")), "questions.0"),
    "options on a text": (form(question("text", options=["a"])), "questions.0"),
    "options alike after trimming": (form(question("radio", options=["a", " a\u00a0"])), "questions.0.options"),
    "an empty option": (form(question("radio", options=["a", " "])), "questions.0.options"),
    "min above max": (form(question("number", min=2, max=1)), "questions.0"),
    "max_length on a number": (form(question("number", max_length=3)), "questions.0"),
    "region on a text": (form(question("text", region="DE")), "questions.0"),
    "rating with options and max": (form(question("rating", options=["a"], max=3)), "questions.0"),
    "rating of half a point": (form(question("rating", max=3.5)), "questions.0"),
    "unknown zone": (form(timezone="Mars/Olympus"), "timezone"),
    "zone that is a path": (form(timezone="../../etc/passwd"), "timezone"),
    "region in lower case": (form(region="de"), "region"),
    "an id with a slash": (form(id="a/b"), "id"),
    "NUL in an option": (form(question("radio", options=["a\0"])), "questions.0.options"),
}


@pytest.mark.parametrize(("definition", "at"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_place_of_the_fault(definition: dict[str, Any], at: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_form(definition)
    assert caught.value.code is Code.FORM_INVALID
    assert [fault["at"] for fault in caught.value.details["faults"]] == [at]


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_form({"title": "", "questions": [question("select"), question("colour", id="b")]})
    assert len(caught.value.details["faults"]) == 3


@pytest.mark.parametrize("text", ['{"title": "x", ', "[]", "7", "\ud800"])
def test_what_is_no_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="FORM_INVALID"):
        parse_form(text)


def test_all_fifteen_types_make_a_form() -> None:
    needs = {"select", "multiselect", "radio"}
    questions = [
        {"id": kind.value, "text": "What?", "type": kind.value} | ({"options": ["a"]} if kind in needs else {})
        for kind in QuestionType
    ]
    assert len(parse_form(form(*questions)).questions) == 15


def test_equal_definitions_have_equal_canonical_bytes_whatever_their_order_and_id() -> None:
    one = parse_form('{"title": "x", "id": "a", "questions": [{"id": "q", "text": "t", "type": "text"}]}')
    other = parse_form('{"questions": [{"type": "text", "id": "q", "text": "t", "required": false}], "title": "x"}')
    assert one.canonical_json() == other.canonical_json()
    assert parse_form(one.canonical_json()) == parse_form(json.loads(other.canonical_json()))
