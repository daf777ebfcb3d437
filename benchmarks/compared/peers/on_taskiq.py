"""taskiq on a stream of Redis."""

import os

from taskiq_redis import RedisStreamBroker

from benchmarks.compared import work
from benchmarks.compared.senders import AsyncSender

broker = RedisStreamBroker(os.environ["REDIS_URL"])
_TASKS = {
    name: broker.task(task_name=name)(one)
    for name, one in (
        ("batch", work.batch_async),
        ("tiny", work.tiny_async),
        ("noop", work.noop_async),
        ("note", work.note_async),
    )
}


async def _started() -> RedisStreamBroker:
    await broker.startup()
    return broker


def make_sender() -> AsyncSender:
    """A message, a call of Redis."""
    return AsyncSender(_started, lambda _, name, *args: _TASKS[name].kiq(*args), closed=lambda own: own.shutdown())
