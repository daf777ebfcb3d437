"""No call outlasts its time, whatever part of it the other side draws out: each on a real socket."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from penstock.workers.platforms.answers import PlatformFault
from penstock.workers.platforms.bounded import addresses_of, seconds_left, within
from penstock.workers.platforms.endpoints import Endpoints, Patience
from penstock.workers.platforms.http import Call, PlatformHttp
from penstock.workers.platforms.media import MediaSource
from penstock.workers.settings import WorkerSettings

WHOLE = timedelta(seconds=1)
#: Each byte comes well within the time that a single read has.
PATIENCE = Patience(timedelta(seconds=0.8), timedelta(seconds=0.8), WHOLE)
#: Seconds. A loaded machine adds to a call, and what is drawn out would go on for minutes.
AT_LEAST, AT_MOST = 0.9, 30.0
#: What the slow reader takes in several times the whole.
UPLOAD = bytes(64 * 1024 * 1024)

Answering = Callable[[socket.socket, threading.Event], None]


@contextmanager
def server(answer: Answering) -> Iterator[int]:
    """A server that answers each connection in a thread; yields its port."""
    stop = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.05)

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                answer(connection, stop)
            except OSError:
                return  # the caller has hung up

    def accept() -> None:
        served = []
        while not stop.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            served.append(threading.Thread(target=serve, args=(connection,)))
            served[-1].start()
        for thread in served:
            thread.join()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listening.getsockname()[1]
    finally:
        stop.set()
        accepting.join()
        listening.close()


def drip(connection: socket.socket, stop: threading.Event, text: bytes) -> None:
    """Send a byte now and then, and no end."""
    for at in range(100_000):
        if stop.wait(0.05):
            return
        connection.sendall(text[at % len(text) :][:1])


def dripping_headers(connection: socket.socket, stop: threading.Event) -> None:
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    drip(connection, stop, b"X-Header: and another one\r\n")


def dripping_status(connection: socket.socket, stop: threading.Event) -> None:
    connection.recv(65_536)
    drip(connection, stop, b"HTTP/1.1 200 and so on without an end ")


def early_hints(connection: socket.socket, stop: threading.Event) -> None:
    """Answers that are none yet, one after the other."""
    connection.recv(65_536)
    while not stop.wait(0.05):
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def dripping_body(connection: socket.socket, stop: threading.Event) -> None:
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-999/1000\r\nContent-Length: 1000\r\n\r\n")
    drip(connection, stop, b"x")


def dripping_handshake(connection: socket.socket, stop: threading.Event) -> None:
    connection.recv(65_536)
    connection.sendall(bytes([22, 3, 3, 0x40, 0]))  # a record of the handshake, of 16 KiB
    drip(connection, stop, b"\x02")


def slow_reader(connection: socket.socket, stop: threading.Event) -> None:
    """Takes enough for each single write to get on."""
    while not stop.wait(0.02):
        for _ in range(24):
            connection.recv(16_384)


@pytest.fixture
def http() -> Iterator[PlatformHttp]:
    client = PlatformHttp(PATIENCE)
    yield client
    client.close()


@pytest.fixture
def media() -> Iterator[MediaSource]:
    settings = WorkerSettings(DATABASE_URL="postgresql://nowhere/none", REDIS_URL="redis://nowhere")
    source = MediaSource(
        replace(Endpoints.of(settings), private_hosts=frozenset({"127.0.0.1"}), patience=PATIENCE),
    )
    yield source
    source.close()


@contextmanager
def timed(at_least: float = AT_LEAST) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert at_least < time.monotonic() - began < AT_MOST


@pytest.mark.parametrize("answer", [dripping_status, dripping_headers, early_hints, dripping_body])
def test_an_answer_that_drips_ends_with_the_whole_time(http: PlatformHttp, answer: Answering) -> None:
    with server(answer) as port, timed():
        reply = http.send(Call("POST", f"http://127.0.0.1:{port}/x", "/x", parameters={"a": "b"}))
    assert (reply.status, reply.failure) == (0, "timed_out")
    assert reply.seconds < AT_MOST


def test_an_upload_that_drains_slowly_ends_with_the_whole_time(http: PlatformHttp) -> None:
    with server(slow_reader) as port, timed():
        reply = http.send(Call("PUT", f"http://127.0.0.1:{port}/x", "/x", content=UPLOAD))
    assert reply.failure == "timed_out"


def test_a_handshake_that_drips_was_never_a_request(http: PlatformHttp) -> None:
    with server(dripping_handshake) as port, timed(0.5):
        assert http.send(Call("POST", f"https://127.0.0.1:{port}/x", "/x")).failure == "unreachable"


@pytest.mark.parametrize("answer", [dripping_headers, dripping_body])
def test_media_that_drip_end_with_the_whole_time(media: MediaSource, answer: Answering) -> None:
    with server(answer) as port, timed(), pytest.raises(PlatformFault) as caught:
        media.piece(f"http://127.0.0.1:{port}/a.mp4", 0, 999)
    assert caught.value.answer.platform_code == "timed_out"


def test_media_that_move_on_and_on_have_one_time_for_all_of_it(media: MediaSource) -> None:
    """Each answer takes less than the whole time, and all of them together far more."""

    def move(connection: socket.socket, stop: threading.Event) -> None:
        connection.recv(65_536)
        if not stop.wait(0.4):
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with server(move) as port, timed(), pytest.raises(PlatformFault) as caught:
        media.look(f"http://127.0.0.1:{port}/a.mp4")
    assert caught.value.answer.platform_code == "timed_out"


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system's look-up, as it is with servers of names that do not answer."""
    done = threading.Event()

    def look_up(*_args: object, **_more: object) -> list[object]:
        done.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield
    done.set()


