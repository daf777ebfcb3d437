"""Connections whose every step gets what is left of a call's time, however slowly the other side lets bytes through.

httpx bounds each read, each write and each try to connect by itself, so a server that sends or takes a byte now and
then holds a call for as long as it likes. Here a call ends within the time of `within`, all of it counted: the look-up
of the name, the connection, the handshake, the request, headers and body.
"""

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, cast

import httpcore
import httpx

#: What has to get through in the time that a single write has.
_PIECE_BYTES = 64 * 1024
#: When the call of this thread has to be over, by `time.monotonic()`.
_ends_at: ContextVar[float] = ContextVar("ends_at", default=float("inf"))

#: What httpcore raises, as httpx names it; an error that is another one's kind comes before it.
_ERRORS: Mapping[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.TimeoutException: httpx.TimeoutException,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.NetworkError: httpx.NetworkError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.ProtocolError: httpx.ProtocolError,
}


@contextmanager
def within(whole: timedelta) -> Iterator[None]:
    """Have the block's calls end within this time, counted from here; a block within another one prolongs nothing."""
    token = _ends_at.set(min(_ends_at.get(), time.monotonic() + whole.total_seconds()))
    try:
        yield
    finally:
        _ends_at.reset(token)


def seconds_left(most: float | None, late: type[Exception] = TimeoutError) -> float:
    """What is left of the call's time, `most` of it at the most. Raises `late` where nothing is."""
    left = _ends_at.get() - time.monotonic()
    if left <= 0:
        raise late("the time of the whole call is over")
    return left if most is None else min(most, left)


def addresses_of(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a host, each once.

    The system's look-up can't be interrupted and has patience of its own, so it runs in a thread that may be left.

    Raises:
        OSError: it has none; a `TimeoutError` where they are not known in time.
    """
    answer: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            # Told to whoever asks: a name that does not exist, or that is none.
            answer.put(error)

    threading.Thread(target=ask, name="penstock-resolver", daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("the host's name was not resolved in time") from None
    if isinstance(found, UnicodeError):
        raise OSError("that is no name of a host") from None
    if isinstance(found, Exception):
        raise found
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class BoundedTransport(httpx.BaseTransport):
    """httpx's own transport for HTTP/1.1, on connections that keep to `within`. Asks no proxy. Safe to share."""

    def __init__(self, limits: httpx.Limits) -> None:
        self._pool = httpcore.ConnectionPool(
            # Neither certificates nor proxies of the environment.
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Network(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the answer's head; the body is read as the answer is."""
        url = request.url
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=cast("Iterable[bytes]", request.stream),
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = self._pool.handle_request(sent)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(cast("Iterable[bytes]", answer.stream)),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._stream

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


class _Network(httpcore.NetworkBackend):
    """Connects within the time that is left, all of the host's addresses together."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        ends_at = time.monotonic() + seconds_left(timeout, httpcore.ConnectTimeout)
        addresses = _resolved(host, port, ends_at)
        for tried, address in enumerate(addresses, 1):
            # An address that swallows everything leaves the others their share.
            share = max(0.0, ends_at - time.monotonic()) / (len(addresses) - tried + 1)
            try:
                stream = self._inner.connect_tcp(address, port, max(share, 0.001), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if tried == len(addresses):
                    raise
            else:
                return _Stream(stream)
        raise httpcore.ConnectError("the host has no address")


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, seconds_left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # The inner one would grant each piece that gets through the whole time again; and by TLS all of a buffer has to
        # get through in the time of one write.
        connection: socket.socket = self._inner.get_extra_info("socket")
        left = memoryview(buffer)
        while left:
            connection.settimeout(seconds_left(timeout, httpcore.WriteTimeout))
            try:
                left = left[connection.send(left[:_PIECE_BYTES]) :]
            except TimeoutError as error:
                raise httpcore.WriteTimeout(str(error)) from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            left = seconds_left(timeout, httpcore.ConnectTimeout)
        except httpcore.ConnectTimeout:
            # Nobody else would; the inner one closes itself where a handshake fails.
            self.close()
            raise
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _resolved(host: str, port: int, ends_at: float) -> list[str]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [host]
    try:
        return addresses_of(host, port, max(0.0, ends_at - time.monotonic()))
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(str(error)) from error
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error


@contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for kind, named in _ERRORS.items():
            if isinstance(error, kind):
                raise named(str(error)) from error
        raise
