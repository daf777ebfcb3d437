"""Without Redis a call is decided in time, by a setting; what comes back is asked again."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.queue.scripts import script
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.circuits_deadline import AWAY_SECONDS, DeadlineScripts
from penstock.workers.protection.circuits_view import CircuitOpenError
from penstock.workers.protection.keys import GATE_STEPS
from tests.workers.protection.circuit_kit import NAME, PlatformDownError, open_kit, settings_for

IN_TIME = 0.5


@pytest.fixture
def silent() -> Iterator[str]:
    """Host and port of a server that takes connections and never answers, as a frozen one."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def url_of(where: str, silent: str) -> str:
    return {
        "refuses": "redis://127.0.0.1:1/0",
        "is silent": f"redis://{silent}/0",
        "sentinels are silent": f"redis+sentinel://{silent},{silent},{silent}/mymaster/0",
    }[where]


WHERES = ["refuses", "is silent", "sentinels are silent"]


@pytest.mark.parametrize("where", WHERES)
def test_calls_go_through_in_time_where_the_setting_says_so(where: str, silent: str) -> None:
    began = time.monotonic()
    settings = settings_for(url_of(where, silent), "open")
    circuits = Circuits(connect(settings.redis_url, replays=0), "n", settings)
    with circuits.guard(NAME):
        assert time.monotonic() - began <= IN_TIME
    with pytest.raises(PlatformDownError), circuits.guard(NAME):
        raise PlatformDownError
    # The second one knew, and so did the ends of both.
    assert time.monotonic() - began <= IN_TIME
    circuits.close()


@pytest.mark.parametrize("where", WHERES)
def test_calls_are_refused_in_time(where: str, silent: str) -> None:
    settings = settings_for(url_of(where, silent))
    circuits = Circuits(connect(settings.redis_url, replays=0), "n", settings)
    began = time.monotonic()
    with pytest.raises(CircuitOpenError) as refused, circuits.guard(NAME):
        pytest.fail("the call was let in")
    assert time.monotonic() - began <= IN_TIME
    assert refused.value.retry_after == timedelta(seconds=AWAY_SECONDS)
    circuits.close()


def test_control_the_client_alone_takes_longer(silent: str) -> None:
    client = connect(f"redis://{silent}/0", replays=0)
    done = threading.Event()

    def ping() -> None:
        with pytest.raises(redis.RedisError):
            client.ping()
        done.set()

    threading.Thread(target=ping, daemon=True).start()
    assert not done.wait(2 * IN_TIME)


def test_eight_threads_are_decided_in_time(silent: str) -> None:
    circuits = Circuits(connect(f"redis://{silent}/0", replays=0), "n", settings_for(f"redis://{silent}/0", "open"))
    took: list[float] = []

    def call() -> None:
        for _ in range(20):
            began = time.monotonic()
            with circuits.guard(NAME):
                took.append(time.monotonic() - began)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 160
    assert max(took) <= IN_TIME
    circuits.close()


class FreezableClient:
    """The real client, whose steps wait until `thawed` is set: a frozen server, for one client alone."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.thawed = threading.Event()
        self.thawed.set()

    def evalsha(self, *arguments: Any) -> Any:
        self.thawed.wait(10)
        return self._client.evalsha(*arguments)

    def eval(self, *arguments: Any) -> Any:
        return self._client.eval(*arguments)


def test_an_end_that_can_not_be_told_is_in_time_too(redis_url: str) -> None:
    for kit in open_kit(redis_url):
        client: Any = FreezableClient(kit.client)
        circuits = Circuits(client, kit.namespace, kit.settings)
        call = circuits.ask(NAME)
        client.thawed.clear()
        began = time.monotonic()
        circuits.tell(NAME, call, PlatformDownError())
        assert time.monotonic() - began <= IN_TIME
        client.thawed.set()
        circuits.close()


def test_redis_is_asked_again_after_a_while(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    now = [0.0]
    for kit in open_kit(redis_url):
        client: Any = FreezableClient(kit.client)
        steps = DeadlineScripts(client, kit.namespace, lambda: now[0])
        client.thawed.clear()
        assert steps.run("circuit_ask", NAME, "a") is None
        client.thawed.set()
        assert steps.run("circuit_ask", NAME, "a") is None
        now[0] = AWAY_SECONDS
        assert steps.run("circuit_ask", NAME, "a") is not None
        steps.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_nothing_is_asked_once_it_is_closed(redis_url: str) -> None:
    for kit in open_kit(redis_url, when_redis_is_down="open"):
        kit.circuits.close()
        kit.fail(6, PlatformDownError())
        assert kit.view().failures == 0


def test_operators_are_told() -> None:
    circuits = Circuits(connect("redis://127.0.0.1:1/0", replays=0), "n", settings_for("redis://127.0.0.1:1/0"))
    with pytest.raises(PenstockError) as raised:
        circuits.state(NAME)
    assert raised.value.code is Code.QUEUE_UNAVAILABLE


@pytest.mark.parametrize("step", ["circuit_ask", "circuit_tell", "circuit_force", "circuit_auto"])
def test_a_step_that_writes_does_so_where_memory_is_short(step: str) -> None:
    """Else nothing would be counted then."""
    assert script(step, GATE_STEPS).source.startswith("#!lua flags=allow-oom\n")
