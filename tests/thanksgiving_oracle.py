"""What must become of each row of the Thanksgiving poll, told independently of the product.

Written straight from the rules for answers, for the types that this form has: text, select, radio, multiselect,
boolean and checkbox without options. It imports none of the product's rules and shares no code with them.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

#: `form.json` and `submissions.jsonl` of the poll (FiveThirtyEight, CC BY 4.0). The project does not hold them.
FOLDER = Path(
    os.environ.get("PENSTOCK_TEST_POLL") or Path(__file__).parents[2] / "shared" / "data" / "thanksgiving-2015"
)
IS_HERE = (FOLDER / "form.json").is_file()
WHY_NOT = f"the Thanksgiving poll is not at {FOLDER}: set PENSTOCK_TEST_POLL to the folder that has it"

#: The characters with the Unicode property White_Space, by number.
_WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F}
_WHITE_SPACE.add(0x3000)

_WORDS = {"true": True, "yes": True, "false": False, "no": False}

_MISSING = object()


class Expected(NamedTuple):
    """What must become of a row: its stored answers, or where it is rejected the (question id, code) of each fault."""

    answers: dict[str, Any] | None
    faults: list[tuple[str, str]]


def form() -> dict[str, Any]:
    """The poll's form."""
    definition: dict[str, Any] = json.loads((FOLDER / "form.json").read_text())
    return definition


def sent_rows() -> Iterator[dict[str, Any]]:
    """The answers of each row in the order of the file."""
    with (FOLDER / "submissions.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["answers"]


def expected(answers: dict[str, Any], definition: dict[str, Any]) -> Expected:
    """Judge one row."""
    stored: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    questions = {question["id"]: question for question in definition["questions"]}
    for name, question in questions.items():
        answer, codes = _judged(answers.get(name), question)
        faults += [(name, code) for code in codes]
        if answer is not _MISSING:
            stored[name] = answer
    faults += [(name, "ANSWER_UNKNOWN_QUESTION") for name in answers if name not in questions]
    return Expected(None, faults) if faults else Expected(stored, [])


def _judged(answer: Any, question: dict[str, Any]) -> tuple[Any, list[str]]:
    """The stored answer, or `_MISSING` and the codes of the faults."""
    if isinstance(answer, str):
        answer = _without_white_space_at_ends(answer)
    if answer in (None, "", []):
        return _MISSING, ["ANSWER_REQUIRED"] if question["required"] else []
    judge = {
        "text": _text,
        "select": _one,
        "radio": _one,
        "multiselect": _several,
        "boolean": _yes_or_no,
        "checkbox": _yes_or_no,
    }[question["type"]]
    return judge(answer, question)


def _text(answer: Any, question: dict[str, Any]) -> tuple[Any, list[str]]:
    if not isinstance(answer, str):
        return _MISSING, ["ANSWER_TYPE_INVALID"]
    codes = ["ANSWER_TOO_LONG"] if len(answer) > question.get("max_length", 1_000) else []
    if any(ord(character) == 0 or 0xD800 <= ord(character) <= 0xDFFF for character in answer):
        codes.append("ANSWER_TEXT_UNSTORABLE")
    return (_MISSING, codes) if codes else (answer, [])


def _one(answer: Any, question: dict[str, Any]) -> tuple[Any, list[str]]:
    if not isinstance(answer, str):
        return _MISSING, ["ANSWER_TYPE_INVALID"]
    for option in question["options"]:
        if _without_white_space_at_ends(option) == answer:
            return option, []
    return _MISSING, ["ANSWER_OPTION_UNKNOWN"]


def _several(answer: Any, question: dict[str, Any]) -> tuple[Any, list[str]]:
    if not isinstance(answer, list) or any(not isinstance(choice, str) for choice in answer):
        return _MISSING, ["ANSWER_TYPE_INVALID"]
    chosen = [_one(_without_white_space_at_ends(choice), question)[0] for choice in answer]
    known = [option for option in chosen if option is not _MISSING]
    codes = ["ANSWER_OPTION_UNKNOWN"] if len(known) < len(chosen) else []
    codes += ["ANSWER_OPTION_DUPLICATE"] if any(known.count(option) > 1 for option in known) else []
    return (_MISSING, codes) if codes else (chosen, [])


def _yes_or_no(answer: Any, _question: dict[str, Any]) -> tuple[Any, list[str]]:
    if isinstance(answer, bool):
        return answer, []
    if not isinstance(answer, str):
        return _MISSING, ["ANSWER_TYPE_INVALID"]
    value = _WORDS.get(answer.lower())
    return (_MISSING, ["ANSWER_BOOLEAN_INVALID"]) if value is None else (value, [])


def _without_white_space_at_ends(text: str) -> str:
    begin, end = 0, len(text)
    while begin < end and ord(text[begin]) in _WHITE_SPACE:
        begin += 1
    while end > begin and ord(text[end - 1]) in _WHITE_SPACE:
        end -= 1
    return text[begin:end]
