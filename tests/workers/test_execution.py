"""One delivery: what is unpacked, what is refused, and what an actor that raises leaves behind."""

import json
import logging
import sys
import types
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from penstock.producers import WriteSubmissionBatch
from penstock.producers.queue.compression import compress
from penstock.schemas.envelope import EnvelopeHeader
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.execution import Execution
from penstock.workers.job import Dead, Done, Job, Outcome, Postpone, Retry
from penstock.workers.registry import Registration, discover
from penstock.workers.settings import WorkerSettings
from tests.system import Database

KIND = WriteSubmissionBatch.kind
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
LIMIT = 100_000


class Actor:
    """Notes that it ran, in the transaction, and gives the outcomes that it was told."""

    def __init__(self) -> None:
        self.outcomes: Sequence[Outcome] = [Done()]

    def __call__(self, jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        for job in jobs:
            transaction.connection.execute("INSERT INTO public.ran VALUES (%s)", (job.job_id,))
        return self.outcomes


@pytest.fixture
def actor() -> Actor:
    return Actor()


@pytest.fixture
def execution(settings: WorkerSettings, actor: Actor, database: Database) -> Iterator[Execution]:
    database.query("CREATE TABLE IF NOT EXISTS public.ran (job_id uuid)")
    database.query("GRANT ALL ON public.ran TO public")
    registrations: dict[str, Any] = {KIND: Registration(WriteSubmissionBatch, lambda _: actor)}
    with open_pool(settings, "penstock-execution-test") as pool:
        yield Execution({KIND: actor}, registrations, Transactions(pool, settings), LIMIT, clock=lambda: NOW)


def header(**changes: Any) -> EnvelopeHeader:
    members = {"id": uuid.uuid4(), "kind": KIND, "queue": "submissions", "tenant": "acme", "enqueued_at": NOW}
    return EnvelopeHeader(**(members | changes))


@pytest.mark.parametrize("size", [10, 50_000], ids=["plain", "compressed"])
def test_a_message_becomes_a_job(execution: Execution, size: int) -> None:
    wire, encoding = compress(b"a" * size)
    job = execution.unpack(header(encoding=encoding), wire, attempt=3)
    assert (job.kind, job.tenant, job.attempt, job.payload) == (KIND, "acme", 3, b"a" * size)
    assert "aaaa" not in repr(job)


def test_an_earlier_version_is_brought_to_the_present_one_where_the_kind_tells_how(
    execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WriteSubmissionBatch, "payload_version", 3)
    # A kind without an upcast reads every version as it was sent.
    assert execution.unpack(header(payload_version=1), b'{"old":  1}', 1).payload == b'{"old":  1}'

    def upcast(cls: type, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return {"version": version, "was": data["old"]}

    monkeypatch.setattr(WriteSubmissionBatch, "upcast", classmethod(upcast))
    wire, encoding = compress(b'{"old": 1}')
    earlier = execution.unpack(header(payload_version=2, encoding=encoding), wire, 1)
    assert json.loads(earlier.payload) == {"version": 2, "was": 1}
    assert execution.unpack(header(payload_version=3), b'{"old":  1}', 1).payload == b'{"old":  1}'
    with pytest.raises(InvalidInputError, match="version 1 can't be brought to version 3: KeyError") as caught:
        execution.unpack(header(payload_version=1), b'{"hunter2": 1}', 1)
    assert caught.value.code is Code.JOB_PAYLOAD_INVALID
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(timedelta(hours=1), NOW), (-timedelta(hours=1), NOW - timedelta(hours=1))],
    ids=["ahead", "behind"],
)
def test_no_job_comes_from_the_future(execution: Execution, ahead: timedelta, expected: datetime) -> None:
    assert execution.unpack(header(enqueued_at=NOW + ahead), b"{}", 1).enqueued_at == expected


