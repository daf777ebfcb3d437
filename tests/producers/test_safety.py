"""The check of a Redis at a start: each hazard is named on a server that has it, and none on one that has none."""

import logging
from collections.abc import Iterator, Mapping

import pytest

from penstock.producers.queue import safety
from penstock.producers.queue.connection import connect
from penstock.producers.queue.safety import Hazard, Weight, check_redis, require_safe
from penstock.schemas.errors import Code, PenstockError
from tests.recovery.servers import OwnValkey


@pytest.fixture(scope="module")
def valkey() -> Iterator[OwnValkey]:
    with OwnValkey(appendfsync="everysec") as server:
        yield server


@pytest.fixture
def configured(valkey: OwnValkey) -> Iterator[OwnValkey]:
    """The server, whose settings a test may change."""
    yield valkey
    with valkey.client() as admin:
        for name, value in _SOUND.items():
            admin.config_set(name, value)


_SOUND = {
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
}


def hazards(server: OwnValkey, settings: Mapping[str, str] | None = None) -> dict[str, Hazard]:
    with server.client() as admin:
        for name, value in (settings or {}).items():
            admin.config_set(name, value)
    with connect(server.url) as client:
        return {hazard.name: hazard for hazard in check_redis(client)}


def test_a_sound_server_has_none(valkey: OwnValkey) -> None:
    assert hazards(valkey) == {}


@pytest.mark.parametrize(
    ("settings", "name", "told", "weight"),
    [
        pytest.param(
            {"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"},
            "eviction",
            "allkeys-lru",
            Weight.UNSAFE,
            id="evicts all",
        ),
        pytest.param(
            {"maxmemory": "1gb", "maxmemory-policy": "volatile-ttl"},
            "eviction",
            "volatile-ttl",
            Weight.UNSAFE,
            id="evicts what expires",
        ),
        pytest.param({"appendonly": "no"}, "persistence", "nothing is written", Weight.UNSAFE, id="writes nothing"),
        pytest.param(
            {"appendonly": "no", "save": "3600 1"},
            "persistence",
            "since the last snapshot",
            Weight.UNSAFE,
            id="writes snapshots",
        ),
        pytest.param({"appendfsync": "no"}, "flushing", "half a minute", Weight.UNSAFE, id="does not flush"),
        pytest.param({"maxmemory": "1"}, "memory", "of maxmemory is used", Weight.WARNING, id="is full"),
    ],
)
def test_a_hazard_is_named(
    configured: OwnValkey, settings: Mapping[str, str], name: str, told: str, weight: Weight
) -> None:
    found = hazards(configured, settings)
    assert set(found) == {name}
    assert told in found[name].told
    assert found[name].weight is weight
    assert found[name].remedy


@pytest.mark.parametrize(
    "settings",
    [{"maxmemory": "1gb"}, {"maxmemory-policy": "allkeys-lru"}, {"appendfsync": "always"}],
    ids=["limit", "policy without a limit", "flushes always"],
)
def test_no_hazard_is_seen_where_there_is_none(configured: OwnValkey, settings: Mapping[str, str]) -> None:
    assert hazards(configured, settings) == {}


def test_replicas_that_no_write_needs_are_noted(configured: OwnValkey) -> None:
    with OwnValkey(appendfsync=None, replica_of=configured):
        found = hazards(configured)
    assert {name: hazard.weight for name, hazard in found.items()} == {"replicas": Weight.NOTE}


def test_a_service_that_forbids_config_is_judged_by_the_rest(configured: OwnValkey) -> None:
    """As managed services have it; what INFO tells is judged all the same."""
    with configured.client() as admin:
        admin.config_set("appendfsync", "no")
        admin.acl_setuser("tenant", enabled=True, passwords=["+x"], keys=["*"], commands=["+@all", "-config"])
    url = configured.url.replace(f":{configured.password}@", "tenant:x@")
    with connect(url) as client:
        found = {hazard.name: hazard.weight for hazard in check_redis(client)}
        assert found == {"config": Weight.NOTE}
        with configured.client() as admin:
            admin.config_set("appendonly", "no")
        found = {hazard.name: hazard.weight for hazard in check_redis(client)}
        assert found == {"config": Weight.NOTE, "persistence": Weight.UNSAFE}


@pytest.mark.parametrize(
    ("version", "names"),
    [("6.2.14", ["version"]), ("7.0.0", []), ("7.2.4", []), ("8.0-rc1", []), ("10.1", []), ("", ["version"])],
)
def test_an_old_server_is_named(version: str, names: list[str]) -> None:
    """By what a server tells: no wheel brings a server so old."""
    found = list(safety._version({"redis_version": version}))
    assert [hazard.name for hazard in found] == names
    assert all(hazard.weight is Weight.UNUSABLE for hazard in found)


class TestPolicy:
    @pytest.fixture
    def unsafe(self, configured: OwnValkey) -> OwnValkey:
        assert set(hazards(configured, {"appendonly": "no", "maxmemory": "1"})) == {"persistence", "memory"}
        return configured

    def test_refuse_refuses_what_loses_jobs(self, unsafe: OwnValkey) -> None:
        with connect(unsafe.url) as client, pytest.raises(PenstockError) as caught:
            require_safe(client, "refuse")
        assert caught.value.code is Code.QUEUE_UNSAFE
        assert caught.value.details == {"hazards": ["persistence"]}
        assert "appendonly is no" in caught.value.message
        assert "appendonly yes" in caught.value.remedy

    def test_warn_logs_and_goes_on(self, unsafe: OwnValkey, caplog: pytest.LogCaptureFixture) -> None:
        with connect(unsafe.url) as client:
            require_safe(client, "warn")
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
        assert {getattr(record, "code", None) for record in caplog.records} == {Code.QUEUE_UNSAFE}

    def test_off_asks_nothing(self, unsafe: OwnValkey, caplog: pytest.LogCaptureFixture) -> None:
        with connect(unsafe.url) as client:
            require_safe(client, "off")
        assert not caplog.records

    def test_a_full_server_refuses_no_start(self, configured: OwnValkey) -> None:
        """The workers that would empty it must be able to start."""
        with configured.client() as admin:
            admin.config_set("maxmemory", "1")
        with connect(configured.url) as client:
            require_safe(client, "refuse")
