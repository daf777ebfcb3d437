"""Enqueueing within the transactions of Django, SQLAlchemy and other drivers: the job is there if they commit."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import django
import psycopg2
import pytest
import sqlalchemy
from django.conf import settings
from django.db import connections, transaction
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from penstock.producers import Submission, WriteSubmissionBatch
from penstock.producers.storage.outbox import enqueue_in_transaction, enqueue_in_transaction_async
from penstock.schemas.errors import Code, ConflictError
from penstock.schemas.identity import job_id
from penstock.schemas.limits import Limits
from tests.system import Database

#: A transaction of the caller's, and what it hands to `enqueue_in_transaction`.
Transaction = Callable[[Database], AbstractContextManager[Any]]


class GivenUpError(Exception):
    """What a caller's own code raises in the middle of its transaction."""


def batch(text: str = "t", batch_id: str = "b") -> WriteSubmissionBatch:
    return WriteSubmissionBatch(form_id="f", batch_id=batch_id, submissions=(Submission(answers={"q": text}),))


@pytest.fixture(autouse=True)
def rooms(database: Database) -> Iterator[None]:
    """A table of the caller's own beside the outbox."""
    database.query("CREATE TABLE IF NOT EXISTS public.orders (number int)")
    database.query("GRANT ALL ON public.orders TO PUBLIC")
    yield
    database.query("TRUNCATE penstock.outbox, public.orders")


def counts(database: Database) -> tuple[int, int]:
    ((orders, jobs),) = database.query(
        "SELECT (SELECT count(*) FROM public.orders), (SELECT count(*) FROM penstock.outbox)"
    )
    return orders, jobs


def _django(database: Database) -> Any:
    parts = urlsplit(database.url)
    facts = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.name,
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": unquote(parts.password or ""),
    }
    if not settings.configured:
        settings.configure(DATABASES={"default": facts}, USE_TZ=True)
        django.setup()
    return connections["default"]


@contextmanager
def django_cursor(database: Database) -> Iterator[Any]:
    connection = _django(database)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO public.orders VALUES (%s)", [7])
            yield cursor
    finally:
        connection.close()


@contextmanager
def django_connection(database: Database) -> Iterator[Any]:
    connection = _django(database)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO public.orders VALUES (%s)", [7])
            yield connection
    finally:
        connection.close()


@contextmanager
def django_driver(database: Database) -> Iterator[Any]:
    with django_connection(database) as connection:
        yield connection.connection


@contextmanager
def _engine(database: Database, driver: str) -> Iterator[sqlalchemy.Engine]:
    url = sqlalchemy.make_url(database.url).set(drivername=f"postgresql+{driver}")
    engine = sqlalchemy.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def sqlalchemy_connection(database: Database, driver: str = "psycopg") -> Iterator[Any]:
    with _engine(database, driver) as engine, engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO public.orders VALUES (7)"))
        yield connection.connection


@contextmanager
def sqlalchemy_session(database: Database) -> Iterator[Any]:
    with _engine(database, "psycopg") as engine, Session(engine) as session, session.begin():
        session.execute(sqlalchemy.text("INSERT INTO public.orders VALUES (7)"))
        yield session.connection().connection.driver_connection


@contextmanager
def sqlalchemy_psycopg2(database: Database) -> Iterator[Any]:
    with sqlalchemy_connection(database, "psycopg2") as connection:
        yield connection


@contextmanager
def plain_psycopg2(database: Database) -> Iterator[Any]:
    connection = psycopg2.connect(database.url)
    try:
        with connection:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO public.orders VALUES (%s)", (7,))
            yield connection
    finally:
        connection.close()


ALL = pytest.mark.parametrize(
    "begin",
    [
        django_cursor, django_connection, django_driver, sqlalchemy_connection, sqlalchemy_session,
        sqlalchemy_psycopg2, plain_psycopg2,
    ],
)  # fmt: skip


@ALL
def test_the_job_is_there_if_the_callers_transaction_commits(database: Database, begin: Transaction) -> None:
    with begin(database) as session:
        told = enqueue_in_transaction(session, batch(), tenant="acme")
        assert counts(database) == (0, 0)
    assert told == job_id("acme", "submission_batch.write", "b")
    assert counts(database) == (1, 1)
    ((found, payload),) = database.query("SELECT job_id, payload FROM penstock.outbox")
    assert (found, payload) == (told, batch().encode(Limits()).body)


def _fail(session: Any) -> None:
    enqueue_in_transaction(session, batch())
    raise GivenUpError


@ALL
def test_and_not_at_all_if_it_is_rolled_back(database: Database, begin: Transaction) -> None:
    with pytest.raises(GivenUpError), begin(database) as session:
        _fail(session)
    assert counts(database) == (0, 0)


@ALL
def test_the_same_key_is_the_same_job_and_with_other_content_a_conflict(database: Database, begin: Transaction) -> None:
    with begin(database) as session:
        first = enqueue_in_transaction(session, batch())
        assert enqueue_in_transaction(session, batch()) == first
    with pytest.raises(ConflictError) as caught, begin(database) as session:
        enqueue_in_transaction(session, batch("other"))
    assert caught.value.code is Code.BATCH_CONFLICT
    assert counts(database) == (1, 1)


@ALL
def test_other_errors_are_the_drivers_own(database: Database, begin: Transaction) -> None:
    database.query("ALTER TABLE penstock.outbox RENAME TO gone")
    try:
        with pytest.raises(Exception, match=r"penstock\.outbox") as caught, begin(database) as session:
            enqueue_in_transaction(session, batch())
    finally:
        database.query("ALTER TABLE penstock.gone RENAME TO outbox")
    assert type(caught.value).__module__.partition(".")[0] in {"django", "psycopg", "psycopg2"}


def test_sqlalchemy_awaited(database: Database) -> None:
    async def run() -> UUID:
        engine = create_async_engine(sqlalchemy.make_url(database.url).set(drivername="postgresql+psycopg"))
        try:
            async with engine.begin() as connection:
                await connection.execute(sqlalchemy.text("INSERT INTO public.orders VALUES (7)"))
                raw = (await connection.get_raw_connection()).driver_connection
                assert raw is not None
                told = await enqueue_in_transaction_async(raw, batch())
                assert counts(database) == (0, 0)
        finally:
            await engine.dispose()
        return told

    assert asyncio.run(run()) == job_id("default", "submission_batch.write", "b")
    assert counts(database) == (1, 1)
