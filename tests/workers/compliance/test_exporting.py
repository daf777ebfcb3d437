"""An export is a private archive with all that is stored of a person, and digests that tell of every change."""

import hashlib
import json
import stat
import uuid
import zipfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.person_data import SubjectKind
from penstock.workers.compliance import rejections, submissions
from penstock.workers.compliance.carrying_out import carry_out_export, write_export
from penstock.workers.compliance.person import find_person
from penstock.workers.compliance.requests import Asked, ask
from penstock.workers.erasures.subjects import Subject
from penstock.workers.job import Dead, Done, Job
from penstock.workers.run import assemble
from tests.person_kit import ADDRESS, KEYS, Desk, by_email
from tests.posts_kit import TENANT as POSTS_TENANT
from tests.posts_kit import new_account, new_post
from tests.system import Database, wait_for
from tests.workers.batches import Batches, apply

FORM = {
    "title": "Visits",
    "purpose": "To plan visits",
    "legal_basis": "consent",
    "questions": [
        {"id": "name", "text": "Name", "type": "text", "required": True},
        {"id": "email", "text": "E-mail", "type": "email"},
    ],
}


@pytest.fixture(autouse=True, scope="module")
def _form(database: Database, parts: object) -> None:
    apply(database, "visits", FORM)


def export(desk: Desk, subject: Subject, path: Path, tenant: str = "default") -> dict[str, list[dict[str, Any]]]:
    """The records of each file; their digests are as the manifest says."""
    request = desk.ask(subject, "export", tenant)
    with psycopg.connect(desk.database.url) as connection:
        person = find_person(connection, tenant, subject)
    manifest = write_export(desk.transactions, request, person, path)
    assert desk.look(request).state == "done"
    return read(path, manifest)


def read(path: Path, manifest: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("manifest.json")) == manifest
        for name, told in manifest["files"].items():
            content = archive.read(name)
            assert hashlib.sha256(content).hexdigest() == told["sha256"]
            found[name.removesuffix(".jsonl")] = [json.loads(line) for line in content.splitlines()]
            assert len(found[name.removesuffix(".jsonl")]) == told["records"]
    return found


def test_all_of_a_person_and_nothing_of_others(
    batches: Batches, desk: Desk, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "SLICE_BLOCKS", 1)
    monkeypatch.setattr(rejections, "SLICE_ROWS", 1)
    rows = [{"name": f"Ada {n}", "email": ADDRESS if n % 2 else "grace@example.org"} for n in range(200)]
    batches.run(batches.job([json.dumps({"answers": row}).encode() for row in rows], "b", form_id="visits"))
    bad = [b'{"answers":{"email":"%s"}}' % ADDRESS.encode(), b'{"answers":{"email":"x@example.org"}}']
    batches.run(batches.job(bad, "c", form_id="visits"))
    path = tmp_path / "ada.zip"
    found = export(desk, by_email(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(row["answers"]["name"] for row in found["submissions"]) == sorted(
        f"Ada {n}" for n in range(1, 200, 2)
    )
    assert [(row["batch_id"], row["position"]) for row in found["rejections"]] == [("c", 0)]
    (form,) = [form for form in found["forms"] if form["form_id"] == "visits"]
    assert (form["version"], form["purpose"], form["legal_basis"]) == (1, "To plan visits", "consent")
    assert database.value("SELECT count(*) FROM penstock.submissions") == 200
    action = "SELECT count(*) FROM penstock.operator_actions WHERE action = 'person_data.export'"
    assert database.value(action) == 1


def test_an_owners_posts_and_accounts_without_tokens(desk: Desk, database: Database, tmp_path: Path) -> None:
    with psycopg.connect(database.url) as connection:
        account = new_account(connection, owner="Ada")
        post = new_post(connection, account, owner="Ada")
        new_post(connection, account, owner="grace")
    found = export(desk, Subject(SubjectKind.OWNER, "ada"), tmp_path / "ada.zip", POSTS_TENANT)
    assert [one["post_id"] for one in found["posts"]] == [str(post)]
    assert [one["account_id"] for one in found["accounts"]] == [str(account)]
    assert "token" not in json.dumps(found["accounts"])


def test_a_file_that_is_there_is_not_written_over(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "ada.zip"
    path.write_text("somebody's")
    with pytest.raises(InvalidInputError) as caught:
        export(desk, by_email(), path)
    assert caught.value.code is Code.REQUEST_USAGE
    assert [one.name for one in tmp_path.iterdir()] == ["ada.zip"]
    assert path.read_text() == "somebody's"


def test_a_worker_writes_it_into_its_folder_as_often_as_the_job_runs(desk: Desk, tmp_path: Path) -> None:
    request = desk.ask(by_email(), "export")
    with pytest.raises(InvalidInputError, match="PENSTOCK_PERSON_EXPORT_DIR"):
        carry_out_export(desk.transactions, desk.settings, request.request_id)
    settings = desk.settings.model_copy(update={"person_export_dir": tmp_path})
    (tmp_path / f"{request.request_id}.zip").write_text("of a run that was cut off")
    for _ in range(2):
        carry_out_export(desk.transactions, settings, request.request_id)
    receipt = desk.look(request).receipt
    assert receipt is not None
    assert receipt["file"] == f"{request.request_id}.zip"
    with zipfile.ZipFile(tmp_path / receipt["file"]) as archive:
        assert json.loads(archive.read("manifest.json"))["files"] == receipt["files"]


def test_the_actors_prove_what_they_did(batches: Batches, desk: Desk, database: Database, tmp_path: Path) -> None:
    from_folder = assemble(desk.settings.model_copy(update={"person_export_dir": tmp_path}), batches.parts.pool)
    request, erasure = desk.ask(by_email(), "export"), desk.ask(by_email())

    def job(kind: str, request_id: uuid.UUID) -> Job:
        payload = json.dumps({"request_id": str(request_id)}).encode()
        return Job(uuid.uuid4(), kind, "default", batches.enqueued_at, 1, payload)

    (outcome,) = batches.run(job("person_data.export", request.request_id))
    assert isinstance(outcome, Dead)
    assert outcome.code is Code.CONFIG_INVALID
    (unknown,) = batches.run(job("person_data.erase", uuid.uuid4()))
    assert isinstance(unknown, Dead)
    assert unknown.code is Code.REQUEST_PERSON_NOT_FOUND
    done = job("person_data.export", request.request_id)
    assert from_folder.execution.run([done]) == [Done()]
    erasing = job("person_data.erase", erasure.request_id)
    wait_for(lambda: isinstance(from_folder.execution.run([erasing])[0], Done), "the end of the erasure")
    assert from_folder.execution.run([done]) == from_folder.execution.run([erasing]) == [Done(repeated=True)]
    effects = {found for (found,) in database.query("SELECT job_id FROM penstock.job_effects")}
    assert {done.job_id, erasing.job_id} <= effects


def test_a_reason_that_names_the_person_is_refused(desk: Desk) -> None:
    with psycopg.connect(desk.database.admin_url) as connection, pytest.raises(InvalidInputError) as caught:
        ask(connection, KEYS, Asked("erase", "default", by_email(), "dpo", f"asked by {ADDRESS.upper()}"))
    assert caught.value.code is Code.REQUEST_USAGE
    assert ADDRESS not in caught.value.message
