"""Whom a row names: by which questions, in which spelling; and digests that tell nothing without their key."""

import json
from typing import Any

import pytest
from cryptography.fernet import Fernet

from penstock.schemas.errors import Code, PenstockError
from penstock.schemas.person_data import SubjectKind
from penstock.workers.compliance.payloads import without_person
from penstock.workers.compliance.person import Person
from penstock.workers.erasures.declared import DeclaredForm
from penstock.workers.erasures.digests import SubjectKeys
from penstock.workers.erasures.subjects import Subject, spelled, spelled_email
from penstock.workers.submissions.erased import content_subjects

FORM = DeclaredForm("acme", "visits", 1, {"email": True, "guide": False, "name": False})
ADA = Subject(SubjectKind.EMAIL, "ada@example.org")


@pytest.mark.parametrize(
    ("written", "one"),
    [
        (" Ada@Example.ORG\u00a0", "ada@example.org"),
        ("JU\u0308RGEN@example.org", "jürgen@example.org"),
        ("Ada@BÜCHER.example", "ada@bücher.example"),
        ("not an address", "not an address"),
    ],
)
def test_an_address_has_one_spelling(written: str, one: str) -> None:
    assert spelled_email(written) == one == spelled(one)


@pytest.mark.parametrize(
    "row",
    [
        '{"answers":{"email":"Ada@example.org "}}',
        '{"answers":{"email":"ada\\u0040example.org"}}',
        '{"answers":{"email":["ada@example.org"]}}',
        '{"answers":{"no such question":"ada@example.org"}}',
        '{"id":"ADA@example.org","answers":{}}',
        '{"email":"ada@example.org"}',
        '{"answers":"ada@example.org"}',
        '["ada@example.org"]',
        '{"answers":{"email":"ada@example.org"},',
        "ada@example.org,Ada,36",
        "\ufffd ada@example.org \x00",
    ],
)
def test_a_row_as_it_was_sent_is_theirs_however_it_is_written(row: str) -> None:
    assert ADA in set(content_subjects(FORM, row))


@pytest.mark.parametrize(
    "row",
    [
        '{"answers":{"guide":"ada@example.org"}}',
        '{"answers":{"name":"ask ada@example.org"}}',
        '{"answers":{"email":"ada@example.org.uk"}}',
        '{"answers":{"email":"nada@example.org"}}',
        '{"answers":{"email":null}}',
    ],
)
def test_who_is_mentioned_is_not_whom_a_row_is_about(row: str) -> None:
    assert ADA not in set(content_subjects(FORM, row))


@pytest.mark.parametrize(
    ("value", "needle"),
    [
        ("ada@example.org", "ada@example.org"),
        ("müller-ada@x.org", "ller-ada@x.org"),
        ('a"b', ""),
        ("kiki", ""),
        ("größe", ""),
        ("rick@x.org", "@x.org"),
    ],
)
def test_what_postgresql_looks_for_stands_in_every_spelling(value: str, needle: str) -> None:
    assert Person("acme", Subject(SubjectKind.EMAIL, value), {}).needle == needle


def test_digests_differ_by_all_that_names_a_person_and_by_key() -> None:
    first, second = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    keys = SubjectKeys.from_setting(f"b:{second},a:{first}")
    subjects = [
        ADA,
        Subject(SubjectKind.EMAIL, ADA.value, "visits"),
        Subject(SubjectKind.QUESTION, ADA.value, "visits", "email"),
        Subject(SubjectKind.OWNER, ADA.value),
    ]
    digests = {keys.digest(tenant, one, key) for tenant in ("acme", "other") for one in subjects for key in "ab"}
    assert len(digests) == 16
    assert keys.current == "b"
    assert SubjectKeys.from_setting(f"a:{first}").digest("acme", ADA) == keys.digest("acme", ADA, "a")
    with pytest.raises(PenstockError) as caught:
        SubjectKeys.from_setting(f"b:{second}").digest("acme", ADA, "a")
    assert caught.value.code is Code.CONFIG_INVALID
    assert first not in caught.value.message


def batch(*rows: str, **head: Any) -> bytes:
    told = json.dumps({"form_id": "visits", "batch_id": "b"} | head, separators=(",", ":"))[:-1]
    return f'{told},"submissions":[{",".join(rows)}]}}'.encode()


def test_a_batch_keeps_what_others_sent_byte_for_byte() -> None:
    theirs, others = '{"answers":{"email":"ada@example.org"}}', '{ "answers" : {"email":1.50, "x":"\\u00e9"} }'
    left = without_person(
        "submission_batch.write", batch(others, theirs, others), Person("acme", ADA, {"visits": FORM})
    )
    assert left is not None
    assert left.payload == batch(others, '{"answers":{},"erased":true}', others)
    assert left.taken == (theirs,)
    assert without_person("submission_batch.write", left.payload, Person("acme", ADA, {"visits": FORM})) is None


@pytest.mark.parametrize(
    "payload", [b"no json, ada@example.org", b'{"form_id":"visits","submissions":"ada@example.org"}']
)
def test_what_nobody_can_read_goes_as_a_whole(payload: bytes) -> None:
    left = without_person("submission_batch.write", payload, Person("acme", ADA, {"visits": FORM}))
    assert left is not None
    assert left.payload == b'{"erased":true}'
