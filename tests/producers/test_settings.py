"""Settings: from variables and files, all faults at once, never a value in a message."""

from pathlib import Path

import pytest

from penstock.producers.settings import ProducerSettings
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.settings import WorkerSettings

URLS = {"REDIS_URL": "redis://localhost/0", "DATABASE_URL": "postgresql://localhost/x"}


def faults(environ: dict[str, str]) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        WorkerSettings.from_environment(environ)
    assert caught.value.code is Code.CONFIG_INVALID
    found: dict[str, str] = caught.value.details["settings"]
    return found


def test_defaults_need_only_the_two_addresses() -> None:
    settings = WorkerSettings.from_environment(URLS)
    assert (settings.namespace, settings.tenant, settings.batch_size_limit) == ("penstock", "default", 1000)


def test_all_faults_are_told_at_once_and_no_value_is() -> None:
    environ = {
        "REDIS_URL": "secret-one",
        "PENSTOCK_WORKER_THREADS": "many",
        "PENSTOCK_FORM_CACHE": "ofF",
        "PENSTOCK_BATCH_SIZE_LIMIT": "0",
    }
    with pytest.raises(InvalidInputError) as caught:
        WorkerSettings.from_environment(environ)
    assert set(caught.value.details["settings"]) == {*environ, "DATABASE_URL"}
    assert not any(value in caught.value.message for value in ("secret-one", "many", "ofF"))


def test_a_setting_may_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("redis://elsewhere/0\n")
    assert ProducerSettings.from_environment({"REDIS_URL_FILE": str(secret)}).redis_url == "redis://elsewhere/0"


def test_a_setting_and_its_file_together_are_a_fault(tmp_path: Path) -> None:
    assert "not both" in faults(URLS | {"REDIS_URL_FILE": str(tmp_path)})["REDIS_URL"]


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    found = faults({"DATABASE_URL": URLS["DATABASE_URL"], "REDIS_URL_FILE": str(tmp_path / "none")})
    assert "can't be read" in found["REDIS_URL"]


def test_an_empty_variable_is_an_unset_one() -> None:
    assert faults({"REDIS_URL": "", "DATABASE_URL": URLS["DATABASE_URL"]}) == {"REDIS_URL": "is not set"}


def test_addresses_do_not_show_in_a_repr() -> None:
    shown = repr(WorkerSettings.from_environment({**URLS, "DATABASE_URL": "postgresql://u:hunter2@localhost/x"}))
    assert "hunter2" not in shown
