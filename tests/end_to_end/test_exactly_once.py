"""Whose row is whose: tenants, forms, batch ids, row ids and instants."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from penstock.producers import Code, Producer, Submission, WriteSubmissionBatch
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.errors import ConflictError
from tests.system import Database, Penstock, Run, wait_for

pytestmark = pytest.mark.usefixtures("worker")

NOON = "2026-11-20T12:00:00Z"
FORM = {"title": "One question", "questions": [{"id": "q", "text": "What?", "type": "text"}]}

Submit = Callable[..., Run]


@pytest.fixture(scope="module")
def forms(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("forms") / "form.json"
    path.write_text(json.dumps(FORM))
    for tenant in ("acme", "globex"):
        for form in ("f", "g"):
            assert penstock("forms", "apply", path, "--id", form, "--tenant", tenant).code == 0


@pytest.fixture
def submit(penstock: Penstock, forms: None, tmp_path: Path) -> Submit:
    """Writes rows to a file and submits it with `--wait --json`."""

    def run(rows: list[dict[str, Any]], batch: str, *more: str, form: str = "f", tenant: str = "acme") -> Run:
        path = tmp_path / f"{uuid.uuid4()}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return penstock(
            "submit", form, path, "--batch-id", batch, "--tenant", tenant, "--wait", "--wait-seconds", "60",
            "--json", *more,
        )  # fmt: skip

    return run


def texts(count: int, prefix: str = "t") -> list[dict[str, Any]]:
    return [{"answers": {"q": f"{prefix}{number}"}} for number in range(count)]


def identified(count: int) -> list[dict[str, Any]]:
    return [{"id": f"row-{n}", "submitted_at": NOON, "answers": {"q": f"t{n}"}} for n in range(count)]


def tally(run: Run) -> tuple[int, int, int]:
    assert run.code == 0, run.err
    return run.json["stored"], run.json["rejected"], run.json["duplicates"]


def stored(database: Database) -> int:
    return int(database.value("SELECT count(*) FROM penstock.submissions"))


def test_two_tenants_with_the_same_ids_do_not_see_each_other(
    submit: Submit, penstock: Penstock, database: Database
) -> None:
    assert tally(submit(identified(3), "same", tenant="acme")) == (3, 0, 0)
    assert tally(submit(identified(5), "same", tenant="globex")) == (5, 0, 0)
    shown = {
        tenant: penstock("batch", "show", "same", "--tenant", tenant, "--json").json["stored"]
        for tenant in ("acme", "globex")
    }
    assert shown == {"acme": 3, "globex": 5}
    assert penstock("batch", "show", "same", "--tenant", "initech", "--json").error["code"] == "BATCH_NOT_FOUND"
    keys = database.query("SELECT form_key, count(*) FROM penstock.submissions WHERE batch_id = 'same-0001' GROUP BY 1")
    assert sorted(count for _, count in keys) == [3, 5]


def test_the_same_row_id_in_two_forms_is_two_submissions(submit: Submit) -> None:
    assert tally(submit(identified(2), "in-f", form="f", tenant="globex"))[2] == 2  # stored by the test above
    assert tally(submit(identified(2), "in-g", form="g", tenant="globex")) == (2, 0, 0)


@pytest.mark.parametrize(
    ("rows", "form", "more"),
    [
        pytest.param(texts(5, "other"), "f", (), id="other content"),
        pytest.param(texts(5), "g", (), id="another form"),
        pytest.param(texts(5), "f", ("--batch-size", "2"), id="another batch size"),
        pytest.param(texts(6), "f", (), id="one row more"),
    ],
)
def test_a_known_batch_id_with_other_work_is_a_conflict(
    submit: Submit, database: Database, rows: list[dict[str, Any]], form: str, more: tuple[str, ...]
) -> None:
    assert sum(tally(submit(texts(5), "taken"))) == 5
    before = stored(database)
    refused = submit(rows, "taken", *more, form=form)
    assert (refused.code, refused.error["code"]) == (1, "BATCH_CONFLICT")
    assert stored(database) == before
    assert database.value("SELECT count(*) FROM penstock.submission_batches WHERE batch_id LIKE 'taken-%%'") == 1


def test_white_space_in_the_file_is_no_other_content(submit: Submit, penstock: Penstock, tmp_path: Path) -> None:
    assert tally(submit(texts(2), "spaces")) == (2, 0, 0)
    spaced = tmp_path / "spaced.jsonl"
    spaced.write_text("\n".join(f' {{ "answers" :\t{{"q":  "t{n}" }} }} ' for n in range(2)) + "\n\n")
    again = penstock("submit", "f", spaced, "--batch-id", "spaces", "--tenant", "acme", "--wait", "--json")
    assert tally(again) == (0, 0, 2)


def test_an_id_without_an_instant_is_rejected(submit: Submit, penstock: Penstock) -> None:
    assert tally(submit([{"id": "x", "answers": {"q": "a"}}, *texts(1)], "no-time")) == (1, 1, 0)
    shown = penstock("batch", "show", "no-time", "--rejections", "--tenant", "acme", "--json").json
    (rejected,) = shown["rejections"]["items"]
    assert rejected["faults"][0]["code"] == "SUBMISSION_TIME_REQUIRED"
    assert (rejected["position"], rejected["id"], rejected["content"]["answers"]) == (0, "x", {"q": "a"})


def test_a_uuid7_brings_its_own_instant(submit: Submit, database: Database) -> None:
    row_id = "019aa3a2-0000-7000-8000-0123456789ab"
    assert tally(submit([{"id": row_id, "answers": {"q": "a"}}], "uuid7")) == (1, 0, 0)
    instant = database.value(
        "SELECT extract(epoch FROM submitted_at)::numeric FROM penstock.submissions WHERE submission_id = %s", row_id
    )
    assert int(instant * 1000) == uuid.UUID(row_id).int >> 80


def test_the_same_rows_resent_under_another_batch_id_are_duplicates(submit: Submit, database: Database) -> None:
    rows = [{"id": f"again-{n}", "submitted_at": NOON, "answers": {"q": "a"}} for n in range(4)]
    assert tally(submit(rows, "monday")) == (4, 0, 0)
    more = [*rows, {"id": "new", "submitted_at": NOON, "answers": {"q": "a"}}]
    assert tally(submit(more, "tuesday")) == (1, 0, 4)
    ledger = database.query(
        "SELECT stored, rejected, duplicates FROM penstock.submission_batches WHERE batch_id = 'tuesday-0001'"
    )
    assert ledger == [(1, 0, 4)]
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE external_id LIKE 'again-%%'") == 4


def test_the_same_id_with_another_instant_is_another_submission(submit: Submit) -> None:
    row = {"id": "twice", "submitted_at": NOON, "answers": {"q": "a"}}
    later = row | {"submitted_at": "2026-11-20T12:00:01Z"}
    elsewhere = row | {"submitted_at": "2026-11-20T13:00:00+01:00"}
    assert tally(submit([row, later, elsewhere], "instants")) == (2, 0, 1)


def test_rows_without_an_id_are_stored_however_equal(submit: Submit) -> None:
    assert tally(submit([{"answers": {"q": "same"}}] * 7, "equal")) == (7, 0, 0)


def test_a_new_version_judges_what_comes_after_it(submit: Submit, penstock: Penstock, tmp_path: Path) -> None:
    form = tmp_path / "versioned.json"
    form.write_text(json.dumps(FORM))
    assert penstock("forms", "apply", form, "--tenant", "acme", "--json").json["version"] == 1
    assert tally(submit(texts(1), "v1", form="versioned")) == (1, 0, 0)
    form.write_text(json.dumps(FORM | {"questions": [{"id": "other", "text": "Else?", "type": "text"}]}))
    assert penstock("forms", "apply", form, "--tenant", "acme", "--json").json["version"] == 2
    assert tally(submit(texts(1), "v2", form="versioned")) == (0, 1, 0)
    assert tally(submit(texts(1), "v1-named", "--form-version", "1", form="versioned")) == (1, 0, 0)


def test_a_conflict_is_told_at_once_and_later_by_the_ledger(
    submit: Submit, environment: dict[str, str], database: Database
) -> None:
    """Redis knows a batch for a window after its end; PostgreSQL knows it for ever."""
    with (
        Producer.from_environment(environment | {"PENSTOCK_TENANT": "acme"}) as producer,
        redis.Redis.from_url(environment["REDIS_URL"]) as client,
    ):

        def enqueue(text: str) -> uuid.UUID:
            rows = (Submission(answers={"q": text}),)
            return producer.enqueue(WriteSubmissionBatch(form_id="f", batch_id="unseen", submissions=rows)).job_id

        def ended(job: uuid.UUID, state: str) -> None:
            wait_for(lambda: (record := producer.job(job)) is not None and record.state == state, state)

        job = enqueue("one")
        ended(job, "done")
        with pytest.raises(ConflictError) as caught:
            enqueue("two")
        assert caught.value.code is Code.BATCH_CONFLICT
        ended(job, "done")
        # The window is over.
        client.delete(QueueKeys(environment["PENSTOCK_NAMESPACE"], "submissions").job(job))
        assert enqueue("two") == job
        ended(job, "dead")
        record = producer.job(job)
    assert record is not None
    assert record.code == "BATCH_CONFLICT"
    assert database.query("SELECT answers ->> 'q' FROM penstock.submissions WHERE batch_id = 'unseen'") == [("one",)]
