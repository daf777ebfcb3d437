"""Connections to Redis: what a URL may say, what a fault in it is told as, and what Redis's errors mean."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import pytest
import redis
from redis.connection import Connection, ConnectionPool

from penstock.producers.queue.address import parse_address
from penstock.producers.queue.connection import BLOCKING_LIMIT, connect, redis_errors
from penstock.producers.settings import ProducerSettings
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.embedded import ports
from tests.producers.tls import Authority, TlsRelay
from tests.recovery.servers import OwnValkey, free_port
from tests.system import wait_for

PASSWORD = "hunter2/with@signs"


@pytest.fixture(scope="module")
def valkey() -> Iterator[OwnValkey]:
    with OwnValkey(appendfsync="no", settings={"unixsocket": "valkey.sock"}) as server:
        yield server


@pytest.fixture
def at_limit(valkey: OwnValkey) -> Iterator[OwnValkey]:
    """The server while it is at its memory limit."""
    admin = valkey.client()
    admin.config_set("maxmemory", 1)
    yield valkey
    admin.config_set("maxmemory", 0)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        pytest.param(f"http://:{PASSWORD}@h/0", "must begin with", id="scheme"),
        pytest.param("redis://:hunter2/x@h/0", "percent-encoded", id="slash in the password"),
        pytest.param("redis://:hunter2@h:70000/0", "no number to 65535", id="port"),
        pytest.param("redis://:hunter2@[::1/0", "bracket", id="bracket"),
        pytest.param("redis://:hunter2@h/jobs", "number of a database", id="database"),
        pytest.param("redis://:hunter2@h/0?sockt_timeout=3", "unknown parameter sockt_timeout", id="unknown parameter"),
        pytest.param("redis://:hunter2@h/0?socket_timeout=soon", "parameter socket_timeout", id="value"),
        pytest.param("rediss://:hunter2@h/0?ssl_ca_certs=/none.pem", "ssl_ca_certs names", id="file"),
        pytest.param("rediss://:hunter2@h/0?ssl_cert_reqs=hardly", "don't fit", id="value that only TLS refuses"),
        pytest.param("unix://:hunter2@/", "no socket", id="socket"),
        pytest.param("redis+sentinel://:hunter2@h:1,h:2/", "no service", id="service"),
        pytest.param("redis+sentinel://:hunter2@h:1,/main/0", "missing", id="host of a Sentinel"),
        pytest.param("redis+sentinel://:hunter2@h:1,h:x/main/0", "no number to 65535", id="port of a Sentinel"),
        pytest.param("redis+sentinel://:hunter2@h/main/jobs", "number of a database", id="database of the master"),
        pytest.param(
            "redis+sentinel://:hunter2@h/main/0?quorum=2", "unknown parameter quorum", id="Sentinel parameter"
        ),
    ],
)
def test_faults_of_a_url_are_told_without_its_secrets(url: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        connect(url)
    assert caught.value.code is Code.CONFIG_INVALID
    assert "hunter2" not in str(caught.value.as_dict())
    assert "hunter2" not in str(caught.value.__cause__)


def test_a_sentinel_url_is_read_whole() -> None:
    secret = quote(PASSWORD, safe="")
    address = parse_address(
        f"rediss+sentinel://worker:{secret}@a:1,b,[::1]:3/main/4?sentinel_username=s&sentinel_password={secret}"
        "&ssl_check_hostname=false&socket_timeout=7"
    )
    assert address.service == "main"
    assert address.sentinels == (("a", 1), ("b", 26379), ("::1", 3))
    assert dict(address.options) == {
        "username": "worker",
        "password": PASSWORD,
        "db": 4,
        "ssl_check_hostname": False,
        "socket_timeout": 7.0,
    }
    assert dict(address.sentinel_options) == {
        "username": "s",
        "password": PASSWORD,
        "ssl_check_hostname": False,
    }
    assert "hunter2" not in repr(address)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"])
def test_settings_know_the_scheme(scheme: str) -> None:
    url = f"{scheme}://host/main"
    assert ProducerSettings.from_environment({"REDIS_URL": url}).redis_url == url


def test_a_unix_socket_serves(valkey: OwnValkey) -> None:
    with connect(f"unix://:{valkey.password}@{valkey.folder}/valkey.sock?db=1") as client:
        assert client.ping()
        assert client.client_info()["db"] == 1


def test_connections_are_named_bounded_and_kept_alive(valkey: OwnValkey) -> None:
    with connect(valkey.url) as client:
        assert client.client_info()["name"] == "penstock"
        assert client.connection_pool.connection_kwargs["socket_timeout"] == 5
        assert client.connection_pool.connection_kwargs["socket_connect_timeout"] == 2
        assert client.connection_pool.connection_kwargs["socket_keepalive"] is True


def test_a_waiting_command_outlasts_its_wait(valkey: OwnValkey) -> None:
    started = time.monotonic()
    with connect(valkey.url, replays=0) as client:
        assert client.blpop(["nothing"], BLOCKING_LIMIT.total_seconds()) is None
    assert time.monotonic() - started >= BLOCKING_LIMIT.total_seconds()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def relay(authority: Authority, valkey: OwnValkey) -> Iterator[TlsRelay]:
    with TlsRelay(authority, valkey.port) as relay:
        yield relay


@contextmanager
def raising(code: Code, match: str | None = None) -> Iterator[None]:
    """Redis's error within the block is told as `code`."""
    with pytest.raises(PenstockError, match=match) as caught, redis_errors("asking"):
        yield
    assert caught.value.code is code


