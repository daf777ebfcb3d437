"""The sidecar's connection to Redis: short waits, and none at all while the server is known to be away."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import redis
from redis.client import Pipeline

from penstock.producers.queue.address import parse_address
from penstock.producers.queue.connection import connect, redis_errors
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.presence import Presence, seconds_left

#: For one try of a command in all: connecting and the answer have half each.
PATIENCE = timedelta(seconds=1.2)
#: The same with Sentinels, each of which has its share of it.
SENTINEL_PATIENCE = timedelta(seconds=2)
PROBE_PATIENCE = timedelta(seconds=1)

_AWAY = (redis.ConnectionError, redis.TimeoutError, OSError)


class PromptRedis(redis.Redis):
    """A client that refuses at once while the server is known to be away, and tells when it does not answer."""

    presence: Presence | None = None

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As the library's.

        Raises:
            redis.ConnectionError: also while the server is known to be away, or the request's time is over.
        """
        run: Callable[..., Any] = super().execute_command
        return _guarded(self.presence, lambda: run(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "PromptPipeline":
        """As the library's."""
        made = PromptPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.presence = self.presence
        return made


class PromptPipeline(Pipeline):
    """A pipeline of such a client."""

    presence: Presence | None = None

    def execute(self, raise_on_error: bool = True) -> Any:
        """As the library's.

        Raises:
            redis.ConnectionError: as the client's commands.
        """
        run: Callable[..., Any] = super().execute
        return _guarded(self.presence, lambda: run(raise_on_error))


def _guarded(presence: Presence | None, do: Callable[[], Any]) -> Any:
    if presence is not None and presence.is_away:
        raise redis.ConnectionError("the server is away")
    if seconds_left() == 0:
        raise redis.TimeoutError("the time of this request is over")
    try:
        return do()
    except (redis.AuthenticationError, redis.exceptions.AuthorizationError):
        raise
    except _AWAY:
        if presence is not None:
            presence.failed()
        raise


def connect_promptly(settings: WorkerSettings, presence: Presence) -> "redis.Redis":
    """Make the client; it connects at its first command.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the URL is not usable.
    """
    patience = SENTINEL_PATIENCE if parse_address(settings.redis_url).sentinels else PATIENCE
    pool = connect(settings.redis_url, replays=0, patience=patience).connection_pool
    client = cast("PromptRedis", PromptRedis.from_pool(pool))
    client.presence = presence
    return client


class RedisProbe:
    """Asks Redis by a client of its own."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._client = connect(settings.redis_url, replays=0, patience=PROBE_PATIENCE)

    def __call__(self) -> None:
        """Ask once.

        Raises:
            PenstockError: of the `QUEUE_` family, where it does not answer.
        """
        with redis_errors("asking whether it is there"):
            self._client.ping()

    def close(self) -> None:
        """Give its connections back."""
        self._client.close()
