"""How a command names a person: one way, in one spelling, and nobody by accident."""

from typing import Any

import psycopg
import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.schemas.person_data import SubjectKind
from penstock.workers.cli.person_options import subject_of
from penstock.workers.erasures.subjects import Subject, submission_id_of
from tests.system import Database
from tests.workers.batches import apply

NONE = dict.fromkeys(("email", "submission", "question", "value", "owner", "form"))
FORM = {
    "title": "Visits",
    "questions": [
        {"id": "email", "text": "E-mail", "type": "email"},
        {"id": "phone", "text": "Phone", "type": "phone", "region": "DE", "subject": True},
        {"id": "name", "text": "Name", "type": "text"},
    ],
}
UUID4 = "0f9d4a52-6b1d-4c6c-9a5d-2b6f3f1f7a1f"


@pytest.fixture(scope="module")
def connection(database: Database) -> Any:
    apply(database, "visits", FORM)
    with psycopg.connect(database.url, autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({"email": " Ada@Example.org "}, Subject(SubjectKind.EMAIL, "ada@example.org")),
        ({"email": "ada@example.org", "form": "visits"}, Subject(SubjectKind.EMAIL, "ada@example.org", "visits")),
        (
            {"form": "visits", "question": "phone", "value": "030 123456"},
            Subject(SubjectKind.QUESTION, "+4930123456", "visits", "phone"),
        ),
        (
            {"form": "visits", "submission": UUID4.upper()},
            Subject(SubjectKind.SUBMISSION, UUID4.replace("-", ""), "visits"),
        ),
        (
            {"form": "visits", "submission": "r-1"},
            Subject(SubjectKind.SUBMISSION, submission_id_of("default", "visits", "r-1").hex, "visits"),
        ),
        ({"owner": "Ada"}, Subject(SubjectKind.OWNER, "ada")),
    ],
)
def test_each_way_to_name_one(connection: Any, given: dict[str, str], subject: Subject) -> None:
    assert subject_of(connection, "default", NONE | given) == subject


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, Code.REQUEST_USAGE),
        ({"email": "nobody"}, Code.REQUEST_USAGE),
        ({"email": " "}, Code.REQUEST_USAGE),
        ({"email": "a@example.org", "owner": "a"}, Code.REQUEST_USAGE),
        ({"email": "a@example.org", "value": "a"}, Code.REQUEST_USAGE),
        ({"submission": "1"}, Code.REQUEST_USAGE),
        ({"form": "visits", "owner": "a"}, Code.REQUEST_USAGE),
        ({"form": "visits", "question": "phone"}, Code.REQUEST_USAGE),
        ({"form": "visits", "question": "name", "value": "Ada"}, Code.REQUEST_USAGE),
        ({"form": "visits", "question": "none", "value": "Ada"}, Code.REQUEST_USAGE),
        ({"form": "none", "question": "email", "value": "Ada"}, Code.FORM_NOT_FOUND),
        ({"form": "none", "email": "a@example.org"}, Code.FORM_NOT_FOUND),
        ({"form": "none", "submission": "1"}, Code.FORM_NOT_FOUND),
    ],
)
def test_what_names_nobody_is_refused(connection: Any, given: dict[str, str], code: Code) -> None:
    with pytest.raises(PenstockError) as caught:
        subject_of(connection, "default", NONE | given)
    assert caught.value.code is code
