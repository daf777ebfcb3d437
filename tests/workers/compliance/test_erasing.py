"""An erasure finds a person in each place, takes nothing of others, and leaves nothing behind."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from penstock.producers.queue.compression import compress, decompress
from penstock.producers.storage.outbox import enqueue_in_transaction
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.schemas.person_data import SubjectKind
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.actors.submission_batch import KEYS_AWAITED
from penstock.workers.broker.leases import Leases, Settlement, Verb, new_boot_id
from penstock.workers.compliance import erasing, submissions
from penstock.workers.compliance.archiving import WithoutErased
from penstock.workers.dead_letters.archive import Archive
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.store import insert_letters
from penstock.workers.erasures.subjects import Subject, submission_id_of
from penstock.workers.job import Done, Job, Postpone
from penstock.workers.run import assemble
from tests.person_kit import ADDRESS, Desk, by_email
from tests.posts_kit import TENANT as POSTS_TENANT
from tests.posts_kit import new_account, new_post
from tests.system import Database
from tests.workers.batches import Batches, apply

FORM = {
    "title": "Visits",
    "questions": [
        {"id": "name", "text": "Name", "type": "text", "required": True},
        {"id": "email", "text": "E-mail", "type": "email"},
        {"id": "guide", "text": "The guide's e-mail", "type": "email", "subject": False},
        {"id": "card", "text": "Card", "type": "text", "subject": True},
        {"id": "phone", "text": "Phone", "type": "phone", "region": "DE", "subject": True},
        {"id": "remark", "text": "Remark", "type": "textarea"},
    ],
}
FORM_ID = "visits"
SECRET = "Countess-of-Lovelace"
OTHER = "grace.hopper@example.org"


def row(email: str | None = ADDRESS, name: str = SECRET, /, row_id: str | None = None, **more: Any) -> bytes:
    answers = {"name": name, **({} if email is None else {"email": email}), **more}
    identity = {} if row_id is None else {"id": row_id, "submitted_at": "2026-01-02T03:04:05Z"}
    return json.dumps({**identity, "answers": answers}).encode()


def of_others() -> bytes:
    return row(OTHER, "Grace")


@pytest.fixture(autouse=True, scope="module")
def _form(database: Database, parts: object) -> None:
    apply(database, FORM_ID, FORM)
    apply(database, FORM_ID, FORM, tenant="other")


@pytest.fixture
def visits(batches: Batches, database: Database) -> Iterator[Batches]:
    yield batches
    database.query("ALTER TABLE penstock.dead_letters DISABLE TRIGGER ALL")
    database.query("DELETE FROM penstock.dead_letters")
    database.query("DELETE FROM penstock.outbox")
    database.query("ALTER TABLE penstock.dead_letters ENABLE TRIGGER ALL")
    database.query("ALTER TABLE penstock.dead_letters ENABLE ALWAYS TRIGGER dead_letters_unresolved_stay")
    database.query("ALTER TABLE penstock.dead_letters ENABLE ALWAYS TRIGGER dead_letters_are_not_emptied")


def job_of(batches: Batches, rows: list[bytes], batch_id: str, **head: Any) -> Job:
    return batches.job(rows, batch_id, form_id=FORM_ID, **head)


def changed(job: Job, *, enqueued_at: datetime | None = None, payload: bytes | None = None) -> Job:
    return Job(job.job_id, job.kind, job.tenant, enqueued_at or job.enqueued_at, 1, payload or job.payload)


def store(batches: Batches, rows: list[bytes], batch_id: str = "b", **head: Any) -> dict[str, int]:
    (outcome,) = batches.run(job_of(batches, rows, batch_id, **head))
    assert isinstance(outcome, Done), outcome
    return dict(outcome.counts)


def ledger(database: Database, batch_id: str) -> tuple[int, ...]:
    (found,) = database.query(
        "SELECT stored, rejected, duplicates, erased FROM penstock.submission_batches WHERE batch_id = %s", batch_id
    )
    return found


def letter(kind: str, payload: bytes, **changes: Any) -> LetterRecord:
    body, encoding = compress(payload)
    now = datetime.now(UTC)
    return replace(
        LetterRecord(
            dead_id=uuid.uuid4(),
            job_id=uuid.uuid4(),
            queue="submissions",
            kind=kind,
            tenant="default",
            code="INTERNAL_ERROR",
            message="it failed",
            error=None,
            attempts=1,
            recoveries=0,
            crashes=0,
            postpones=0,
            payload_version=1,
            idempotency_key=None,
            enqueued_at=now,
            died_at=now,
            worker="",
            release="",
            trace_id=None,
            history=[],
            message_bytes=len(payload),
            body=body,
            encoding=encoding,
            header_ok=True,
            raw=None,
        ),
        **changes,
    )


def bury(database: Database, *letters: LetterRecord) -> None:
    with psycopg.connect(database.url) as connection:
        insert_letters(connection, letters)


def payload_of(database: Database, found: LetterRecord) -> Any:
    ((body, encoding),) = database.query(
        "SELECT body, encoding FROM penstock.dead_letters WHERE dead_id = %s", found.dead_id
    )
    return json.loads(decompress(bytes(body), encoding, 10**6))


def test_a_person_is_found_in_every_place_and_nothing_is_left(visits: Batches, desk: Desk, database: Database) -> None:
    months = [row(ADDRESS, SECRET, row_id=f"r-{month}") for month in range(3)]
    months = [one.replace(b"2026-01-02", f"20{20 + n}-05-02".encode()) for n, one in enumerate(months)]
    store(visits, [*months, of_others(), row(" Ada.Lovelace@Example.ORG ")], "b-1")
    assert store(visits, [row(ADDRESS, "", remark=SECRET), row(OTHER, ""), of_others()], "b-2")["rejected"] == 2
    waiting = job_of(visits, [of_others(), row()], "b-3")
    dead = letter(WriteSubmissionBatch.kind, job_of(visits, [row(), of_others(), row()], "b-4").payload)
    mail = letter("mail.send", json.dumps({"to": ADDRESS, "about": "b-4"}).encode())
    broken = letter("", b"", header_ok=False, raw=b"no header, but " + ADDRESS.encode() + SECRET.encode())
    bury(database, dead, mail, broken)
    with psycopg.connect(database.url) as connection:
        enqueued = EncodedPayload(waiting.kind, Queue.SUBMISSIONS, 1, waiting.payload, "b-3")
        enqueue_in_transaction(connection, enqueued, run_at=datetime.now(UTC) + timedelta(days=300))
    database.query(
        "INSERT INTO penstock.replays (replay_id, created_by, reason, selection, canary, pace_per_second, stop_share,"
        " status, ended_at) VALUES (gen_random_uuid(), 'x', 'y', %s, 0, 1, 1, 'done', now())",
        json.dumps({"where": {"submissions.0.answers.email": ADDRESS}}),
    )
    assert len(desk.places_of(ADDRESS)) >= 6

    counts = desk.erase()

    found = {"submissions": 4, "rejections": 1, "dead_letters": 3, "outbox": 1, "replays": 1}
    assert counts == found
    assert desk.places_of(ADDRESS) == desk.places_of(SECRET) == []
    assert ledger(database, "b-1") == (1, 0, 0, 4)
    assert ledger(database, "b-2") == (1, 1, 0, 1)
    assert payload_of(database, dead)["submissions"] == [
        {"answers": {}, "erased": True},
        json.loads(of_others()),
        {"answers": {}, "erased": True},
    ]
    assert payload_of(database, mail) == {"to": "[erased]", "about": "b-4"}
    assert database.value("SELECT count(*) FROM penstock.dead_letters WHERE state = 'open'") == 3
    assert database.value("SELECT answers ->> 'email' FROM penstock.submissions WHERE batch_id = 'b-1'") == OTHER


def test_a_letter_runs_again_without_the_person_and_the_others_keep_their_ids(
    visits: Batches, desk: Desk, database: Database
) -> None:
    whole = job_of(visits, [of_others(), row(), row(OTHER, "second")], "b")
    dead = letter(WriteSubmissionBatch.kind, whole.payload, job_id=whole.job_id)
    bury(database, dead)
    desk.erase()
    ((body, encoding),) = database.query("SELECT body, encoding FROM penstock.dead_letters")
    (outcome,) = visits.run(changed(whole, payload=decompress(bytes(body), encoding, 10**6)))
    assert outcome == Done(counts={"stored": 2, "rejected": 0, "duplicates": 0, "erased": 1})
    assert ledger(database, "b") == (2, 0, 0, 1)
    stored = {found for (found,) in database.query("SELECT submission_id FROM penstock.submissions")}
    database.query("TRUNCATE penstock.submissions, penstock.submission_batches, penstock.base_batches")
    visits.run(changed(whole, payload=whole.payload.replace(ADDRESS.encode(), OTHER.encode())))
    assert stored < {found for (found,) in database.query("SELECT submission_id FROM penstock.submissions")}


def test_what_waited_does_not_bring_the_person_back(visits: Batches, desk: Desk, database: Database) -> None:
    before = job_of(visits, [of_others(), row(), row(ADDRESS, ""), row(OTHER, "")], "b-1")
    desk.erase()
    (outcome,) = visits.run(before)
    assert outcome == Done(counts={"stored": 1, "rejected": 1, "duplicates": 0, "erased": 2})
    assert ledger(database, "b-1") == (1, 1, 0, 2)
    assert visits.run(before) == [Done(repeated=True, counts={"stored": 0, "rejected": 0, "duplicates": 0})]
    assert ledger(database, "b-1") == (1, 1, 0, 2)
    assert desk.places_of(ADDRESS) == []

    after = changed(job_of(visits, [row()], "b-2"), enqueued_at=datetime.now(UTC))
    assert visits.run(after) == [Done(counts={"stored": 1, "rejected": 0, "duplicates": 0})]
    assert "submissions_y" in desk.places_of(ADDRESS)[0]


def test_a_tenant_of_the_same_person_is_left_alone(visits: Batches, desk: Desk, database: Database) -> None:
    store(visits, [row()], "b", tenant="other")
    assert desk.erase() == {}
    before = changed(job_of(visits, [row()], "c", tenant="other"), enqueued_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert visits.run(before) == [Done(counts={"stored": 1, "rejected": 0, "duplicates": 0})]


def test_a_worker_without_the_keys_stores_nothing_that_it_can_not_judge(
    visits: Batches, desk: Desk, database: Database
) -> None:
    without = assemble(desk.settings.model_copy(update={"token_keys": None}), visits.parts.pool)
    before = job_of(visits, [of_others()], "b-1")
    desk.erase()
    after = changed(job_of(visits, [of_others()], "b-2"), enqueued_at=datetime.now(UTC))
    assert without.execution.run([before, after]) == [
        Postpone(KEYS_AWAITED, "token_keys"),
        Done(counts={"stored": 1, "rejected": 0, "duplicates": 0}),
    ]
    assert database.query("SELECT batch_id FROM penstock.submission_batches") == [("b-2",)]
    assert visits.run(before) == [Done(counts={"stored": 1, "rejected": 0, "duplicates": 0})]


def test_no_statement_more_is_asked_where_nobody_was_erased(
    visits: Batches, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    execute = psycopg.Cursor.execute

    def counted(cursor: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        asked.append(query.decode() if isinstance(query, bytes) else str(query))
        return execute(cursor, query, *arguments, **named)

    def asked_for(job: Job) -> list[str]:
        asked.clear()
        visits.run(job)
        # The cache of forms may ask at any time, in a transaction of its own.
        return [one for one in asked if not any(word in one for word in ("BEGIN", "COMMIT", "form_versions"))]

    visits.run(job_of(visits, [of_others()], "b-0", tenant="other"))
    older = job_of(visits, [of_others()], "b-1")
    desk.erase()
    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    of_a_tenant_without = asked_for(job_of(visits, [of_others()], "b-2", tenant="other"))
    newer = asked_for(changed(job_of(visits, [of_others()], "b-3"), enqueued_at=datetime.now(UTC)))
    assert newer == of_a_tenant_without
    # The ledger's row, and the look at the base batch that there always was.
    assert len([one for one in newer if "eras" in one]) == 2
    assert len(newer) == 6
    assert len(asked_for(older)) > len(newer)


@pytest.mark.parametrize(
    ("subject", "theirs", "others"),
    [
        (Subject(SubjectKind.QUESTION, "c-17", FORM_ID, "card"), {"card": " C-17 "}, {"card": "C-170"}),
        (
            Subject(SubjectKind.QUESTION, "+4930123456", FORM_ID, "phone"),
            {"phone": "030 123456"},
            {"phone": "030 123457"},
        ),
        (by_email(form_id=FORM_ID), {"email": ADDRESS}, {"guide": ADDRESS, "remark": f"ask {ADDRESS}"}),
        (
            Subject(SubjectKind.SUBMISSION, submission_id_of("default", FORM_ID, "r-1").hex, FORM_ID),
            {"row_id": "r-1"},
            {"row_id": "r-10"},
        ),
    ],
    ids=["question", "phone", "email in a form", "submission"],
)
def test_a_person_is_found_by_what_names_them_and_by_nothing_else(
    visits: Batches, desk: Desk, database: Database, subject: Subject, theirs: dict[str, Any], others: dict[str, Any]
) -> None:
    rows = [row(None, "theirs", **theirs), row(None, "other", **others), row(None, "", **theirs)]
    store(visits, rows[:2], "b-1")
    store(visits, [rows[2]], "b-2")
    dead = letter(WriteSubmissionBatch.kind, job_of(visits, rows, "b-3").payload)
    bury(database, dead)
    waiting = job_of(visits, [one.replace(b"-02T", b"-03T") for one in rows], "b-4")
    counts = desk.erase(subject)
    assert {name: counts[name] for name in counts if name != "mentions"} == {
        "submissions": 1,
        "rejections": 1,
        "dead_letters": 1,
    }
    assert database.query("SELECT answers ->> 'name' FROM penstock.submissions") == [("other",)]
    kept = [place for place, one in enumerate(payload_of(database, dead)["submissions"]) if "erased" not in one]
    assert kept == [1]
    (outcome,) = visits.run(waiting)
    assert isinstance(outcome, Done)
    assert (outcome.counts["stored"], outcome.counts["erased"]) == (1, 2)


def test_who_is_mentioned_by_others_is_told_by_their_ids(visits: Batches, desk: Desk, database: Database) -> None:
    store(visits, [row(OTHER, "Grace", remark=f"{ADDRESS.upper()} recommended it")], "b")
    request = desk.ask()
    assert desk.carry_out(request) == {"mentions": 1}
    receipt = desk.look(request).receipt
    assert receipt is not None
    assert receipt["mentions"] == [str(database.value("SELECT submission_id FROM penstock.submissions"))]


def test_a_question_that_is_marked_later_names_people_in_earlier_rows(
    visits: Batches, desk: Desk, database: Database
) -> None:
    questions = [{"id": "member", "text": "Member", "type": "text"}]
    apply(database, "club", {"title": "Club", "questions": questions})
    visits.run(visits.job([b'{"answers":{"member":"M-1"}}'], "b", form_id="club"))
    apply(database, "club", {"title": "Club", "questions": [questions[0] | {"subject": True}]})
    old = visits.job([b'{"answers":{"member":"M-1"}}'], "c", form_id="club", form_version=1)
    assert desk.erase(Subject(SubjectKind.QUESTION, "m-1", "club", "member"))["submissions"] == 1
    assert visits.run(old) == [Done(counts={"stored": 0, "rejected": 0, "duplicates": 0, "erased": 1})]


def _is_within(progress: dict[str, Any]) -> bool:
    return progress.get("phase") == "submissions" and bool(progress.get("place"))


def test_it_goes_on_where_it_ended_whenever_that_was(
    visits: Batches, desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "SLICE_BLOCKS", 1)
    store(visits, [row() if place % 10 == 0 else of_others() for place in range(300)], "b")
    request = desk.ask()
    # Each delivery has time for one step alone, as if each were killed after it.
    monkeypatch.setattr(erasing, "WORK", timedelta(microseconds=1))
    first = desk.carry_on_until(request, lambda found: _is_within(found) and found["place"]["block"] > 0)
    second = desk.carry_on_until(request, lambda found: found != first)
    assert second["counts"]["submissions"] >= first["counts"]["submissions"]
    monkeypatch.undo()
    assert desk.carry_out(request) == {"submissions": 30}
    assert ledger(database, "b") == (270, 0, 0, 30)
    assert desk.places_of(ADDRESS) == []


def test_rows_that_move_into_a_partition_that_is_made_meanwhile_are_found(
    visits: Batches, desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "SLICE_BLOCKS", 1)
    monkeypatch.setattr(erasing, "WORK", timedelta(microseconds=1))
    database.query(
        "INSERT INTO penstock.submissions SELECT '1999-03-01Z', now(), gen_random_uuid(), form_key, 'b', form_id, NULL,"
        " jsonb_build_object('name', repeat('x', 900), 'email', CASE WHEN n > 90 THEN %s END)"
        " FROM penstock.forms, generate_series(1, 100) n WHERE tenant = 'default' AND form_id = %s",
        ADDRESS,
        FORM_ID,
    )
    request = desk.ask()
    progress = desk.carry_on_until(request, lambda found: found.get("phase") == "submissions" and "place" in found)
    assert progress["place"]["name"] == "submissions_default"
    database.query("SELECT penstock.ensure_submissions_partition('1999-03-01')")
    monkeypatch.undo()
    assert desk.carry_out(request) == {"submissions": 10}
    assert desk.places_of(ADDRESS) == []


def test_whoever_was_storing_when_it_was_asked_for_is_awaited(visits: Batches, desk: Desk, database: Database) -> None:
    with psycopg.connect(database.url) as storing:
        storing.execute(
            "INSERT INTO penstock.submissions SELECT now(), now(), gen_random_uuid(), form_key, 'b', form_id, NULL, %s"
            " FROM penstock.forms WHERE tenant = 'default' AND form_id = %s",
            (json.dumps({"name": SECRET, "email": ADDRESS}), FORM_ID),
        )
        request = desk.ask()
        assert desk.carry_on(request) is not None
        assert desk.look(request).progress["phase"] == "settling"
    assert desk.carry_out(request) == {"submissions": 1}


def test_a_job_in_a_queue_is_awaited_and_its_letter_is_archived_without_the_person(
    visits: Batches, desk: Desk, database: Database
) -> None:
    held_in = Queue.SUBMISSIONS
    held = job_of(visits, [of_others(), row()], "b")
    desk.enqueue(held)
    desk.enqueue(job_of(visits, [of_others()], "c"))
    request = desk.ask()
    desk.enqueue(changed(job_of(visits, [row()], "d"), enqueued_at=datetime.now(UTC)))
    progress = desk.carry_on_until(request, lambda found: bool(found.get("awaited")))
    assert [key.endswith(str(held.job_id)) for key in progress["awaited"]] == [True]

    namespace = desk.settings.namespace
    leases = Leases(desk.client, namespace, new_boot_id(), timedelta(seconds=600))
    (leased,) = [job for job in leases.lease(held_in, 10, 1).jobs if job.job_id == str(held.job_id)]
    leases.settle(held_in, [Settlement(leased, Verb.BURY, {"code": "INTERNAL_ERROR", "told": "it failed"})])
    clean = WithoutErased(desk.settings.token_keys)
    Archive(desk.client, namespace, desk.transactions, clean=clean).run_round(held_in)
    assert desk.carry_out(request) == {"awaited_jobs": 1}
    ((body,),) = database.query("SELECT body FROM penstock.dead_letters")
    assert [list(one) for one in json.loads(body)["submissions"]] == [["answers"], ["answers", "erased"]]
    for key in desk.client.scan_iter(match=f"{namespace}*"):
        desk.client.delete(key)


def test_a_letter_that_was_requeued_meanwhile_is_as_old_as_it_was(
    visits: Batches, desk: Desk, database: Database
) -> None:
    old = job_of(visits, [row(), of_others()], "b")
    bury(database, letter(old.kind, old.payload, job_id=old.job_id, enqueued_at=old.enqueued_at))
    request = desk.ask()
    # Its content was read before the letter was changed, and the job has a new envelope.
    (outcome,) = visits.run(changed(old, enqueued_at=datetime.now(UTC)))
    assert outcome == Done(counts={"stored": 1, "rejected": 0, "duplicates": 0, "erased": 1})
    assert desk.carry_out(request) == {"dead_letters": 1}


def test_an_owners_posts_are_emptied_and_cancelled(desk: Desk, database: Database) -> None:
    with psycopg.connect(database.url) as connection:
        account = new_account(connection, owner="Ada")
        own = new_post(connection, account, owner="Ada")
        other = new_post(connection, account, owner="grace")
    order = {"account_id": str(account), "due_at": "2027-01-01T00:00:00Z", "content": {"text": SECRET}, "owner": "Ada"}
    dead = letter("scheduled_post.schedule", json.dumps(order).encode(), tenant=POSTS_TENANT)
    bury(database, dead)
    counts = desk.erase(Subject(SubjectKind.OWNER, "ada"), tenant=POSTS_TENANT)
    assert counts == {"posts": 1, "dead_letters": 1}
    rows = database.query("SELECT post_id, owner, state, content FROM penstock.scheduled_posts")
    posts = {post: rest for post, *rest in rows}
    assert posts[own] == ["erased", "cancelled", {}]
    assert posts[other][0] == "grace"
    assert payload_of(database, dead) == {"erased": True}


def test_the_request_forgets_whom_it_named_and_tells_a_digest(desk: Desk, database: Database) -> None:
    request = desk.ask(by_email("forgotten@example.org"))
    sealed = "SELECT subject_ciphertext FROM penstock.person_data_requests WHERE request_id = %s"
    assert database.value(sealed, request.request_id) is not None
    assert "forgotten" not in repr(request) + json.dumps(request.as_dict())
    desk.carry_out(request)
    assert database.value(sealed, request.request_id) is None
    told = desk.look(request).as_dict()
    assert told["state"] == "done"
    assert told["receipt"]["digest"] == request.digest.hex()
    (action,) = database.query(
        "SELECT action, actor, reason, details FROM penstock.operator_actions WHERE target = %s",
        str(request.request_id),
    )
    assert action[:3] == ("person_data.erase", "dpo", "request 17")
    assert action[3] == {"tenant": "default", "by": "email", "digest": request.digest.hex()}
    assert desk.places_of("forgotten@example.org") == []


def test_a_partition_that_is_on_its_way_out_is_awaited(desk: Desk, database: Database) -> None:
    database.query("CREATE TABLE penstock.leaving_submissions_y1998m01 ()")
    request = desk.ask()
    desk.carry_on_until(request, lambda found: found.get("phase") == "leaving" and found["waits"] > 0)
    database.query("DROP TABLE penstock.leaving_submissions_y1998m01")
    assert desk.carry_out(request) == {}
