"""A pool of the module's own, and a table to write to."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.workers.database.pool import open_pool
from penstock.workers.settings import WorkerSettings
from tests.system import Database

Pool = ConnectionPool[psycopg.Connection[Any]]


@pytest.fixture
def pool(settings: WorkerSettings) -> Iterator[Pool]:
    with open_pool(settings, "penstock-test") as opened:
        opened.wait(60)
        yield opened


@pytest.fixture
def counters(database: Database) -> Database:
    """The database with `public.counters`: two rows, at zero."""
    database.query("DROP TABLE IF EXISTS public.counters")
    database.query("CREATE TABLE public.counters (name text PRIMARY KEY, value int NOT NULL)")
    database.query("INSERT INTO public.counters VALUES ('a', 0), ('b', 0)")
    database.query("GRANT ALL ON public.counters TO public")
    return database
