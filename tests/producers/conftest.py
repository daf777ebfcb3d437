"""A producer with a namespace of its own, and a Valkey that a test may fill, pause and stop."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import redis

from penstock.producers import Producer
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.valkey import EmbeddedValkey

#: What the clock of `producer` tells, always.
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    with Home(tmp_path_factory.mktemp("own-valkey")) as home:
        server = EmbeddedValkey(home, appendfsync="no")
        server.start()
        yield server
        server.stop()


@pytest.fixture
def own_redis(own_valkey: EmbeddedValkey) -> Iterator["redis.Redis"]:
    """The administrator of that server; it is empty and unlimited before each test."""
    with redis.Redis.from_url(own_valkey.url) as client:
        client.config_set("maxmemory", 0)
        client.flushall()
        yield client
        client.config_set("maxmemory", 0)


@pytest.fixture
def prefix(namespace: str) -> str:
    """A namespace of the test's own, which `namespace` clears away."""
    return f"{namespace}-{secrets.token_hex(3)}"


@pytest.fixture
def producer(redis_url: str, prefix: str) -> Iterator[Producer]:
    with Producer(redis_url, tenant="acme", namespace=prefix, clock=lambda: NOW) as made:
        yield made


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as made:
        yield made
