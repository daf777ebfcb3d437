"""Tells every worker that pauses, limits or flags have changed, so that none has to ask again and again."""

import redis

from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.scripts import Scripts
from penstock.schemas.names import Queue


def announce_change(client: redis.Redis, namespace: str) -> None:
    """Have each worker read its copies anew within about a second, by the tick that it makes anyway.

    A worker that does not hear of it reads them within half a minute. Raises redis.RedisError.
    """
    scripts = Scripts(client)
    for queue in Queue:
        scripts.run("announce", QueueKeys(namespace, queue))
