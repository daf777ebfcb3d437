"""The shorter way by which our client runs scripts: broken connections, late answers, threads and forks."""

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.queue.enqueueing import Enqueuer, Offer
from tests.producers.queue.conftest import job
from tests.recovery.servers import OwnValkey
from tests.system import wait_for

ECHO = "return ARGV[1]"


@pytest.fixture(scope="module")
def valkey() -> Iterator[OwnValkey]:
    with OwnValkey(appendfsync="no") as server:
        yield server


@pytest.fixture
def client(valkey: OwnValkey) -> Iterator["redis.Redis"]:
    with connect(valkey.url) as made:
        yield made


def connections_of(client: "redis.Redis") -> int:
    """How many connections a client has made that are still there."""
    pool = client.connection_pool
    return len(pool._available_connections) + len(pool._in_use_connections)


def test_an_answer_is_the_librarys(client: "redis.Redis") -> None:
    sha = client.script_load("return {1, 'two', {3}, false}")
    assert client.evalsha(sha, 0) == [1, b"two", [3], None]


def test_an_error_is_the_librarys_and_leaves_its_connection_usable(client: "redis.Redis") -> None:
    refusing = client.script_load("return redis.error_reply('NO not so')")
    for _ in range(3):
        with pytest.raises(redis.exceptions.NoScriptError):
            client.evalsha("0" * 40, 0)
        with pytest.raises(redis.ResponseError, match="not so"):
            client.evalsha(refusing, 0)
    assert client.evalsha(client.script_load(ECHO), 0, "after") == b"after"
    assert connections_of(client) == 1


def test_a_connection_that_was_ended_is_made_anew(client: "redis.Redis", valkey: OwnValkey) -> None:
    sha = client.script_load(ECHO)
    before = client.client_id()
    valkey.client().client_kill_filter(_id=str(before))
    assert client.evalsha(sha, 0, "again") == b"again"
    assert client.client_id() != before


def test_threads_get_their_own_answers(client: "redis.Redis") -> None:
    sha = client.script_load(ECHO)

    def ask(thread: int) -> list[Any]:
        return [client.evalsha(sha, 0, f"{thread}/{number}") for number in range(100)]

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(ask, range(8)))
    assert told == [[f"{thread}/{number}".encode() for number in range(100)] for thread in range(8)]


def _ask_in_a_child(client: "redis.Redis", sha: str) -> None:
    assert [client.evalsha(sha, 0, f"child {number}") for number in range(50)] == [
        f"child {number}".encode() for number in range(50)
    ]


def test_a_fork_has_connections_of_its_own(client: "redis.Redis") -> None:
    sha = client.script_load(ECHO)
    child = multiprocessing.get_context("fork").Process(target=_ask_in_a_child, args=(client, sha))
    child.start()
    told = [client.evalsha(sha, 0, f"parent {number}") for number in range(50)]
    child.join()
    assert child.exitcode == 0
    assert told == [f"parent {number}".encode() for number in range(50)]


@pytest.fixture
def doomed() -> Iterator[OwnValkey]:
    with OwnValkey(appendfsync="no") as server:
        yield server


def test_a_late_answer_is_nobody_elses(doomed: OwnValkey) -> None:
    with connect(doomed.url, replays=0, patience=timedelta(seconds=2)) as client:
        sha = client.script_load(ECHO)
        doomed.freeze()
        with pytest.raises(redis.TimeoutError):
            client.evalsha(sha, 0, "late")
        doomed.thaw()
        assert client.evalsha(sha, 0, "next") == b"next"


def test_a_step_outlives_a_server_that_is_killed_under_it(doomed: OwnValkey) -> None:
    """The new server knows no script, and the job is there once."""
    with connect(doomed.url, replays=100) as client:
        enqueuer, first, second = Enqueuer(client, "n"), job(), job()
        enqueuer.enqueue("q", [first])
        doomed.freeze()

        def restart() -> None:
            wait_for(lambda: bool(client.connection_pool._in_use_connections), "the step to be sent")
            doomed.restart()

        restarting = threading.Thread(target=restart)
        restarting.start()
        (told,) = enqueuer.enqueue("q", [second])
        restarting.join()
        assert told.offer in {Offer.ACCEPTED, Offer.KNOWN}
        assert client.llen("n:{q}:ready:acme") == 2


def test_instrumentation_sees_scripts(client: "redis.Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures Redis's commands puts something of its own in the place of the library's method."""
    sha = client.script_load(ECHO)
    seen: list[Any] = []
    whole = redis.Redis.execute_command

    def noting(self: "redis.Redis", *args: Any, **options: Any) -> Any:
        seen.append(args[0])
        return whole(self, *args, **options)

    monkeypatch.setattr(redis.Redis, "execute_command", noting)
    assert client.evalsha(sha, 0, "seen") == b"seen"
    assert seen == ["EVALSHA"]
