"""A Valkey that a test may fill, pause and stop."""

from collections.abc import Iterator

import pytest
import redis

from penstock.workers.embedded.home import Home
from penstock.workers.embedded.valkey import EmbeddedValkey


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