@pytest.mark.parametrize(
    ("changes", "payload", "code"),
    [
        ({"kind": "nobody.knows"}, b"{}", Code.JOB_UNKNOWN_KIND),
        ({"payload_version": 2}, b"{}", Code.JOB_PAYLOAD_INVALID),
        ({}, b"a" * (LIMIT + 1), Code.BATCH_TOO_LARGE),
        ({"encoding": "zstd"}, b"{}", Code.JOB_PAYLOAD_INVALID),
    ],
    ids=["kind", "version", "size", "frame"],
)
def test_a_message_that_is_no_job_is_refused(
    execution: Execution, changes: dict[str, Any], payload: bytes, code: Code
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        execution.unpack(header(**changes), payload, 1)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("outcome", "level", "message"),
    [
        (Done(counts={"stored": 2, "rejected": 1}), "INFO", "the job is done: stored 2, rejected 1"),
        (Done(repeated=True), "INFO", "the job's effect was committed before"),
        (Dead(Code.BATCH_CONFLICT, "told"), "WARNING", "told"),
        (Retry(Code.STORAGE_CONFLICT, "told"), "WARNING", "told"),
        (Postpone(timedelta(seconds=1), "busy"), "INFO", "the job is postponed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, (Done, Dead, Retry, Postpone)) else None,
)
def test_each_outcome_is_told_with_its_job(
    execution: Execution,
    actor: Actor,
    caplog: pytest.LogCaptureFixture,
    outcome: Outcome,
    level: str,
    message: str,
) -> None:
    actor.outcomes = [outcome]
    job = execution.unpack(header(), json.dumps({"q": "hunter2"}).encode(), attempt=2)
    with caplog.at_level(logging.INFO):
        assert execution.run([job]) == [outcome]
    (line,) = [record for record in caplog.records if hasattr(record, "job_id")]
    assert (line.levelname, line.getMessage()) == (level, message)
    assert (line.job_id, line.tenant, line.attempt) == (job.job_id, "acme", 2)  # type: ignore[attr-defined]


def test_a_payload_that_breaks_its_schema_is_told_from_any_other_thing_that_does(
    execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answer(BaseModel):
        status: int

    job = execution.unpack(header(), b'{"form_id": "hunter2 hunter2"}', attempt=1)
    monkeypatch.setitem(
        execution._actors, KIND, lambda jobs, _: WriteSubmissionBatch.model_validate_json(jobs[0].payload)
    )
    with pytest.raises(InvalidInputError, match="the payload is not usable: form_id: ") as caught:
        execution.run([job])
    assert caught.value.code is Code.JOB_PAYLOAD_INVALID
    assert "hunter2" not in caught.value.message
    # Of another service's answer nobody can say that it will never be right.
    monkeypatch.setitem(execution._actors, KIND, lambda *_: Answer.model_validate_json("{}"))
    with pytest.raises(ValidationError):
        execution.run([job])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_actor_must_give_an_outcome_for_each_job(
    execution: Execution, actor: Actor, database: Database, count: int
) -> None:
    actor.outcomes = [Done()] * count
    jobs = [execution.unpack(header(), b"{}", 1) for _ in range(2)]
    with pytest.raises(RuntimeError, match=f"gave {count} outcomes for 2 jobs"):
        execution.run(jobs)
    ran = database.value("SELECT count(*) FROM public.ran WHERE job_id = ANY(%s)", [job.job_id for job in jobs])
    assert ran == 0


def package_of(folder: Path, name: str, **modules: str) -> types.ModuleType:
    """An importable package with these modules."""
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    return package


GOOD = """
from penstock.producers import WriteSubmissionBatch
from penstock.workers.registry import Registration
REGISTRATION = Registration(WriteSubmissionBatch, lambda _: None)
"""


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        pytest.param({"empty": ""}, "empty has no REGISTRATION", id="none"),
        pytest.param({"wrong": "REGISTRATION = 1"}, "wrong has no REGISTRATION", id="something else"),
        pytest.param({"one": GOOD, "two": GOOD}, "two actors claim the kind", id="twice"),
    ],
)
def test_a_wrong_declaration_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modules: dict[str, str], told: str
) -> None:
    name = f"actors_of_{uuid.uuid4().hex}"
    package = package_of(tmp_path, name, **modules)
    monkeypatch.setitem(sys.modules, name, package)
    with pytest.raises(TypeError, match=told):
        discover(package)


def test_actors_are_found_by_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"actors_of_{uuid.uuid4().hex}"
    package = package_of(tmp_path, name, one=GOOD)
    monkeypatch.setitem(sys.modules, name, package)
    assert list(discover(package)) == [KIND]
