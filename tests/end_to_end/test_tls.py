"""TLS with client certificates to PostgreSQL, Redis and its Sentinel: what is refused, how it is told, who heals.

Nothing here ever goes on in plain text, and nothing is tried again without saying why.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from penstock.migrations.runner import Migrator
from penstock.producers import Producer, Submission, WriteSubmissionBatch
from penstock.producers.queue.connection import connect, redis_errors
from penstock.schemas.errors import Code, PenstockError
from penstock.schemas.limits import Limits
from penstock.workers.database.failures import storage_errors
from tests.debian_servers import DebianPostgres, DebianRedis
from tests.end_to_end import roles_system
from tests.end_to_end.roles_system import RolesSystem
from tests.producers.tls import Authority
from tests.recovery.servers import OwnValkey, free_port
from tests.system import BIN, wait_for

LOGIN = "of_workers"
SERVICE = "main"


@dataclass(frozen=True, slots=True)
class Servers:
    """All have certificates of `authority`; `stranger` is another authority, which nobody here trusts."""

    authority: Authority
    stranger: Authority
    postgres: DebianPostgres
    redis: DebianRedis
    sentinel: DebianRedis

    @property
    def redis_url(self) -> str:
        """The master, by way of its Sentinel."""
        return self.sentinel_url(self.sentinel.options())

    def sentinel_url(self, options: str) -> str:
        return f"rediss+sentinel://127.0.0.1:{self.sentinel.port}/{SERVICE}/0?{options}"

    def strange(self, name: str) -> tuple[str, str]:
        """Certificate and key of that name, by the authority that nobody trusts."""
        certificate, key = self.stranger.issue(name)
        key.chmod(0o600)
        return str(certificate), str(key)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    stranger = Authority(tmp_path_factory.mktemp("stranger"))
    with DebianPostgres(authority) as postgres, DebianRedis(authority) as redis:
        watched = {"sentinel monitor": f"{SERVICE} 127.0.0.1 {redis.port} 1"}
        with DebianRedis(authority, watched, sentinel=True) as sentinel:
            yield Servers(authority, stranger, postgres, redis, sentinel)


@pytest.fixture(scope="module")
def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolesSystem]:
    """Every process at work by way of all three."""
    environment = {"REDIS_URL": servers.redis_url}
    folder = tmp_path_factory.mktemp("system")
    with roles_system.running(servers.postgres.admin_url, servers.postgres.url_of, environment, folder) as found:
        yield found


def test_all_processes_work_by_way_of_a_sentinel_with_tls(system: RolesSystem) -> None:
    roles_system.submit_a_file(system)
    roles_system.relay_the_outbox(system)
    roles_system.account_for_everything(system)


# PostgreSQL


def wrong_authority(servers: Servers) -> str:
    return servers.postgres.url_of(LOGIN, sslrootcert=str(servers.stranger.certificate))


def wrong_host(servers: Servers) -> str:
    return servers.postgres.url_of(LOGIN, host="localhost", hostaddr="127.0.0.1")


def no_certificate(servers: Servers) -> str:
    return servers.postgres.url_of(LOGIN, sslcert="", sslkey="")


def strange_certificate(servers: Servers) -> str:
    certificate, key = servers.strange(LOGIN)
    return servers.postgres.url_of(LOGIN, sslcert=certificate, sslkey=key)


def certificate_of_another_login(servers: Servers) -> str:
    return servers.postgres.url_of("of_reports").replace("of_reports@", f"{LOGIN}@")


def plain_text(servers: Servers) -> str:
    return servers.postgres.url_of(LOGIN, sslmode="disable")


def key_that_others_may_read(servers: Servers) -> str:
    url = servers.postgres.url_of("of_nobody")
    (servers.authority.certificate.parent / "of_nobody.key").chmod(0o644)
    return url


REFUSED: dict[Callable[[Servers], str], str] = {
    wrong_authority: "not signed by the authority of sslrootcert",
    wrong_host: "for another host name",
    no_certificate: "wants a client certificate",
    strange_certificate: "does not know the authority of the client certificate",
    certificate_of_another_login: "not this login's",
    plain_text: "takes no connection without TLS",
    key_that_others_may_read: "others may read",
}


@pytest.mark.parametrize(("url_of", "told"), REFUSED.items(), ids=lambda found: getattr(found, "__name__", ""))
def test_postgresql_and_a_client_that_do_not_trust_each_other(
    servers: Servers, system: RolesSystem, url_of: Callable[[Servers], str], told: str
) -> None:
    url = url_of(servers)
    with pytest.raises(PenstockError, match=told) as caught, storage_errors():
        psycopg.connect(url, connect_timeout=5).close()
    assert caught.value.code is Code.STORAGE_UNAVAILABLE
    with pytest.raises(PenstockError, match=told) as caught:
        Migrator(url).status()
    assert caught.value.code is Code.STORAGE_UNAVAILABLE
    run = subprocess.run(
        [BIN / "penstock", "posts", "list"],
        env=system.environment_of(LOGIN) | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert told in run.stderr


# Redis


def redis_wrong_authority(servers: Servers) -> str:
    return servers.redis.url(ssl_ca_certs=str(servers.stranger.certificate))


def redis_wrong_host(servers: Servers) -> str:
    return servers.redis.url(host="localhost")


def redis_no_certificate(servers: Servers) -> str:
    return servers.redis.url(ssl_certfile="", ssl_keyfile="")


def redis_strange_certificate(servers: Servers) -> str:
    certificate, key = servers.strange("client")
    return servers.redis.url(ssl_certfile=certificate, ssl_keyfile=key)


def sentinel_wrong_authority(servers: Servers) -> str:
    return servers.sentinel_url(servers.sentinel.options(ssl_ca_certs=str(servers.stranger.certificate)))


def sentinel_no_certificate(servers: Servers) -> str:
    return servers.sentinel_url(servers.sentinel.options(ssl_certfile="", ssl_keyfile=""))


REDIS_REFUSED: dict[Callable[[Servers], str], str] = {
    redis_wrong_authority: "certificate is not accepted",
    redis_wrong_host: "certificate is not accepted .Hostname mismatch",
    redis_no_certificate: "client certificate",
    redis_strange_certificate: "client certificate",
    sentinel_wrong_authority: "certificate is not accepted",
    sentinel_no_certificate: "client certificate",
}


@pytest.mark.parametrize(("url_of", "told"), REDIS_REFUSED.items(), ids=lambda found: getattr(found, "__name__", ""))
def test_redis_and_a_client_that_do_not_trust_each_other(
    servers: Servers, url_of: Callable[[Servers], str], told: str
) -> None:
    with (
        connect(url_of(servers), replays=0) as client,
        pytest.raises(PenstockError, match=told) as caught,
        redis_errors("asking"),
    ):
        client.ping()
    assert caught.value.code is Code.QUEUE_UNAVAILABLE


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel"])
def test_they_take_no_plain_text(servers: Servers, scheme: str) -> None:
    port, path = (servers.redis.port, "") if scheme == "redis" else (servers.sentinel.port, f"/{SERVICE}")
    with (
        connect(f"{scheme}://127.0.0.1:{port}{path}/0", replays=0) as client,
        pytest.raises(PenstockError) as caught,
        redis_errors("asking"),
    ):
        client.ping()
    assert caught.value.code is Code.QUEUE_UNAVAILABLE


def test_a_redis_without_tls_is_no_place_for_rediss() -> None:
    with (
        OwnValkey(appendfsync="no") as plain,
        connect(plain.url.replace("redis:", "rediss:"), replays=0) as client,
        pytest.raises(PenstockError, match="answers no TLS"),
        redis_errors("asking"),
    ):
        client.ping()


# Processes


@contextmanager
def process(system: RolesSystem, command: str, log: Path, **env: str) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as file:
        started = subprocess.Popen(
            [BIN / "penstock", command], env=system.environment_of(LOGIN) | env, stdout=file, stderr=file
        )
    try:
        yield started
    finally:
        started.terminate()
        code = started.wait(60)
    assert code == 0, log.read_text()


def says(log: Path, *words: str) -> bool:
    return all(word in log.read_text() for word in words)


@pytest.mark.parametrize("command", ["worker", "scheduler"])
@pytest.mark.parametrize("server", ["postgresql", "redis"])
def test_a_process_says_what_keeps_it_and_begins_when_that_is_mended(
    servers: Servers, system: RolesSystem, command: str, server: str, tmp_path: Path
) -> None:
    trusted, log = tmp_path / "ca.pem", tmp_path / "log"
    shutil.copy(servers.stranger.certificate, trusted)
    if server == "postgresql":
        env = {"DATABASE_URL": servers.postgres.url_of(LOGIN, sslrootcert=str(trusted))}
        told = REFUSED[wrong_authority]
    else:
        env = {"REDIS_URL": servers.sentinel_url(servers.sentinel.options(ssl_ca_certs=str(trusted)))}
        told = "certificate is not accepted"
    with process(system, command, log, **env) as started:
        wait_for(partial(says, log, told, "trying again"), "the reason")
        assert started.poll() is None
        assert not says(log, "is ready")
        shutil.copy(servers.authority.certificate, trusted)
        wait_for(partial(says, log, "is ready"), "its beginning")


@pytest.mark.parametrize(
    ("command", "asked"), [("gateway", "/v1/forms/any"), ("sidecar", "/health/ready")], ids=["gateway", "sidecar"]
)
def test_who_begins_without_its_servers_says_what_keeps_them(
    servers: Servers, system: RolesSystem, command: str, asked: str, tmp_path: Path
) -> None:
    log, listen = tmp_path / "log", f"127.0.0.1:{free_port()}"
    env = {f"PENSTOCK_{command.upper()}_LISTEN": listen, "DATABASE_URL": no_certificate(servers)}
    with process(system, command, log, **env):
        wait_for(partial(_answers, f"http://{listen}{asked}", 503), f"the {command}'s answer")
        wait_for(partial(says, log, REFUSED[no_certificate]), "the reason")


def _answers(url: str, status: int) -> bool:
    try:
        return httpx.get(url, timeout=20).status_code == status
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("command", ["worker", "scheduler", "gateway", "sidecar"])
def test_no_process_begins_with_a_mistyped_switch(system: RolesSystem, command: str) -> None:
    for url, told in {
        f"postgresql://{LOGIN}:hunter2@127.0.0.1:1/penstock?sslmode=verify_full": "sslmode must be one of",
        f"postgresql://{LOGIN}:hunter2@127.0.0.1:1/penstock?sslmod=verify-full": "is sslmode meant?",
    }.items():
        env = system.environment_of(LOGIN) | {"DATABASE_URL": url, "PENSTOCK_LOG_FORMAT": "text"}
        run = subprocess.run(
            [BIN / "penstock", command], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert run.returncode in {1, 2}
        assert "CONFIG_INVALID" in run.stderr
        assert told in run.stderr
        assert "hunter2" not in run.stderr


def test_a_server_that_changes_its_certificate_is_refused_until_it_has_a_good_one(
    servers: Servers, system: RolesSystem
) -> None:
    log, good = system.folder / "worker", servers.authority.issue("server")
    with httpx.Client(base_url=f"http://{system.gateway}/v1", timeout=30) as client:
        assert client.put("/forms/certificates", json=roles_system.FORM).status_code in {200, 201}
    batch = WriteSubmissionBatch(form_id="certificates", batch_id="c-1", submissions=(Submission(answers={"q": "x"}),))
    servers.postgres.use_certificate(*servers.stranger.issue("server"))
    try:
        wait_for(partial(_is_refused, servers), "the certificate to be in use")
        servers.postgres.end_sessions()
        with Producer.from_environment(system.environment) as producer:
            producer.enqueue(batch.encode(Limits()))
        wait_for(partial(says, log, REFUSED[wrong_authority]), "the worker's word")
    finally:
        servers.postgres.use_certificate(*good)
    system.wait_until_stored("c-1", 1)


def _is_refused(servers: Servers) -> bool:
    try:
        psycopg.connect(servers.postgres.url_of("of_operators"), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return "certificate verify failed" in str(error)
    return False
