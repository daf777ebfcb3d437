"""How commands about one person's data name the person, and who may ask."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import psycopg

from penstock.migrations.rights import act_as_owner, may_act_as_owner
from penstock.migrations.runner import require_current
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError, PenstockError
from penstock.schemas.names import require_name
from penstock.schemas.person_data import SubjectKind
from penstock.workers.cli.environment import open_database, worker_settings
from penstock.workers.compliance.person import find_person
from penstock.workers.erasures.subjects import Subject, spelled, spelled_email, submission_id_of
from penstock.workers.settings import WorkerSettings

_USAGE = (
    "Name one: --email ADDRESS, --form FORM --submission ID, --form FORM --question ID --value TEXT, or --owner NAME"
)


def person_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name a person."""
    for option in reversed(
        (
            click.option("--email", help="An e-mail address; - reads it from standard input."),
            click.option("--submission", help="One submission's id, or what its producer calls it; needs --form."),
            click.option("--question", help="A question whose answer names the person; needs --form and --value."),
            click.option("--value", help="The answer; - reads it from standard input."),
            click.option("--owner", help="The owner of scheduled posts."),
            click.option("--form", help="The form; with --email only its rows are looked into."),
        )
    ):
        command = option(command)
    return command


def subject_of(connection: psycopg.Connection[Any], tenant: str, given: dict[str, str | None]) -> Subject:
    """The subject that the options name.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where they name none, or a question that names nobody.
        NotFoundError: `FORM_NOT_FOUND`.
    """
    named = [name for name in ("email", "submission", "question", "owner") if given[name] is not None]
    if len(named) != 1 or (given["value"] is None) != (named != ["question"]):
        raise InvalidInputError(Code.REQUEST_USAGE, _USAGE)
    form_id = None if given["form"] is None else require_name(given["form"], Code.FORM_ID_INVALID, "a form id")
    if (form_id is None and named[0] in {"submission", "question"}) or (form_id is not None and named == ["owner"]):
        raise InvalidInputError(Code.REQUEST_USAGE, _USAGE)
    if named == ["owner"]:
        return Subject(SubjectKind.OWNER, spelled(require_name(str(given["owner"]), Code.REQUEST_USAGE, "an owner")))
    if named == ["email"]:
        subject = Subject(SubjectKind.EMAIL, spelled_email(_value(str(given["email"]))), form_id)
    elif named == ["submission"]:
        found = submission_id_of(tenant, str(form_id), _value(str(given["submission"])))
        return _of_known_form(connection, tenant, Subject(SubjectKind.SUBMISSION, found.hex, form_id))
    else:
        return _of_question(connection, tenant, str(form_id), str(given["question"]), _value(str(given["value"])))
    if "@" not in subject.value:
        raise InvalidInputError(Code.REQUEST_USAGE, "what --email names is no e-mail address")
    return subject if form_id is None else _of_known_form(connection, tenant, subject)


@contextmanager
def as_owner() -> Iterator[tuple[psycopg.Connection[Any], WorkerSettings]]:
    """A transaction that may ask for a person's data, which workers may not.

    Raises:
        PenstockError: `STORAGE_PERMISSION_DENIED`, `STORAGE_SCHEMA_OUTDATED` or another of the `STORAGE_` family.
    """
    settings = worker_settings()
    url = settings.migration_database_url or settings.database_url
    with open_database(url) as connection, connection.transaction():
        require_current(connection)
        if not may_act_as_owner(connection):
            raise PenstockError(
                Code.STORAGE_PERMISSION_DENIED,
                f"the role {connection.info.user} may not ask for a person's data",
                remedy="Set PENSTOCK_MIGRATION_DATABASE_URL to a login that migrates: it may act as penstock_owner.",
            )
        act_as_owner(connection)
        yield connection, settings


def _value(given: str) -> str:
    """What was given, or standard input: what stands on a command line is seen by others and kept in histories."""
    value = sys.stdin.read() if given == "-" else given
    if not spelled(value):
        raise InvalidInputError(Code.REQUEST_USAGE, "the value is empty")
    return value


def _of_question(
    connection: psycopg.Connection[Any], tenant: str, form_id: str, question_id: str, value: str
) -> Subject:
    known = find_person(connection, tenant, Subject(SubjectKind.QUESTION, "", form_id, question_id)).forms.get(form_id)
    if known is None:
        raise NotFoundError(Code.FORM_NOT_FOUND, f"the tenant {tenant!r} has no form {form_id!r}")
    if not known.names.get(question_id):
        raise InvalidInputError(
            Code.REQUEST_USAGE,
            f"no answer to {question_id!r} names a person in the form {form_id!r}",
            remedy='Mark the question with "subject": true and apply the form: it means the earlier rows too.',
        )
    return Subject(SubjectKind.QUESTION, known.value_of(question_id, value), form_id, question_id)


def _of_known_form(connection: psycopg.Connection[Any], tenant: str, subject: Subject) -> Subject:
    if subject.form_id not in find_person(connection, tenant, subject).forms:
        raise NotFoundError(Code.FORM_NOT_FOUND, f"the tenant {tenant!r} has no form {subject.form_id!r}")
    return subject
