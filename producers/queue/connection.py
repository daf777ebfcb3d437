"""The connection to Redis, and its errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from penstock.schemas.errors import Code, InvalidInputError, PenstockError, UnavailableError

CONNECT_TIMEOUT = timedelta(seconds=2)
ANSWER_TIMEOUT = timedelta(seconds=5)
#: Replays of one command after a broken connection; every step of ours is safe to replay.
REPLAYS = 3


def connect(url: str, *, replays: int = REPLAYS) -> "redis.Redis":
    """Make a client; it connects at its first command.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the URL is not usable.
    """
    try:
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT.total_seconds(),
            socket_timeout=ANSWER_TIMEOUT.total_seconds(),
            health_check_interval=30,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), replays),
        )
    except ValueError as error:
        raise InvalidInputError(Code.CONFIG_INVALID, f"REDIS_URL is not usable: {type(error).__name__}") from None


@contextmanager
def redis_errors(doing: str) -> Iterator[None]:
    """Turn Redis's errors within the block into ours. `doing` completes "Redis … while …".

    Raises:
        UnavailableError: `QUEUE_UNAVAILABLE` where Redis does not answer.
        PenstockError: `QUEUE_REFUSED` where it answers with an error.
    """
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        if isinstance(error, redis.AuthenticationError):
            raise PenstockError(Code.QUEUE_REFUSED, f"Redis refused the credentials while {doing}") from error
        raise UnavailableError(Code.QUEUE_UNAVAILABLE, f"Redis does not answer while {doing}") from error
    except redis.RedisError as error:
        raise PenstockError(Code.QUEUE_REFUSED, f"Redis refused while {doing}: {_words_of(error)}") from error


def _words_of(error: redis.RedisError) -> str:
    """What Redis said. The library's type stands for Redis's code (OOM, READONLY…), which it cuts off."""
    # Of a pipeline the library quotes the command with its values, and those are nobody's business.
    words = str(error).rpartition("of pipeline caused error: ")[2]
    return f"{type(error).__name__}: {words[:200]}"
