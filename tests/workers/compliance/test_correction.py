"""A correction is judged by the form, changes one submission, and is audited without values."""

import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.compliance.correction import Correction, Wanted, correct, plan
from tests.person_kit import Desk, by_email
from tests.system import Database
from tests.workers.batches import FORM, FORM_ID, Batches, apply

ROW = b'{"id":"r-1","submitted_at":"2026-01-02T03:04:05Z","answers":{"name":"Ada","age":36}}'
LATER = ROW.replace(b"03:04:05", b"03:04:06")


def run(database: Database, answers: dict[str, Any], given_id: str = "r-1", **more: Any) -> Correction:
    with psycopg.connect(database.admin_url) as connection:
        planned = plan(connection, Wanted("default", FORM_ID, given_id, answers, **more))
        correct(connection, planned, "dpo", "request 19")
        return planned


def stored(database: Database) -> list[dict[str, Any]]:
    return [answers for (answers,) in database.query("SELECT answers FROM penstock.submissions ORDER BY submitted_at")]


def test_answers_are_changed_taken_away_and_kept(batches: Batches, database: Database) -> None:
    batches.counts([ROW])
    found = run(database, {"name": " Ada L. ", "age": None})
    assert stored(database) == [{"name": "Ada L."}]
    assert [(one.question_id, one.before, one.after) for one in found.changes] == [
        ("name", "Ada", "Ada L."),
        ("age", 36, None),
    ]
    (action,) = database.query(
        "SELECT actor, reason, details FROM penstock.operator_actions WHERE action = 'person_data.correct'"
    )
    assert action[:2] == ("dpo", "request 19")
    assert action[2]["questions"] == ["name", "age"]
    assert "Ada" not in json.dumps(action[2])


@pytest.mark.parametrize(
    ("answers", "more", "code"),
    [
        ({"age": -1}, {}, Code.SUBMISSION_CORRECTION_INVALID),
        ({"name": None}, {}, Code.SUBMISSION_CORRECTION_INVALID),
        ({"height": 1}, {}, Code.SUBMISSION_CORRECTION_INVALID),
        (
            {"name": "Ada"},
            {"submitted_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)},
            Code.SUBMISSION_CORRECTION_INVALID,
        ),
        ({"name": "Eve"}, {}, Code.SUBMISSION_CORRECTION_INVALID),
        ({"name": "Eve"}, {"given_id": "r-2"}, Code.SUBMISSION_NOT_FOUND),
    ],
    ids=["out of range", "required", "unknown question", "nothing changes", "two of one id", "none of that id"],
)
def test_what_is_refused_changes_nothing(
    batches: Batches, database: Database, answers: dict[str, Any], more: dict[str, Any], code: Code
) -> None:
    batches.counts([ROW, LATER])
    at = {} if "submitted_at" in more or answers == {"name": "Eve"} else {"submitted_at": _first()}
    with pytest.raises(PenstockError) as caught:
        run(database, answers, **(more | at))
    assert caught.value.code is code
    assert stored(database) == [{"name": "Ada", "age": 36}] * 2


def _first() -> datetime:
    return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_version_that_judged_it_judges_it_again(batches: Batches, database: Database) -> None:
    batches.counts([ROW])
    apply(database, FORM_ID, FORM | {"questions": [FORM["questions"][0] | {"max_length": 3}]})
    assert run(database, {"age": 37}).form_version == 1
    assert stored(database) == [{"name": "Ada", "age": 37}]


def test_it_waits_for_an_erasure_of_the_tenant(batches: Batches, database: Database, desk: Desk) -> None:
    batches.counts([ROW])
    request = desk.ask(by_email())
    with pytest.raises(PenstockError) as caught:
        run(database, {"age": 37})
    assert caught.value.code is Code.SUBMISSION_ERASURE_RUNNING
    desk.carry_out(request)
    run(database, {"age": 37})
