"""Streams: sent on while they come, told truly where they break, completed when they are sent again."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.producers.gateway.gateway_kit import (
    Gateway,
    head,
    line,
    lines,
    problem,
    read_all,
    serving,
)
from tests.producers.gateway.test_rows import MALFORMED
from tests.system import Database, WorkerProcess, wait_for

STORED = "SELECT count(*) FROM penstock.submissions WHERE batch_id LIKE %s"


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_line_is_a_problem_with_its_number(gateway: Gateway, text: bytes) -> None:
    body = lines(3) + text + b"\n" + lines(3)
    told = problem(gateway.stream(body), 400, "SUBMISSION_UNDECODABLE")
    assert told["errors"][0]["line"] == 4
    assert told["accepted"]["rows"] == 0


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_document_is_a_problem(gateway: Gateway, text: bytes) -> None:
    for body in (text, b'{"submissions":[%s]}' % text, b'{"submissions":[{"answers":{}},%s]}' % text):
        headers = {"Content-Type": "application/json"}
        answer = gateway.ask("POST", "/v1/forms/poll/submissions", content=body, headers=headers)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["code"] in {"REQUEST_INVALID", "SUBMISSION_UNDECODABLE"}
        assert "accepted" not in answer.json()


def test_what_was_accepted_before_a_fault_is_told_and_mending_completes_it(
    gateway: Gateway, worker: WorkerProcess, database: Database
) -> None:
    broken = lines(2_300) + b"{oops}\n" + lines(200, "tail")
    told = problem(gateway.stream(broken, key="mend"), 400, "SUBMISSION_UNDECODABLE")
    assert told["errors"][0]["line"] == 2_301
    accepted = told["accepted"]
    assert (accepted["rows"], accepted["idempotency_key"]) == (2_000, "mend")
    assert [part["batch_id"] for part in accepted["batches"]] == ["mend-0001", "mend-0002"]
    wait_for(lambda: database.value(STORED, "mend-%") == 2_000, "what was accepted to be stored")
    mended = gateway.stream(lines(2_300) + line("oops") + lines(200, "tail"), key="mend")
    assert mended.status_code == 202, mended.text
    assert mended.json()["rows"] == 2_501
    wait_for(lambda: database.value(STORED, "mend-%") == 2_501, "the rest to be stored")
    assert gateway.ask("GET", "/v1/batches/mend").json()["duplicates"] == 0


def test_batches_are_sent_while_the_body_still_comes(gateway: Gateway) -> None:
    seen = threading.Event()

    def body() -> Iterator[bytes]:
        yield lines(1_001)
        wait_for(lambda: gateway.ask("GET", "/v1/batches/early-0001").status_code == 200, "the first batch")
        seen.set()
        yield line("the end")

    answer = gateway.stream(body(), key="early")
    assert seen.is_set()
    assert answer.json()["rows"] == 1_002


def test_a_stream_that_is_on_its_way_is_told_so(gateway: Gateway) -> None:
    def body() -> Iterator[bytes]:
        yield lines(1_001)
        wait_for(lambda: gateway.ask("GET", "/v1/batches/flight-0001").status_code == 200, "the first batch")
        second = gateway.stream(lines(1_500), key="flight")
        told = problem(second, 409, "REQUEST_IN_FLIGHT")
        assert 1 <= int(second.headers["retry-after"]) <= 20
        assert told["accepted"]["rows"] == 0
        yield lines(499, "more")

    assert gateway.stream(body(), key="flight").status_code == 202
    # Its mark goes with it.
    again = gateway.stream(lines(1_001) + lines(499, "more"), key="flight")
    assert again.headers["idempotency-replayed"] == "true"


def test_a_sender_who_goes_away_completes_it_later(gateway: Gateway, worker: WorkerProcess, database: Database) -> None:
    with gateway.connect() as connection:
        connection.sendall(
            head("Content-Type: application/x-ndjson", "Idempotency-Key: gone", "Content-Length: 999999")
        )
        connection.sendall(lines(1_200))
        wait_for(lambda: gateway.ask("GET", "/v1/batches/gone-0001").status_code == 200, "the first batch")
    answers = []

    def resend() -> bool:
        answers.append(gateway.stream(lines(1_500), key="gone"))
        return answers[-1].status_code != 409

    wait_for(resend, "the mark of the broken stream to go")
    assert answers[-1].json()["rows"] == 1_500
    wait_for(lambda: database.value(STORED, "gone-%") == 1_500, "all rows")


def test_a_gateway_that_is_killed_in_mid_stream_loses_and_doubles_nothing(
    environment: dict[str, str], worker: WorkerProcess, database: Database, gateway: Gateway, tmp_path: Path
) -> None:
    with serving(environment, tmp_path) as victim, victim.connect() as connection:
        connection.sendall(
            head("Content-Type: application/x-ndjson", "Idempotency-Key: killed", "Content-Length: 99999999")
        )
        connection.sendall(lines(3_500))
        wait_for(lambda: victim.ask("GET", "/v1/batches/killed-0003").status_code == 200, "three batches")
        victim.kill()
        # Nothing was promised.
        with suppress(ConnectionError):
            assert connection.recv(1_000) == b""
    answers = []

    def resend() -> bool:
        answers.append(gateway.stream(lines(5_250), key="killed"))
        return answers[-1].status_code == 202

    # Until the mark of the dead one is given up the answer is to come again.
    wait_for(resend, "the resend to be accepted")
    assert all(answer.json()["code"] == "REQUEST_IN_FLIGHT" for answer in answers[:-1])
    assert answers[-1].json()["rows"] == 5_250
    wait_for(lambda: database.value(STORED, "killed-%") == 5_250, "every row")
    status = gateway.ask("GET", "/v1/batches/killed").json()
    assert (status["state"], status["stored"], status["rejected"], status["duplicates"]) == ("done", 5_250, 0, 0)


def test_a_stop_tells_streams_what_was_accepted(environment: dict[str, str], gateway: Gateway, tmp_path: Path) -> None:
    with serving(environment, tmp_path) as stopping, stopping.connect() as connection:
        connection.sendall(
            head("Content-Type: application/x-ndjson", "Idempotency-Key: stop", "Transfer-Encoding: chunked")
        )
        _chunk(connection, lines(1_001))
        wait_for(lambda: stopping.ask("GET", "/v1/batches/stop-0001").status_code == 200, "the first batch")
        stopping.process.terminate()
        wait_for(lambda: not _listens(stopping), "the gateway to close its door")
        _chunk(connection, line("more"))
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 503"), answer
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert (told["code"], told["accepted"]["rows"]) == ("REQUEST_OVERLOADED", 1_000)
        assert b"retry-after" in answer.lower()
        assert stopping.process.wait(30) == 0


def test_a_stream_of_64_mb_takes_little_memory(environment: dict[str, str], gateway: Gateway, tmp_path: Path) -> None:
    piece = b"".join(line(f"{number} " + "some words that compress " * 12) for number in range(2_000))

    def body() -> Iterator[bytes]:
        for _ in range(64 * 1024 * 1024 // len(piece)):
            yield piece

    with serving(environment, tmp_path) as fresh:
        told = fresh.stream(body(), key="large")
        assert told.status_code == 202, told.text
        assert told.json()["rows"] == 64 * 1024 * 1024 // len(piece) * 2_000
        assert fresh.memory_mb("VmHWM") < 200


def test_long_rows_make_smaller_batches(gateway: Gateway) -> None:
    body = b"".join(line("x" * 60_000) for _ in range(200))
    told = gateway.stream(body).json()
    assert told["rows"] == 200
    assert all(part["rows"] * 60_000 <= 4 * 1024 * 1024 for part in told["batches"])
    positions = [part["first_position"] for part in told["batches"]]
    assert positions == [sum(part["rows"] for part in told["batches"][:place]) for place in range(len(positions))]


def _chunk(connection: socket.socket, data: bytes) -> None:
    connection.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _listens(gateway: Gateway) -> bool:
    try:
        gateway.connect(1).close()
    except OSError:
        return False
    return True
