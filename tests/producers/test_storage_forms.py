"""Forms in PostgreSQL: applied twice they are one version, and what is stored never changes."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from penstock.producers.storage.forms import Applied, apply_form, find_form, list_forms, recent_forms
from penstock.schemas.forms import Form, parse_form
from tests.system import Database

Connection = psycopg.Connection[Any]


def form(title: str, *questions: str) -> Form:
    asked = [{"id": question, "text": "?", "type": "text"} for question in questions or ("q",)]
    return parse_form(json.dumps({"title": title, "questions": asked}))


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """As a worker logs in: its rights must do."""
    with psycopg.connect(database.url, autocommit=True) as opened:
        yield opened


def apply(connection: Connection, form_id: str, applied: Form, tenant: str = "acme") -> Applied:
    with connection.transaction():
        return apply_form(connection, tenant, form_id, applied)


def test_applied_twice_it_is_one_version(connection: Connection) -> None:
    assert apply(connection, "twice", form("T")) == Applied("twice", 1, created=True)
    assert apply(connection, "twice", form("T")) == Applied("twice", 1, created=False)
    stored = find_form(connection, "acme", "twice")
    assert stored is not None
    assert (stored.version, stored.latest_version) == (1, 1)
    assert stored.parse() == form("T")
    assert find_form(connection, "acme", "twice", 2) is None


def test_back_to_an_earlier_definition_is_a_new_version(connection: Connection) -> None:
    versions = [apply(connection, "back", form(title)).version for title in ("A", "B", "A")]
    assert versions == [1, 2, 3]
    first, third = find_form(connection, "acme", "back", 1), find_form(connection, "acme", "back")
    assert first is not None
    assert third is not None
    assert (first.definition, first.latest_version) == (third.definition, 3)


def test_tenants_count_by_themselves(connection: Connection) -> None:
    apply(connection, "own", form("A"), tenant="acme")
    assert apply(connection, "own", form("A"), tenant="globex") == Applied("own", 1, created=True)
    keys = {tenant: find_form(connection, tenant, "own") for tenant in ("acme", "globex")}
    assert len({stored.form_key for stored in keys.values() if stored is not None}) == 2
    assert find_form(connection, "initech", "own") is None


def at_once(database: Database, form_id: str, forms: list[Form]) -> list[Applied]:
    together = threading.Barrier(len(forms), timeout=60)

    def run(applied: Form) -> Applied:
        with psycopg.connect(database.url) as own:
            own.execute("SELECT 1")
            together.wait()
            return apply_form(own, "acme", form_id, applied)

    with ThreadPoolExecutor(len(forms)) as threads:
        return list(threads.map(run, forms))


def test_appliers_at_once_get_consecutive_versions(database: Database, connection: Connection) -> None:
    applied = at_once(database, "race", [form(f"T{number}") for number in range(8)])
    assert sorted(one.version for one in applied) == list(range(1, 9))
    assert all(one.created for one in applied)
    latest = find_form(connection, "acme", "race")
    assert latest is not None
    assert latest.version == 8


def test_appliers_of_the_same_at_once_make_one_version(database: Database) -> None:
    applied = at_once(database, "same-race", [form("T")] * 8)
    assert {one.version for one in applied} == {1}
    assert sum(one.created for one in applied) == 1


def test_an_apply_that_is_rolled_back_leaves_nothing(connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        assert apply_form(connection, "acme", "undone", form("T")).created
    assert find_form(connection, "acme", "undone") is None
    assert apply(connection, "undone", form("T")).version == 1


@pytest.mark.parametrize("column", ["definition = '{}'", "digest = digest", "version = 7"])
def test_a_stored_version_never_changes(connection: Connection, database: Database, column: str) -> None:
    apply(connection, "fixed", form("T"))
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        database.query(f"UPDATE penstock.form_versions SET {column}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"UPDATE penstock.form_versions SET {column}")


def test_a_list_has_pages_in_the_order_of_ids(connection: Connection) -> None:
    ids = [f"list-{number:02d}" for number in (3, 1, 5, 2, 4)]
    for form_id in ids:
        apply(connection, form_id, form(f"Title of {form_id}", "a", "b"), tenant="lister")
    first = list_forms(connection, "lister", limit=2)
    second = list_forms(connection, "lister", after=first[-1].form_id, limit=2)
    third = list_forms(connection, "lister", after=second[-1].form_id, limit=2)
    assert [one.form_id for one in first + second + third] == sorted(ids)
    assert list_forms(connection, "lister", after=third[-1].form_id) == []
    assert (first[0].title, first[0].questions, first[0].latest_version) == ("Title of list-01", 2, 1)


def test_the_forms_that_changed_last_come_first(connection: Connection) -> None:
    for title in ("A", "B"):
        for form_id in ("recent-1", "recent-2"):
            apply(connection, form_id, form(title))
    apply(connection, "recent-1", form("C"))
    found = recent_forms(connection, 2)
    assert [(one.form_id, one.version) for one in found] == [("recent-1", 3), ("recent-2", 2)]
