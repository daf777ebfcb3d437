"""The main job on 10,000 real reports: a file, the queue, a worker, the tables; exactly once however often."""

from collections.abc import Callable

import pytest

from penstock.producers import Producer
from penstock.producers.queue.records import JobState
from penstock.schemas.identity import job_id
from penstock.schemas.limits import Limits
from penstock.workers.demo import FORM_FILE, SUBMISSIONS_FILE
from penstock.workers.handover.files import open_submissions
from tests.system import Database, Penstock, Run, WorkerProcess, wait_for

pytestmark = pytest.mark.usefixtures("worker")

ROWS, GOOD, BAD = 10_000, 9_985, 15

CONTENT = """
SELECT (SELECT count(*) FROM penstock.submissions),
       (SELECT md5(string_agg(s::text, '' ORDER BY submission_id)) FROM penstock.submissions s),
       (SELECT md5(string_agg(b::text, '' ORDER BY batch_id)) FROM penstock.submission_batches b),
       (SELECT md5(string_agg(r::text, '' ORDER BY batch_id, position)) FROM penstock.submission_rejections r)
"""


@pytest.fixture(scope="module")
def first(penstock: Penstock, worker: WorkerProcess) -> Run:
    assert penstock("forms", "apply", FORM_FILE, "--id", "wildlife-strikes").code == 0
    return submit(penstock)


def submit(penstock: Penstock) -> Run:
    return penstock(
        "submit", "wildlife-strikes", SUBMISSIONS_FILE, "--batch-id", "strikes", "--wait", "--json"
    )  # fmt: skip


def counts(run: Run) -> dict[str, int]:
    assert run.code == 0, run.err
    told = run.json
    assert told.pop("seconds") > 0
    return told


def test_every_row_is_stored_or_rejected(first: Run, database: Database) -> None:
    assert counts(first) == {"batches": 10, "stored": GOOD, "rejected": BAD, "duplicates": 0}
    assert database.value("SELECT count(*) FROM penstock.submissions") == GOOD
    assert database.value("SELECT count(DISTINCT submission_id) FROM penstock.submissions") == GOOD
    assert database.value("SELECT count(*) FROM penstock.submission_rejections") == BAD


def test_the_same_command_again_changes_nothing(first: Run, penstock: Penstock, database: Database) -> None:
    before = database.query(CONTENT)
    assert counts(submit(penstock)) == {"batches": 10, "stored": 0, "rejected": 0, "duplicates": ROWS}
    assert database.query(CONTENT) == before


def test_a_batch_delivered_again_changes_nothing(
    first: Run, penstock: Penstock, database: Database, deliver_again: Callable[[], None]
) -> None:
    before = database.query(CONTENT)
    deliver_again()
    assert database.query(CONTENT) == before


@pytest.fixture
def deliver_again(environment: dict[str, str]) -> Callable[[], None]:
    """Puts all ten batches into the queue once more, past every check of the command, and waits for the worker."""

    def deliver() -> None:
        with Producer.from_environment(environment) as producer, open_submissions(SUBMISSIONS_FILE, Limits()) as file:
            done = producer.submit("wildlife-strikes", file.rows(), batch_id="strikes")
            ids = [job_id("default", "submission_batch.write", batch) for batch in done.batch_ids]
            wait_for(
                lambda: all(record.state is JobState.DONE for record in producer.jobs(ids).values()),
                "ten redelivered batches",
            )

    return deliver


def test_batch_show_tells_counts_and_reasons(first: Run, penstock: Penstock) -> None:
    told = penstock("batch", "show", "strikes", "--rejections", "--json").json
    assert (told["state"], told["stored"], told["rejected"], told["rows"]) == ("done", GOOD, BAD, ROWS)
    assert told["faults"] == {"ANSWER_OPTION_UNKNOWN": BAD}
    assert told["success_rate"] == GOOD / ROWS
    items = told["rejections"]["items"]
    assert len(items) == BAD
    assert {item["content"]["answers"]["damage"] for item in items} == {"B", "C"}
    assert {fault["question_id"] for item in items for fault in item["faults"]} == {"damage"}


def test_batch_show_pages_through_the_rejections(first: Run, penstock: Penstock) -> None:
    seen: list[tuple[str, int]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = penstock(
            "batch", "show", "strikes", "--rejections", "--limit", "4", "--after", cursor, "--json"
        ).json["rejections"]  # fmt: skip
        seen += [(item["batch_id"], item["position"]) for item in page["items"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == BAD
    assert seen == sorted(seen)


def test_batch_show_tells_people_too(first: Run, penstock: Penstock) -> None:
    shown = penstock("batch", "show", "strikes", "--rejections").out
    assert "stored 9,985  rejected 15  duplicates 0" in shown
    assert shown.count("damage: ANSWER_OPTION_UNKNOWN") == BAD


def test_answers_are_stored_as_they_were_sent(first: Run, database: Database) -> None:
    row = database.value(
        "SELECT answers FROM penstock.submissions WHERE batch_id = 'strikes-0001' AND answers ->> 'aircraft' = 'T-38A'"
        " AND answers ->> 'flight_date' = '1990-01-08'"
    )
    assert row == {
        "airport": "BARKSDALE AIR FORCE BASE ARPT", "aircraft": "T-38A", "operator": "MILITARY", "state": "Louisiana",
        "flight_date": "1990-01-08", "phase": "Climb", "damage": "None", "wildlife_size": "Large",
        "species": "Turkey vulture", "time_of_day": "Day", "cost_other": 0, "cost_repair": 0, "cost_total": 0,
        "speed_knots": 300,
    }  # fmt: skip


def test_no_row_went_to_the_default_partition(first: Run, database: Database) -> None:
    assert database.value("SELECT count(*) FROM penstock.submissions_default") == 0


def test_the_workers_log_holds_no_answer(first: Run, worker: WorkerProcess) -> None:
    told = "\n".join(worker.lines)
    assert "the job is done" in told
    assert "Turkey vulture" not in told
    assert "BARKSDALE" not in told
