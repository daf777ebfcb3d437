"""RQ with workers that run jobs in their own process."""

import os

from redis import Redis
from rq import Queue

from benchmarks.compared import work
from benchmarks.compared.senders import Arguments, SyncSender

QUEUE = "bench"
_FUNCTIONS = {one.__name__: one for one in (work.batch, work.tiny, work.noop, work.note)}


def make_sender() -> SyncSender:
    """Singly, or with `enqueue_many`."""
    queue = Queue(QUEUE, connection=Redis.from_url(os.environ["REDIS_URL"]))

    def send_many(name: str, jobs: "list[Arguments]") -> object:
        prepared = [Queue.prepare_data(_FUNCTIONS[name], args=args, result_ttl=0) for args in jobs]
        return queue.enqueue_many(prepared)

    return SyncSender(lambda name, *args: queue.enqueue(_FUNCTIONS[name], args=args, result_ttl=0), send_many)
