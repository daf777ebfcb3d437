"""The connection to Redis, and its errors in our words."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import ConnectionPool, UnixDomainSocketConnection
from redis.retry import Retry

from penstock.producers.queue.address import Address, parse_address
from penstock.producers.queue.bounds import MEMORY_RETRY_AFTER
from penstock.producers.queue.sentinel import SENTINEL_TIMEOUT, master_pool
from penstock.schemas.errors import Code, PenstockError, UnavailableError

CONNECT_TIMEOUT = timedelta(seconds=2)
ANSWER_TIMEOUT = timedelta(seconds=5)
#: Replays of one command after a broken connection; every step of ours is safe to replay.
REPLAYS = 3
#: The same where Sentinels name a new master some seconds after the old one was lost: some 5 s in all.
FAILOVER_REPLAYS = 9
#: The longest wait of one command on the server: well within the time in which an answer has to come.
BLOCKING_LIMIT = ANSWER_TIMEOUT / 2

#: Every connection is seen under this name in CLIENT LIST.
_CLIENT_NAME = "penstock"
#: What the library makes of a broken connection or a demoted server. A server that is loading its data is a
#: ConnectionError to it, and so is a service without a master.
_REPLAYED = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, socket.timeout)
_NEVER_REPLAYED = (redis.AuthenticationError, redis.exceptions.AuthorizationError)
#: A server that can't serve now and will later, or another one in its place.
_AWAY = (redis.ReadOnlyError, redis.exceptions.MasterDownError, redis.exceptions.ClusterDownError)
#: After a silence of 30 s the kernel asks the other side every 10 s, and gives it up at the third time.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}

Answer = TypeVar("Answer")
_replaying = threading.local()


class Replays(Retry):
    """Replays that don't multiply.

    The library replays a command, and within each replay the connecting, by the same rule: 3 replays would be up to
    15 attempts. Here what runs within a replay is tried once.
    """

    def call_with_retry(self, do: Callable[[], Answer], fail: Any, *args: Any, **options: Any) -> Answer:
        """As the library's."""
        if getattr(_replaying, "active", False):
            return do()
        _replaying.active = True
        try:
            return super().call_with_retry(_refusing(do), fail, *args, **options)
        except _RefusedError as refused:
            raise refused.error from None
        finally:
            _replaying.active = False


#: What runs a command, and by which instrumentation that is set up in a process sees it: it puts its own here.
_EXECUTE = redis.Redis.execute_command
_IS_OWN = _EXECUTE.__module__ == "redis.client" and not hasattr(_EXECUTE, "__wrapped__")


class Client(redis.Redis):
    """The library's client, which runs scripts that Redis knows by a shorter way.

    A step is most of what a producer and a worker ask, and of its processor time the library's layers took a third. The
    connection is of the pool, and sending, reading, replays and reconnects are the library's all the same; left out are
    its own measurements. Where somebody instruments the library, scripts go the way that they instrument.
    """

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """As the library's."""
        if redis.Redis.execute_command is not _EXECUTE or not _IS_OWN:
            return super().evalsha(sha, numkeys, *keys_and_args)
        pool = self.connection_pool
        connection = pool.get_connection()

        def ask() -> Any:
            connection.send_command("EVALSHA", sha, numkeys, *keys_and_args)
            return connection.read_response()

        try:
            return connection.retry.call_with_retry(ask, lambda _: connection.disconnect())
        finally:
            pool.release(connection)


def connect(url: str, *, replays: int | None = None, patience: timedelta | None = None) -> "redis.Redis":
    """Make a client; it connects at its first command. Safe to share between threads.

    Connecting has 2 s, an answer 5 s, unless `patience` says otherwise. A broken connection, a server that is loading
    and one that was demoted (READONLY) make it connect anew, to the master of that moment where Sentinels are named.

    Args:
        url: see `parse_address`.
        replays: how often a command is replayed then; None for what suits the kind of URL.
        patience: for one try of a command in all: asking each Sentinel, connecting, and the answer.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the URL is not usable.
    """
    address = parse_address(url)
    usual = FAILOVER_REPLAYS if address.sentinels else REPLAYS
    return _client(address, usual if replays is None else replays, patience)


