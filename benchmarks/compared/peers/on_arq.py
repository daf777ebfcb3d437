"""arq. It asks Redis for jobs every half second unless told otherwise: here every 20 ms."""

import os
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import func

from benchmarks.compared import work
from benchmarks.compared.senders import AsyncSender


async def _batch(_: Any, batch_id: str, raw: str) -> None:
    await work.batch_async(batch_id, raw)


async def _tiny(_: Any, effect_id: str) -> None:
    await work.tiny_async(effect_id)


async def _noop(_: Any) -> None:
    await work.noop_async()


async def _note(_: Any, number: int) -> None:
    await work.note_async(number)


class WorkerSettings:
    """What `arq` loads."""

    functions: ClassVar[list[Any]] = [
        func(one, name=name, keep_result=0)
        for name, one in (("batch", _batch), ("tiny", _tiny), ("noop", _noop), ("note", _note))
    ]
    redis_settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])
    poll_delay = 0.02
    max_jobs = 10


def make_sender() -> AsyncSender:
    """A job, a transaction of Redis."""
    return AsyncSender(
        lambda: create_pool(WorkerSettings.redis_settings), lambda redis, name, *args: redis.enqueue_job(name, *args)
    )
