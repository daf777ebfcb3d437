"""Celery on Redis: prefork, acknowledged late."""

import os

from celery import Celery

from benchmarks.compared import work
from benchmarks.compared.senders import SyncSender

app = Celery("benchmark", broker=os.environ["REDIS_URL"])
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_hijack_root_logger=False)
_TASKS = {one.__name__: app.task(one, name=one.__name__) for one in (work.batch, work.tiny, work.noop, work.note)}


def make_sender() -> SyncSender:
    """A message, a call of Redis."""
    return SyncSender(lambda name, *args: _TASKS[name].delay(*args))
