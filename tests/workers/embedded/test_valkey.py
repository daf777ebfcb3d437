import os
import signal

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.workers.embedded.valkey import EmbeddedValkey
from tests.workers.embedded.processes import wait_for_end


@pytest.fixture
def url(valkey: EmbeddedValkey) -> str:
    return valkey.url if valkey.is_running() else valkey.start()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bind", "127.0.0.1"),
        ("protected-mode", "yes"),
        ("appendonly", "yes"),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
    ],
    ids=str,
)
def test_server_is_set_up_as_promised(url: str, name: str, expected: str) -> None:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert client.config_get(name) == {name: expected}


def test_without_password_nothing_is_told(valkey: EmbeddedValkey, url: str) -> None:
    with redis.Redis(port=valkey.port, retry=Retry(NoBackoff(), 0)) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_flushes_every_second_unless_told_otherwise(valkey: EmbeddedValkey, url: str) -> None:
    assert EmbeddedValkey(valkey.home)._appendfsync == "everysec"


def test_restart_keeps_port_and_data(valkey: EmbeddedValkey, url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    valkey.stop()
    assert valkey.start() == url
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


def test_killed_server_starts_again_from_a_file_cut_short(valkey: EmbeddedValkey, url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set("acknowledged", "yes")
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGKILL)
    wait_for_end(valkey.pid)
    (log,) = (valkey.folder / "data" / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nha")
    with redis.Redis.from_url(valkey.start()) as client:
        assert client.get("acknowledged") == b"yes"
