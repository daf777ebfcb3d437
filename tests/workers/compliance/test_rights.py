"""Who may ask for a person's data, who may carry it out, and who may see whom it is about."""

import uuid

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, ObjectNotInPrerequisiteState

from tests.person_kit import Desk, by_email
from tests.system import Database

READER, WORKER, PRODUCER = "penstock_reader", "penstock_worker", "penstock_producer"
ID = "00000000-0000-4000-8000-000000000000"

CARRY_OUT = {
    "erase_submissions": f"SELECT penstock.erase_submissions('{ID}', '{{1}}', '{{{ID}}}', '{{now}}')",
    "erase_rejections": f"SELECT penstock.erase_rejections('{ID}', '{{b}}', '{{0}}')",
    "erase_in_letter": f"SELECT penstock.erase_in_letter('{ID}', '{ID}', '', NULL, NULL, NULL)",
    "erase_in_outbox": f"SELECT penstock.erase_in_outbox('{ID}', 1, '')",
    "erase_in_replay": f"SELECT penstock.erase_in_replay('{ID}', '{ID}', '{{}}')",
    "erase_posts": f"SELECT penstock.erase_posts('{ID}', 'ada', 10)",
}
ASK = {
    "a request": "INSERT INTO penstock.person_data_requests (request_id, kind, tenant, subject_kind, digest, key_id,"
    " subject_ciphertext, asked_by, reason) VALUES (gen_random_uuid(), 'erase', 't', 'email',"
    " decode(repeat('00', 32), 'hex'), 'k', '', 'x', 'y')",
    "a mark": "INSERT INTO penstock.erasure_marks VALUES ('t', now(), 1)",
    "somebody erased": "INSERT INTO penstock.erased_subjects VALUES ('t', 'k', decode(repeat('00', 32), 'hex'), now(),"
    f" '{ID}')",
    "no mark": "DELETE FROM penstock.erasure_marks",
    "another person": "UPDATE penstock.person_data_requests SET subject_ciphertext = ''",
    "a row changed": "UPDATE penstock.submissions SET answers = '{}'",
    "a row gone": "DELETE FROM penstock.submissions",
}


def attempt(database: Database, role: str, statement: str) -> None:
    with psycopg.connect(database.admin_url) as connection:
        connection.execute(f"SET ROLE {role}")
        connection.execute(statement.encode())
        connection.rollback()


@pytest.mark.parametrize("role", [READER, PRODUCER])
@pytest.mark.parametrize("statement", CARRY_OUT.values(), ids=CARRY_OUT.keys())
def test_nobody_but_a_worker_carries_out(database: Database, role: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        attempt(database, role, statement)


@pytest.mark.parametrize("statement", CARRY_OUT.values(), ids=CARRY_OUT.keys())
def test_a_worker_carries_out_nothing_that_nobody_asked_for(database: Database, desk: Desk, statement: str) -> None:
    with pytest.raises(ObjectNotInPrerequisiteState, match="no erasure"):
        attempt(database, WORKER, statement)
    ended = desk.ask(by_email(f"{uuid.uuid4()}@example.org"))
    desk.carry_out(ended)
    with pytest.raises(ObjectNotInPrerequisiteState, match="no erasure"):
        attempt(database, WORKER, statement.replace(ID, str(ended.request_id), 1))


@pytest.mark.parametrize("role", [READER, WORKER, PRODUCER])
@pytest.mark.parametrize("statement", ASK.values(), ids=ASK.keys())
def test_nobody_but_the_owner_asks(database: Database, role: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        attempt(database, role, statement)


def test_a_reader_sees_requests_and_not_whom_they_name(database: Database) -> None:
    attempt(database, READER, "SELECT request_id, kind, state, receipt FROM penstock.person_data_requests")
    for column in ("subject_ciphertext", "digest"):
        with pytest.raises(InsufficientPrivilege):
            attempt(database, READER, f"SELECT {column} FROM penstock.person_data_requests")
    with pytest.raises(InsufficientPrivilege):
        attempt(database, READER, "SELECT * FROM penstock.erased_subjects")


def test_an_erasure_of_one_tenant_takes_nothing_of_another(database: Database, desk: Desk) -> None:
    database.query(
        "INSERT INTO penstock.submission_rejections (tenant, batch_id, form_id, position, content, faults)"
        " VALUES ('other', 'b', 'f', 0, '{}', '[]')"
    )
    request = desk.ask()
    with psycopg.connect(database.url) as connection:
        erased = connection.execute("SELECT penstock.erase_rejections(%s, '{b}', '{0}')", (request.request_id,))
        assert erased.fetchone() == (0,)
    desk.carry_out(request)