class TestTls:
    def test_a_client_with_a_certificate_is_served(
        self, authority: Authority, relay: TlsRelay, valkey: OwnValkey
    ) -> None:
        certificate, key = authority.issue("client")
        files = f"ssl_ca_certs={authority.certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
        with connect(f"rediss://:{valkey.password}@{ports.LOOPBACK}:{relay.port}/0?{files}") as client:
            assert client.ping()

    def test_a_client_without_one_is_not(self, authority: Authority, relay: TlsRelay, valkey: OwnValkey) -> None:
        url = f"rediss://:{valkey.password}@{ports.LOOPBACK}:{relay.port}/0?ssl_ca_certs={authority.certificate}"
        with connect(url, replays=0) as client, raising(Code.QUEUE_UNAVAILABLE):
            client.ping()

    def test_an_unknown_authority_is_told(self, relay: TlsRelay, tmp_path: Path) -> None:
        url = f"rediss://{ports.LOOPBACK}:{relay.port}/0?ssl_ca_certs={Authority(tmp_path).certificate}"
        with connect(url, replays=0) as client, raising(Code.QUEUE_UNAVAILABLE, "certificate is not accepted"):
            client.ping()


class TestErrors:
    def test_out_of_memory(self, at_limit: OwnValkey) -> None:
        with connect(at_limit.url) as client, raising(Code.QUEUE_OUT_OF_MEMORY):
            client.set("k", "v")

    def test_out_of_memory_in_a_script(self, at_limit: OwnValkey) -> None:
        script = "#!lua\nreturn redis.call('SET', KEYS[1], 'v')"
        with connect(at_limit.url) as client, raising(Code.QUEUE_OUT_OF_MEMORY):
            client.eval(script, 1, "k")

    def test_out_of_memory_in_a_pipeline(self, at_limit: OwnValkey) -> None:
        with connect(at_limit.url) as client, raising(Code.QUEUE_OUT_OF_MEMORY, "^((?!secret).)*$"):
            client.pipeline(transaction=False).set("k", "secret").execute()

    def test_too_few_replicas(self, valkey: OwnValkey) -> None:
        admin = valkey.client()
        admin.config_set("min-replicas-to-write", 1)
        try:
            with connect(valkey.url) as client, raising(Code.QUEUE_REFUSED, "NOREPLICAS"):
                client.set("k", "v")
        finally:
            admin.config_set("min-replicas-to-write", 0)

    def test_wrong_credentials_are_tried_once(self, valkey: OwnValkey) -> None:
        admin = valkey.client()
        before = admin.info("stats")["total_connections_received"]
        url = f"redis://:wrong@{ports.LOOPBACK}:{valkey.port}/0"
        with connect(url) as client, raising(Code.QUEUE_REFUSED, "credentials"):
            client.ping()
        assert admin.info("stats")["total_connections_received"] == before + 1

    def test_a_server_that_is_not_there(self) -> None:
        with connect(f"redis://{ports.LOOPBACK}:{free_port()}/0") as client, raising(Code.QUEUE_UNAVAILABLE):
            client.ping()

    def test_no_sentinel_answers(self) -> None:
        url = f"redis+sentinel://{ports.LOOPBACK}:{free_port()}/main"
        with connect(url, replays=1) as client, raising(Code.QUEUE_UNAVAILABLE):
            client.ping()


