"""Redis behind Sentinels: connections that lead to whichever server is master now."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, SSLConnection
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from penstock.producers.queue.address import Address

#: One Sentinel that does not answer costs this once; the next one is asked then, and first from there on.
SENTINEL_TIMEOUT = timedelta(seconds=1)


class Sentinels(Sentinel):
    """Asks Sentinels which server is master. Safe to share between threads, which the library's own is not."""

    def __init__(self, address: Address, timeout: timedelta = SENTINEL_TIMEOUT) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self.sentinels = [_client(address, host, port, timeout) for host, port in address.sentinels]

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the master, by the first Sentinel that holds it to be up.

        Raises:
            redis.ConnectionError: no Sentinel answers, or none knows a master that is up.
        """
        asked = self.sentinels
        silent: list[Exception] = []
        for sentinel in asked:
            try:
                state = _masters(sentinel).get(service_name)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                silent.append(error)
                continue
            if state and _is_up(state):
                # A new list in one step: swapping places in the shared one, as the library does, can lose a Sentinel
                # when two threads do it at once.
                self.sentinels = [sentinel, *(other for other in asked if other is not sentinel)]
                return state["ip"], state["port"]
        told = f"no master is up for this service; of {len(asked)} Sentinels {len(silent)} did not answer"
        raise MasterNotFoundError(told) from (silent[-1] if silent else None)

    def close(self) -> None:
        """Close the connections to the Sentinels."""
        for sentinel in self.sentinels:
            sentinel.close()


class _Following:
    """Looks the master up each time that it connects.

    The library's own does so when it is taken from the pool. When a command is replayed on it, it goes back to where
    it was: a master that froze would hold its clients long after another one took its place.
    """

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._sock is None:  # type: ignore[attr-defined]
            self.connect()  # type: ignore[attr-defined]
        super().send_packed_command(command, check_health)  # type: ignore[misc]


class MasterConnection(_Following, SentinelManagedConnection):
    """A connection to whichever server is master when it connects."""


class SecureMasterConnection(_Following, SentinelManagedSSLConnection):
    """The same over TLS."""


class MasterPool(SentinelConnectionPool):
    """Connections to the master. One that finds its server demoted is closed, and so are the idle ones to it."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections; with those in use, also the ones to the Sentinels."""
        super().disconnect(inuse_connections)
        if inuse_connections:
            self.sentinel_manager.close()


def master_pool(
    address: Address, options: Mapping[str, Any], sentinel_timeout: timedelta = SENTINEL_TIMEOUT
) -> MasterPool:
    """A pool of connections to the master of `address`; `options` are those of each connection."""
    secure = issubclass(address.connection_class, SSLConnection)
    return MasterPool(  # type: ignore[no-untyped-call]
        address.service,
        Sentinels(address, sentinel_timeout),
        connection_class=SecureMasterConnection if secure else MasterConnection,
        **options,
    )


def _is_up(state: Mapping[str, Any]) -> bool:
    return state["is_master"] and not state["is_sdown"] and not state["is_odown"]


def _client(address: Address, host: str, port: int, timeout: timedelta) -> "redis.Redis":
    pool = ConnectionPool(
        connection_class=address.connection_class,
        host=host,
        port=port,
        socket_timeout=timeout.total_seconds(),
        socket_connect_timeout=timeout.total_seconds(),
        retry=Retry(NoBackoff(), 0),
        **address.sentinel_options,
    )
    return redis.Redis.from_pool(pool)


def _masters(sentinel: "redis.Redis") -> Mapping[str, Mapping[str, Any]]:
    ask: Callable[[], Any] = sentinel.sentinel_masters
    masters: Mapping[str, Mapping[str, Any]] = ask()
    return masters
