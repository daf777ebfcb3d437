"""huey, which takes a job off its queue before it runs: at most once."""

import os

from huey import RedisHuey

from benchmarks.compared import work
from benchmarks.compared.senders import SyncSender

huey = RedisHuey("bench", url=os.environ["REDIS_URL"], results=False)
_TASKS = {one.__name__: huey.task()(one) for one in (work.batch, work.tiny, work.noop, work.note)}


def make_sender() -> SyncSender:
    """A message, a call of Redis."""
    return SyncSender(lambda name, *args: _TASKS[name](*args))
