"""Senders that are slow, endless, half there or too many: bounded, answered, and nobody else's trouble."""

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.producers.gateway.gateway_kit import FORM, Gateway, head, line, problem, read_all, serving
from tests.system import wait_for

BOUNDS = {
    "PENSTOCK_GATEWAY_IDLE_SECONDS": "2",
    "PENSTOCK_GATEWAY_REQUEST_SECONDS": "3",
    "PENSTOCK_GATEWAY_STREAMS": "2",
    "PENSTOCK_GATEWAY_CONNECTIONS": "60",
    "PENSTOCK_GATEWAY_BODY_BYTES": "200000",
    "PENSTOCK_GATEWAY_BODIES_BYTES": "300000",
}
STREAM = "Content-Type: application/x-ndjson"
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def narrow(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with narrow bounds."""
    with serving(environment, tmp_path_factory.mktemp("narrow"), **BOUNDS) as found:
        found.ask("PUT", "/v1/forms/poll", json=FORM)
        yield found


def _trickle(connection: socket.socket, ended: threading.Event) -> None:
    """A byte at a time, until the other side has had enough."""
    try:
        while not ended.wait(0.1):
            connection.sendall(b" ")
    except OSError:
        ended.set()


@pytest.mark.parametrize("kind", [STREAM, JSON])
def test_who_sends_a_byte_at_a_time_is_ended(narrow: Gateway, kind: str) -> None:
    ended = threading.Event()
    with narrow.connect() as connection:
        connection.sendall(head(kind, "Content-Length: 100000"))
        thread = threading.Thread(target=_trickle, args=(connection, ended))
        thread.start()
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65_536)
        ended.set()
        thread.join()
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert b"REQUEST_TOO_SLOW" in answer


def test_who_says_nothing_or_half_a_head_is_ended(narrow: Gateway) -> None:
    with narrow.connect(60) as silent, narrow.connect(60) as half:
        half.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ")
        assert read_all(silent) == b""
        assert read_all(half) == b""


def test_others_are_served_while_some_are_slow(narrow: Gateway) -> None:
    slow = [narrow.connect() for _ in range(40)]
    try:
        for connection in slow:
            connection.sendall(b"POST /v1/forms/poll/submissions HTTP/1.1\r\nHost: 127.0")
        for _ in range(5):
            assert narrow.submit("x").status_code == 202
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    "text",
    [
        b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"x" * 2_000_000,
        b"GET /" + b"x" * 2_000_000,
        b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Many: x\r\n" * 100_000 + b"\r\n",
        head(f"X-Long: {'x' * 40_000}", method="GET", path="/health/live"),
    ],
    ids=["one header", "the address", "many headers", "a whole head"],
)
def test_a_head_that_is_too_long_is_refused(narrow: Gateway, text: bytes) -> None:
    before = narrow.memory_mb()
    with narrow.connect() as connection:
        # It may be refused before all of it was sent.
        with suppress(OSError):
            connection.sendall(text)
        answer = read_all(connection)
    assert not answer or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")), answer[:200]
    assert narrow.memory_mb() - before < 30


def test_a_body_over_the_limit_is_refused_unread(narrow: Gateway) -> None:
    answer = narrow.say(head(JSON, "Content-Length: 99999999999", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 413"), answer
    assert b"REQUEST_BODY_TOO_LARGE" in answer


def test_a_body_that_grows_over_the_limit_is_refused(narrow: Gateway) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(300):
            yield b" " * 1_024

    headers = {"Content-Type": "application/json"}
    answer = narrow.ask("POST", "/v1/forms/poll/submissions", content=chunks(), headers=headers)
    problem(answer, 413, "REQUEST_BODY_TOO_LARGE")


def test_bodies_share_a_budget(narrow: Gateway) -> None:
    with narrow.connect() as one:
        one.sendall(head(JSON, "Content-Length: 190000") + b"{")
        # The first request's reservation is made once it is at work.
        wait_for(lambda: _is_full(narrow), "the budget to be taken")
        assert narrow.submit("x").status_code == 202


def _is_full(narrow: Gateway) -> bool:
    answer = narrow.submit("x" * 150_000)
    if answer.status_code == 202:
        return False
    problem(answer, 503, "REQUEST_OVERLOADED")
    assert answer.headers["retry-after"]
    return True


def test_streams_beyond_their_number_are_told_to_come_again(narrow: Gateway) -> None:
    held = [narrow.connect() for _ in range(2)]
    try:
        for connection in held:
            connection.sendall(head(STREAM, "Content-Length: 100000") + line("x"))
        wait_for(lambda: narrow.stream(line("x")).status_code == 503, "both places to be taken")
        answer = narrow.stream(line("x"))
        problem(answer, 503, "REQUEST_OVERLOADED")
        assert answer.headers["retry-after"]
        assert narrow.submit("x").status_code == 202
    finally:
        for connection in held:
            connection.close()
    wait_for(lambda: narrow.stream(line("x")).status_code == 202, "the places to be free again")


def test_connections_beyond_their_number_are_told_to_come_again(narrow: Gateway) -> None:
    held: list[socket.socket] = []
    try:
        refused = b""
        ends_at = time.monotonic() + 60
        while not refused and time.monotonic() < ends_at:
            connection = narrow.connect()
            held.append(connection)
            if len(held) > 60:
                connection.settimeout(5)
                refused = connection.recv(4_096)
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in refused
        assert b"REQUEST_OVERLOADED" in refused
    finally:
        for connection in held:
            connection.close()
    wait_for(lambda: _is_live(narrow), "connections to be free again")


def _is_live(narrow: Gateway) -> bool:
    return narrow.ask("GET", "/health/live").status_code == 200


def test_who_has_said_all_and_closes_half_gets_the_answer(narrow: Gateway) -> None:
    body = b'{"submissions":[%s]}' % line("x").strip()
    with narrow.connect() as connection:
        connection.sendall(head(JSON, f"Content-Length: {len(body)}") + body)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).startswith(b"HTTP/1.1 202")


def test_who_closes_half_in_mid_body_is_ended(narrow: Gateway) -> None:
    with narrow.connect() as connection:
        connection.sendall(head(STREAM, "Content-Length: 100000") + line("x"))
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
    wait_for(lambda: narrow.stream(line("x")).status_code == 202, "its place to be free again")


def test_a_body_that_unpacks_to_much_more_takes_no_memory(narrow: Gateway) -> None:
    bomb = gzip.compress(b"\n" * (256 * 1024 * 1024), 9)
    before = narrow.memory_mb("VmHWM")
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = narrow.ask("POST", "/v1/forms/poll/submissions", content=bomb, headers=headers)
    problem(answer, 413, "REQUEST_BODY_TOO_LARGE")
    problem(narrow.stream(bomb, **{"Content-Encoding": "gzip"}), 422, "BATCH_EMPTY")
    assert narrow.memory_mb("VmHWM") - before < 60


def test_garbage_is_answered_or_ended(narrow: Gateway) -> None:
    for text in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"\x00" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        answer = narrow.say(text)
        assert not answer or answer.startswith(b"HTTP/1.1 4"), answer
