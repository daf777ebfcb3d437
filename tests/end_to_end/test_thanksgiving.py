"""1,058 real answers to a poll through the command line: each row's fate is what the oracle says, independently."""

import json
from typing import Any
from uuid import UUID

import pytest

from penstock.schemas.identity import SubmissionIds
from tests import thanksgiving_oracle as oracle
from tests.system import Database, Penstock, Run, WorkerProcess

pytestmark = pytest.mark.skipif(not oracle.IS_HERE, reason=oracle.WHY_NOT)

FORM_ID = "thanksgiving-2015"
BATCH_ROWS = 100


def damaged(answers: dict[str, Any], place: int) -> dict[str, Any]:
    """A row as another program might send it."""
    damages: list[dict[str, Any]] = [
        {"celebrates": "perhaps", "main_dish": 5, "unknown": 1},
        {"sides": ["Corn", "Corn", "Gravel"], "celebrates": None},
        {"celebrates": " YES\u00a0", "main_dish": "\u3000Turkey "},
        {"main_dish_other": "a\0b", "pies": "Apple"},
        {"main_dish_other": "x" * 1_001, "gravy": 1},
    ]
    return answers | damages[place % len(damages)]


@pytest.fixture(scope="module")
def sent() -> list[dict[str, Any]]:
    """The poll, and some of its rows once more, damaged."""
    rows = list(oracle.sent_rows())
    return rows + [damaged(answers, place) for place, answers in enumerate(rows[:250])]


@pytest.fixture(scope="module")
def submitted(
    penstock: Penstock, worker: WorkerProcess, sent: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    file = tmp_path_factory.mktemp("poll") / "rows.jsonl"
    file.write_text("".join(json.dumps({"answers": answers}) + "\n" for answers in sent))
    assert penstock("forms", "apply", oracle.FOLDER / "form.json", "--id", FORM_ID).code == 0
    run = penstock(
        "submit", FORM_ID, file, "--batch-id", "poll", "--batch-size", BATCH_ROWS, "--wait", "--json"
    )  # fmt: skip
    assert run.code == 0, run.err
    return run


@pytest.fixture(scope="module")
def expected(sent: list[dict[str, Any]]) -> dict[int, oracle.Expected]:
    """By the position in the file."""
    form = oracle.form()
    return {place: oracle.expected(answers, form) for place, answers in enumerate(sent)}


def test_the_counts_are_the_oracles(submitted: Run, expected: dict[int, oracle.Expected]) -> None:
    told = submitted.json
    assert len(expected) == 1_058 + 250
    stored = sum(row.answers is not None for row in expected.values())
    assert (told["stored"], told["rejected"], told["duplicates"]) == (stored, len(expected) - stored, 0)
    assert told["batches"] == -(-len(expected) // BATCH_ROWS)


def test_each_stored_row_has_the_answers_that_the_oracle_says(
    submitted: Run, expected: dict[int, oracle.Expected], database: Database
) -> None:
    id_at = SubmissionIds("default", FORM_ID).of_positions("poll")
    place_of = {UUID(bytes=id_at(place)): place for place in expected}
    rows = database.query("SELECT submission_id, answers FROM penstock.submissions")
    stored: dict[int, Any] = {place_of[submission_id]: answers for submission_id, answers in rows}
    assert stored == {place: row.answers for place, row in expected.items() if row.answers is not None}


def test_each_rejected_row_is_whole_and_has_the_faults_that_the_oracle_says(
    submitted: Run, expected: dict[int, oracle.Expected], database: Database, sent: list[dict[str, Any]]
) -> None:
    rows = database.query(
        "SELECT b.first_position + r.position, r.content, r.faults FROM penstock.submission_rejections r"
        " JOIN penstock.submission_batches b USING (tenant, batch_id)"
    )
    assert {place: content["answers"] for place, content, _ in rows} == {
        place: sent[place] for place, row in expected.items() if row.answers is None
    }
    assert {place: {(fault["question_id"], fault["code"]) for fault in faults} for place, _, faults in rows} == {
        place: set(row.faults) for place, row in expected.items() if row.answers is None
    }
