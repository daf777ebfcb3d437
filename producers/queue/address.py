"""REDIS_URL taken apart: where Redis is, and how to connect to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import redis
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url

from penstock.producers.settings import REDIS_SCHEMES
from penstock.schemas.errors import Code, InvalidInputError

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379
#: Parameters of a URL that name a file or a folder.
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is.

    Attributes:
        connection_class: plain, TLS or unix socket.
        options: what a connection to Redis is made with, passwords included.
        service: the name under which Sentinels know the master; empty without Sentinels.
        sentinels: host and port of each.
        sentinel_options: what a connection to a Sentinel is made with.
    """

    connection_class: type[Any]
    options: Mapping[str, Any] = field(repr=False)
    service: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse_address(url: str) -> Address:
    """Read a URL.

    - `redis://[[user]:password@]host[:port][/db]`, with TLS `rediss://`
    - `unix://[[user]:password@]/path/of/socket[?db=db]`
    - `redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/service[/db]`, with TLS (to the Sentinels too)
      `rediss+sentinel://`; user and password are the master's, those of the Sentinels are the parameters
      `sentinel_username` and `sentinel_password`

    Parameters after `?` are those of the `redis` library's connections, such as `ssl_ca_certs`.

    Raises:
        InvalidInputError: `CONFIG_INVALID`, telling what is wrong and no value of the URL.
    """
    if not url.startswith(REDIS_SCHEMES):
        raise _fault(f"it must begin with one of {', '.join(REDIS_SCHEMES)}")
    behind_sentinels = url.partition("://")[0].endswith("+sentinel")
    address = _with_sentinels(url) if behind_sentinels else _direct(_split(url))
    _try_out(address)
    return address


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise _fault("its host is not one (a bracket?)") from None


def _direct(parts: SplitResult) -> Address:
    if parts.scheme == "unix":
        if parts.path in {"", "/"}:
            raise _fault("it names no socket: unix:///path/of/socket")
        return Address(UnixDomainSocketConnection, _options(parts))
    _host(parts.netloc.rpartition("@")[2] or "localhost", _REDIS_PORT)
    _require_database(parts.path.removeprefix("/"))
    return Address(_class(parts), _options(parts))


def _with_sentinels(url: str) -> Address:
    scheme, _, rest = url.partition("://")
    several = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, at, hosts = several.rpartition("@")
    # urlsplit knows one host, and refuses several where one of them stands in brackets.
    parts = _split(f"{scheme}://{login}{at}master{rest[len(several) :]}")
    service, _, database = parts.path.removeprefix("/").partition("/")
    if not service:
        raise _fault("it names no service: redis+sentinel://host:port,host2:port2/service/db")
    _require_database(database)
    # The library reads the rest as that of one server.
    single = parts._replace(scheme=parts.scheme.partition("+")[0], path=f"/{database}")
    options = _options(single)
    del options["host"]
    named = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    secure = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return Address(
        _class(single),
        options,
        service=service,
        sentinels=tuple(_host(host, _SENTINEL_PORT) for host in hosts.split(",")),
        sentinel_options=secure | {name: value for name, value in named.items() if value is not None},
    )


def _class(parts: SplitResult) -> type[Any]:
    return SSLConnection if parts.scheme == "rediss" else Connection


def _options(parts: SplitResult) -> dict[str, Any]:
    try:
        options: dict[str, Any] = parse_url(parts.geturl())
    except ValueError as error:
        named = re.search(r"Invalid value for '(\w+)'", str(error))
        raise _fault(f"its parameter {named[1]} has no such value" if named else "it can't be read") from None
    options.pop("connection_class", None)
    return options


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _fault("a port is no number to 65535 (is each / @ : of the password percent-encoded?)") from None
    if not host or port == 0:
        raise _fault("a host or port is missing")
    return host, port or default_port


def _require_database(text: str) -> None:
    if text and not text.isdecimal():
        raise _fault("what follows the host or service is no number of a database")


def _try_out(address: Address) -> None:
    """Make a connection without connecting it: the library finds parameters that it does not know only then."""
    for name in _FILES:
        if name in address.options and not Path(address.options[name]).exists():
            raise _fault(f"what its parameter {name} names is not there")
    options = {name: value for name, value in address.options.items() if name != "max_connections"}
    try:
        address.connection_class(**options)
    except TypeError as error:
        named = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        raise _fault(f"it has an unknown parameter {named[1]}" if named else "its parameters don't fit") from None
    except redis.RedisError as error:
        raise _fault(f"its parameters don't fit: {error}") from None


def _fault(what: str) -> InvalidInputError:
    return InvalidInputError(Code.CONFIG_INVALID, f"REDIS_URL is not usable: {what}")
