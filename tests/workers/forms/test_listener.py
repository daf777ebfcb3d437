"""A new version in PostgreSQL reaches a process's cache, also after its listener was cut off."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from penstock.producers.storage.forms import StoredForm, apply_form, find_form
from penstock.schemas.forms import parse_form
from penstock.workers.forms import listener as listener_module
from penstock.workers.forms.cache import FormCache
from penstock.workers.forms.listener import FormListener
from penstock.workers.settings import WorkerSettings
from tests.system import Database, wait_for

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'penstock-form-listener' AND datname = %s"


def apply(database: Database, form_id: str, question: str, tenant: str = "acme") -> int:
    form = parse_form(json.dumps({"title": "T", "questions": [{"id": question, "text": "?", "type": "text"}]}))
    with psycopg.connect(database.admin_url) as connection:
        return apply_form(connection, tenant, form_id, form).version


@pytest.fixture
def cache(database: Database) -> FormCache:
    def load(tenant: str, form_id: str, version: int | None) -> StoredForm | None:
        with psycopg.connect(database.url) as connection:
            return find_form(connection, tenant, form_id, version)

    return FormCache(load, versions=10, trust=timedelta(hours=1))


@pytest.fixture
def listener(cache: FormCache, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[FormListener]:
    monkeypatch.setattr(listener_module, "RECONNECT_AFTER", timedelta(milliseconds=50))
    running = FormListener(cache, settings)
    running.start()
    assert running.listening.wait(60)
    yield running
    running.stop()
    assert not running._thread.is_alive()


@pytest.mark.usefixtures("listener")
def test_a_new_version_is_used_at_once(cache: FormCache, database: Database) -> None:
    apply(database, "f", "one")
    apply(database, "g", "one")
    assert cache.get("acme", "f").version == 1
    assert apply(database, "f", "two") == 2
    # Without the event the one that is known would do for an hour.
    wait_for(lambda: cache.get("acme", "f").version == 2, "the new version")


@pytest.mark.usefixtures("listener")
def test_the_same_form_of_another_tenant_is_left_alone(cache: FormCache, database: Database) -> None:
    for tenant in ("acme", "globex"):
        apply(database, "shared", "one", tenant)
    assert cache.get("globex", "shared").version == 1
    for version, question in enumerate(("two", "three"), 2):
        # Only an event drops the pointer, and events come in order: that of acme's first version is here by then.
        assert apply(database, "shared", question, "globex") == version
        wait_for(lambda wanted=version: cache.get("globex", "shared").version == wanted, "the new version")
        if version == 2:
            cache.get("acme", "shared")
    assert ("acme", "shared") in cache._latest


def test_a_listener_that_was_cut_off_comes_back_and_believes_nothing(
    cache: FormCache, listener: FormListener, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    apply(database, "cut", "one")
    assert cache.get("acme", "cut").version == 1
    ((pid,),) = database.query(LISTENERS, database.name)
    assert database.value("SELECT pg_terminate_backend(%s, 5000)", pid)
    # Nobody may have listened when this was told.
    apply(database, "cut", "two")
    wait_for(lambda: cache.get("acme", "cut").version == 2, "the version that was applied meanwhile")
    wait_for(lambda: database.query(LISTENERS, database.name) not in ([], [(pid,)]), "a new listener")
    assert listener.listening.wait(60)
    apply(database, "cut", "three")
    wait_for(lambda: cache.get("acme", "cut").version == 3, "an event after the reconnection")
    assert "listening for form changes failed" in caplog.text


def test_it_stops_while_the_server_is_away(cache: FormCache, settings: WorkerSettings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:9/none"})
    running = FormListener(cache, away)
    running.start()
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 30
    assert not running.listening.is_set()