def _client(address: Address, replays: int, patience: timedelta | None) -> "redis.Redis":
    # Each server that may be asked has a share to connect in and one to answer in.
    share = patience and patience / (2 * (1 + len(address.sentinels)))
    options: dict[str, Any] = {
        "socket_connect_timeout": (share or CONNECT_TIMEOUT).total_seconds(),
        "socket_timeout": (share or ANSWER_TIMEOUT).total_seconds(),
        "health_check_interval": 30,
        "client_name": _CLIENT_NAME,
        "retry": Replays(ExponentialWithJitterBackoff(base=0.05, cap=1.0), replays, _REPLAYED),
    }
    if not issubclass(address.connection_class, UnixDomainSocketConnection):
        options |= {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
    options |= address.options
    if address.sentinels:
        return Client.from_pool(master_pool(address, options, share or SENTINEL_TIMEOUT))
    return Client.from_pool(ConnectionPool(connection_class=address.connection_class, **options))


class _RefusedError(Exception):
    """Carries an error past the replays: asking again with the same credentials changes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _refusing(do: Callable[[], Answer]) -> Callable[[], Answer]:
    def attempt() -> Answer:
        try:
            return do()
        except _NEVER_REPLAYED as error:
            raise _RefusedError(error) from None

    return attempt


def redis_errors(doing: str) -> AbstractContextManager[None]:
    """Turn Redis's errors within the block into ours. `doing` completes "Redis … while …".

    Raises:
        UnavailableError: `QUEUE_UNAVAILABLE` where Redis does not answer, or is no master just now;
            `QUEUE_OUT_OF_MEMORY` where it is at its limit.
        PenstockError: `QUEUE_REFUSED` for its other errors.
    """
    return _Translating(doing)


class _Translating(AbstractContextManager[None]):
    """See `redis_errors`. A class, since each call of a producer makes one: a generator costs twice as much."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, (redis.RedisError, OSError)):
            raise _as_ours(error, self._doing) from error


def _as_ours(error: redis.RedisError | OSError, doing: str) -> PenstockError:
    if isinstance(error, _NEVER_REPLAYED):
        return PenstockError(Code.QUEUE_REFUSED, f"Redis refused the credentials while {doing}")
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return UnavailableError(Code.QUEUE_UNAVAILABLE, f"{_silence_of(error)} while {doing}")
    if isinstance(error, redis.OutOfMemoryError):
        told = f"Redis is out of memory while {doing}"
        return UnavailableError(Code.QUEUE_OUT_OF_MEMORY, told, retry_after=MEMORY_RETRY_AFTER)
    if isinstance(error, _AWAY) or _was_unblocked(error):
        told = f"Redis is no master just now while {doing}: {type(error).__name__}"
        return UnavailableError(Code.QUEUE_UNAVAILABLE, told)
    return PenstockError(Code.QUEUE_REFUSED, f"Redis refused while {doing}: {_words_of(error)}")


def _silence_of(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        told = _tls_refusal(cause)
        if told is not None:
            return told
        cause = cause.__cause__ or cause.__context__
    # A server that takes TLS alone says no more than this to a client that comes without.
    return "Redis does not answer"


def _tls_refusal(error: BaseException) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return f"Redis's certificate is not accepted ({error.verify_message})"
        case ssl.SSLError():
            # Since TLS 1.3 a client is refused when it holds the connection for made.
            return "Redis broke the TLS connection off (does it want another client certificate, or speak no TLS?)"
        case TimeoutError() if "handshake" in str(error):
            return "Redis answers no TLS, which rediss:// asks for"
    return None


def _was_unblocked(error: redis.RedisError) -> bool:
    """Whether a server that became a replica ended a command that was waiting."""
    return str(error).startswith("UNBLOCKED")


def _words_of(error: redis.RedisError) -> str:
    """What Redis said. The library's type stands for Redis's code (OOM, READONLY…), which it cuts off."""
    # Of a pipeline the library quotes the command with its values, and those are nobody's business.
    words = str(error).rpartition("of pipeline caused error: ")[2]
    return f"{type(error).__name__}: {words[:200]}"