def test_a_name_that_does_not_resolve_holds_nobody(slow_names: None, http: PlatformHttp, media: MediaSource) -> None:
    with timed(0.5):
        assert http.send(Call("GET", "http://slow.example.org/x", "/x")).failure == "unreachable"
    with timed(), pytest.raises(PlatformFault) as caught:
        media.look("https://slow.penstock.io/a.mp4")
    assert caught.value.answer.platform_code == "timed_out"


def test_a_name_has_its_addresses_once_or_an_error() -> None:
    assert "127.0.0.1" in addresses_of("localhost", 80, 10)
    assert len(addresses_of("localhost", 80, 10)) == len(set(addresses_of("localhost", 80, 10)))
    for name in ("no-such-host.invalid", "x" * 64 + ".example.org"):
        with pytest.raises(OSError):
            addresses_of(name, 80, 30)


def test_an_address_that_nobody_listens_at_leaves_the_next_one_its_share(
    monkeypatch: pytest.MonkeyPatch, http: PlatformHttp
) -> None:
    def answer(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with server(answer) as port:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", port)) for last in (2, 1)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: found)
        assert http.send(Call("GET", f"http://two.example.org:{port}/x", "/x")).status == 204


def test_a_connection_that_is_kept_has_the_time_of_each_call_of_its_own(http: PlatformHttp) -> None:
    """Three calls, each most of a whole time apart, on one connection."""
    connections = []

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        connections.append(connection)
        while connection.recv(65_536) and not stop.wait(0.5):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with server(answer) as port:
        replies = [http.send(Call("GET", f"http://127.0.0.1:{port}/x", "/x")) for _ in range(3)]
        assert [reply.json() for reply in replies] == [{}] * 3
        assert len(connections) == 1
        http.close()


def test_a_block_within_another_prolongs_nothing() -> None:
    with within(timedelta(seconds=50)):
        with within(timedelta(hours=1)):
            assert 0 < seconds_left(None) <= 50
            assert seconds_left(7) == 7
        with within(timedelta(0)), pytest.raises(TimeoutError):
            seconds_left(7)
        assert seconds_left(None) > 0
    assert seconds_left(None) == float("inf")


def test_the_longest_leaves_room_for_what_a_step_does() -> None:
    assert PATIENCE.longest > WHOLE
    settings = WorkerSettings(DATABASE_URL="postgresql://nowhere/none", REDIS_URL="redis://nowhere")
    endpoints = Endpoints.of(settings)
    assert endpoints.longest > 2 * endpoints.patience.whole


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this address, signed by nobody else, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(plain + made.public_bytes(Encoding.PEM))
    return file


def encrypted(certificate: Path, answer: Answering) -> Answering:
    """The same server, by TLS."""

    def serve(connection: socket.socket, stop: threading.Event) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with context.wrap_socket(connection, server_side=True) as wrapped:
            answer(wrapped, stop)

    return serve


def take_all(connection: socket.socket, _: threading.Event) -> None:
    """Take a request, and tell how long its body was."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65_536)
    head, _, body = got.partition(b"\r\n\r\n")
    length, taken = int(re.search(rb"content-length: (\d+)", head.lower())[1]), len(body)  # type: ignore[index]
    while taken < length:
        taken += len(connection.recv(65_536))
    told = b'{"id": "%d"}' % taken
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(told), told))


def test_a_certificate_that_nobody_trusts_gets_no_request(certificate: Path, http: PlatformHttp) -> None:
    got: list[bytes] = []

    def note(connection: socket.socket, _: threading.Event) -> None:
        got.append(connection.recv(65_536))

    with server(encrypted(certificate, note)) as port:
        assert http.send(Call("POST", f"https://127.0.0.1:{port}/x", "/x")).failure == "unreachable"
        # The control: whoever does not look gets through.
        careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", port)) as plain, careless.wrap_socket(plain) as wrapped:
            wrapped.sendall(b"here I am")
    assert got == [b"here I am"]


@pytest.fixture
def trusting(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlatformHttp]:
    trusted = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: trusted)
    client = PlatformHttp(PATIENCE)
    yield client
    client.close()


def test_an_upload_by_tls_arrives_whole(certificate: Path, trusting: PlatformHttp) -> None:
    with server(encrypted(certificate, take_all)) as port:
        call = Call("PUT", f"https://127.0.0.1:{port}/x", "/x", content=bytes(range(256)) * 4_096)
        assert trusting.send(call).text_of("id") == str(256 * 4_096)


@pytest.mark.parametrize(("answer", "content"), [(dripping_headers, b"x"), (slow_reader, UPLOAD)])
def test_by_tls_the_same_times_hold(
    certificate: Path, trusting: PlatformHttp, answer: Answering, content: bytes
) -> None:
    with server(encrypted(certificate, answer)) as port, timed():
        reply = trusting.send(Call("PUT", f"https://127.0.0.1:{port}/x", "/x", content=content))
    assert reply.failure == "timed_out"
