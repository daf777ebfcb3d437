"""Real answers, judged by the product and by rules written a second time from the same text."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from penstock.schemas.forms import parse_form
from penstock.workers.answers.form_rules import FormRules
from tests import thanksgiving_oracle

if not thanksgiving_oracle.IS_HERE:
    pytest.skip(thanksgiving_oracle.WHY_NOT, allow_module_level=True)

FORM = thanksgiving_oracle.form()
RULES = FormRules(parse_form(FORM))
ROWS = list(thanksgiving_oracle.sent_rows())


def judged(answers: dict[str, Any]) -> thanksgiving_oracle.Expected:
    outcome = RULES.check(json.dumps(answers).encode())
    if isinstance(outcome, bytes):
        return thanksgiving_oracle.Expected(json.loads(outcome), [])
    return thanksgiving_oracle.Expected(None, [(str(fault.question_id), str(fault.code)) for fault in outcome])


def test_every_row_of_the_poll_becomes_what_it_must() -> None:
    outcomes = [judged(answers) for answers in ROWS]
    assert outcomes == [thanksgiving_oracle.expected(answers, FORM) for answers in ROWS]
    assert len(outcomes) == 1_058
    # The figure of the data's own note: rows with white space at the end of a free text.
    assert sum(outcome.answers != answers for outcome, answers in zip(outcomes, ROWS, strict=True)) == 30


DIRT: dict[str, Callable[[Any], Any]] = {
    "no-break spaces around texts": lambda answer: f"\u00a0{answer}\u3000" if isinstance(answer, str) else answer,
    "choices twice": lambda answer: answer * 2 if isinstance(answer, list) else answer,
    "unknown options": lambda answer: f"{answer}?" if isinstance(answer, str) else answer,
    "booleans as words": lambda answer: "YES " if answer is True else answer,
    "booleans as numbers": lambda answer: 1 if answer is True else answer,
    "lists of numbers": lambda answer: [1] if isinstance(answer, list) else answer,
    "nulls": lambda answer: None if answer else answer,
}


@pytest.mark.parametrize("dirty", [pytest.param(dirty, id=name) for name, dirty in DIRT.items()])
def test_rows_made_dirty_become_what_they_must(dirty: Callable[[Any], Any]) -> None:
    rows = [{name: dirty(answer) for name, answer in answers.items()} | {"unknown": 1} for answers in ROWS[:100]]
    rows += [{name: dirty(answer) for name, answer in answers.items()} for answers in ROWS[:300]]
    assert [judged(answers) for answers in rows] == [thanksgiving_oracle.expected(answers, FORM) for answers in rows]
