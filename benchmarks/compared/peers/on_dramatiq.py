"""Plain dramatiq on its own Redis broker."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.compared import usual, work
from benchmarks.compared.senders import SyncSender

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))
_FUNCTIONS = (work.batch, work.tiny, work.noop, work.note, usual.batch_of_dicts)
_ACTORS = {function.__name__: dramatiq.actor(function) for function in _FUNCTIONS}


def make_sender() -> SyncSender:
    """A message, a call of Redis."""
    return SyncSender(lambda name, *args: _ACTORS[name].send(*args))
