"""SAQ on Redis."""

import os
from typing import Any

from saq import Queue

from benchmarks.compared import work
from benchmarks.compared.senders import AsyncSender


async def batch(_: Any, *, given: list[Any]) -> None:
    """As `work.batch`."""
    await work.batch_async(*given)


async def tiny(_: Any, *, given: list[Any]) -> None:
    """As `work.tiny`."""
    await work.tiny_async(*given)


async def noop(_: Any, *, given: list[Any]) -> None:
    """As `work.noop`."""
    await work.noop_async(*given)


async def note(_: Any, *, given: list[Any]) -> None:
    """As `work.note`."""
    await work.note_async(*given)


queue = Queue.from_url(os.environ["REDIS_URL"])
#: What `saq` loads.
settings = {"queue": queue, "functions": [batch, tiny, noop, note], "concurrency": 10}


async def _connected() -> Queue:
    await queue.connect()
    return queue


def make_sender() -> AsyncSender:
    """A job, a call of Redis. What they leave behind is dropped at once (`ttl`)."""
    return AsyncSender(_connected, lambda own, name, *args: own.enqueue(name, given=list(args), ttl=-1, timeout=60))
