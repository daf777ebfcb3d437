"""Rejected rows, corrected and sent again: only those, each at most once."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from penstock.schemas.identity import SubmissionIds
from tests.system import Database, Penstock, Run

pytestmark = pytest.mark.usefixtures("worker")

FORM = {
    "title": "Colours",
    "questions": [{"id": "c", "text": "Which?", "type": "radio", "options": ["red", "blue"], "required": True}],
}


@pytest.fixture(scope="module")
def batch(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("replay")
    (folder / "colours.json").write_text(json.dumps(FORM))
    assert penstock("forms", "apply", folder / "colours.json").code == 0
    answers = ["red", "green", "blue", "pink", "red", "grey"]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"answers": {"c": c}}) + "\n" for c in answers))
    run = penstock(
        "submit", "colours", folder / "rows.jsonl", "--batch-id", "c", "--batch-size", "4", "--wait", "--json"
    )
    assert (run.json["stored"], run.json["rejected"]) == (3, 3)
    return "c"


def replay(penstock: Penstock, path: Path, target: str, rows: list[dict[str, Any]]) -> Run:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return penstock("batch", "replay-rejections", target, path, "--wait", "--json")


def corrected(position: int, colour: str, batch_id: str | None = None) -> dict[str, Any]:
    return {"position": position, "answers": {"c": colour}} | ({"batch_id": batch_id} if batch_id else {})


def test_rejected_rows_are_replaced_once(penstock: Penstock, batch: str, database: Database, tmp_path: Path) -> None:
    path = tmp_path / "fixed.jsonl"
    first = replay(penstock, path, "c-0001", [corrected(1, "blue"), corrected(3, "purple")])
    assert (first.json["stored"], first.json["rejected"], first.json["duplicates"]) == (1, 1, 0)
    again = replay(penstock, path, "c-0001", [corrected(1, "blue"), corrected(3, "purple")])
    assert (again.json["stored"], again.json["rejected"], again.json["duplicates"]) == (0, 0, 2)
    other = replay(penstock, path, "c-0001", [corrected(1, "red"), corrected(3, "red")])
    assert (other.json["stored"], other.json["rejected"], other.json["duplicates"]) == (1, 0, 1)
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE form_id = 'colours'") == 5
    open_rows = database.query(
        "SELECT batch_id, position FROM penstock.submission_rejections WHERE resolved_at IS NULL ORDER BY 1, 2"
    )
    assert ("c-0002", 1) in open_rows
    assert ("c-0001", 1) not in open_rows


def test_rows_of_a_whole_file_name_their_batch(penstock: Penstock, batch: str, tmp_path: Path) -> None:
    run = replay(penstock, tmp_path / "f.jsonl", "c", [corrected(1, "red", "c-0002")])
    assert (run.json["batches"], run.json["stored"]) == (1, 1)


def test_the_replayed_row_keeps_its_identity(penstock: Penstock, batch: str, database: Database) -> None:
    expected = {uuid.UUID(bytes=SubmissionIds("default", "colours").of_positions("c")(n)) for n in range(6)}
    stored = {row for (row,) in database.query("SELECT submission_id FROM penstock.submissions")}
    assert stored <= expected
    assert len(stored) == 6


@pytest.mark.parametrize(
    ("row", "code"),
    [
        pytest.param(corrected(0, "red"), "REQUEST_FILE_INVALID", id="a row that was stored"),
        pytest.param(corrected(99, "red"), "REQUEST_FILE_INVALID", id="no such row"),
        pytest.param({"answers": {"c": "red"}}, "REQUEST_FILE_INVALID", id="no position"),
        pytest.param(corrected(1, "red", "unknown"), "BATCH_NOT_FOUND", id="no such batch"),
    ],
)
def test_what_is_no_correction_is_refused(
    penstock: Penstock, batch: str, tmp_path: Path, row: dict[str, Any], code: str
) -> None:
    run = replay(penstock, tmp_path / "f.jsonl", "c-0001", [row])
    assert (run.code, run.error["code"]) == (1, code)