@pytest.fixture
def doomed() -> Iterator[OwnValkey]:
    """A server for the test to demote or kill."""
    with OwnValkey(appendfsync="no") as server:
        yield server


class TestDemoted:
    """A server that was master and is a replica now, as after a failover that it slept through."""

    def test_is_away_not_refusing(self, doomed: OwnValkey, valkey: OwnValkey) -> None:
        with connect(doomed.url, replays=1) as client:
            client.set("k", "v")
            _follow(doomed, valkey)
            with raising(Code.QUEUE_UNAVAILABLE, "no master"):
                client.set("k", "w")

    @pytest.mark.parametrize("replays", [0, 2], ids=["no replay", "replays"])
    def test_loses_its_connections(self, doomed: OwnValkey, valkey: OwnValkey, replays: int) -> None:
        with connect(doomed.url, replays=replays) as client:
            before = client.client_id()
            _follow(doomed, valkey)
            with pytest.raises(redis.ReadOnlyError):
                client.set("k", "w")
            assert client.client_id() != before

    def test_ends_waits(self, doomed: OwnValkey, valkey: OwnValkey) -> None:
        told: list[PenstockError] = []

        def wait() -> None:
            try:
                with connect(doomed.url, replays=0) as client, redis_errors("waiting"):
                    client.blpop(["nothing"], BLOCKING_LIMIT.total_seconds())
            except PenstockError as error:
                told.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_for(lambda: doomed.client().info("clients")["blocked_clients"] == 1, "the wait")
        _follow(doomed, valkey)
        waiting.join()
        assert [error.code for error in told] == [Code.QUEUE_UNAVAILABLE]


def test_replays_do_not_multiply(doomed: OwnValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is lost under a command is tried once a replay; by the library's rule it would be 12 times."""
    attempts: list[Connection] = []

    def lost(connection: Connection) -> NoReturn:
        attempts.append(connection)
        raise TimeoutError  # as where packets go nowhere, which loopback can't show

    with connect(doomed.url, replays=3) as client:
        client.ping()
        doomed.freeze()
        monkeypatch.setattr(Connection, "_connect", lost)
        killing = threading.Thread(target=_kill_under_a_command, args=(doomed, client.connection_pool))
        killing.start()
        with raising(Code.QUEUE_UNAVAILABLE):
            client.ping()
        killing.join()
    assert len(attempts) == 3


def _kill_under_a_command(server: OwnValkey, pool: ConnectionPool) -> None:
    wait_for(lambda: bool(pool._in_use_connections), "the command to be sent")
    server.kill9()


def _follow(server: OwnValkey, master: OwnValkey) -> None:
    with server.client() as admin:
        admin.config_set("masterauth", master.password)
        admin.replicaof(ports.LOOPBACK, str(master.port))
