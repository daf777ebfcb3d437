"""How full a queue may get before it takes no new job, and what is told to whoever comes then."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import redis

from penstock.schemas.errors import Code, UnavailableError

if TYPE_CHECKING:
    from penstock.producers.queue.enqueueing import Offered

#: How long one look at Redis's memory holds good.
MEMORY_LOOK_EVERY = timedelta(seconds=3)
#: What whoever meets a full Redis is told to wait: how soon memory is freed nobody knows.
MEMORY_RETRY_AFTER = timedelta(seconds=10)

_MILLISECOND = timedelta(milliseconds=1)
_WHICH = {
    "jobs": ("the queue {queue!r} holds {held:,} jobs", "PENSTOCK_QUEUE_LIMIT_JOBS"),
    "bytes": ("the queue {queue!r} holds {held:,} bytes", "PENSTOCK_QUEUE_LIMIT_BYTES"),
    "tenant_jobs": ("the queue {queue!r} holds {held:,} jobs of the tenant", "PENSTOCK_TENANT_QUEUE_LIMIT_JOBS"),
    "tenant_bytes": ("the queue {queue!r} holds {held:,} bytes of the tenant", "PENSTOCK_TENANT_QUEUE_LIMIT_BYTES"),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of each queue; 0 means none.

    What a queue holds is every job with its message: ready, scheduled (however far ahead), leased, parked, and dead
    ones until PostgreSQL has their letters. A queue below its limits takes a job of any size.

    Attributes:
        jobs, bytes: of a queue. Bytes are those of messages as they are in Redis, compressed.
        tenant_jobs, tenant_bytes: of one tenant in a queue.
        memory_share: of Redis's `maxmemory`, from which on no queue takes a new job; nothing where it has no limit.
    """

    jobs: int = 1_000_000
    bytes: int = 2 * 1024**3
    tenant_jobs: int = 0
    tenant_bytes: int = 0
    memory_share: float = 0.9

    def as_argument(self, *, closed: bool) -> str:
        """The limits as `enqueue.lua` takes them, short where few are set; `closed` where Redis is short of memory."""
        if closed or self.tenant_jobs or self.tenant_bytes:
            return f"{self.jobs},{self.bytes},{self.tenant_jobs},{self.tenant_bytes},{int(closed)}"
        return f"{self.jobs},{self.bytes}" if self.jobs or self.bytes else ""


class QueueFullError(UnavailableError):
    """Raised when a queue has taken some of the jobs of a call, or none, and no more.

    Attributes:
        offered: for each job of the call what became of it; None for those that were refused.
    """

    def __init__(self, refusal: UnavailableError, offered: "Sequence[Offered | None]") -> None:
        refused = [place for place, one in enumerate(offered) if one is None]
        super().__init__(
            refusal.code,
            refusal.message,
            remedy=refusal.remedy,
            details={"taken": len(offered) - len(refused), "refused": refused},
            retry_after=refusal.retry_after,
        )
        self.offered = offered


def refusal_of(queue: str, told: Sequence[Any]) -> UnavailableError:
    """The refusal as `enqueue.lua` tells it: which limit, what is held, the limit, ms until there should be room."""
    which, held, limit, ms = told
    queue = str(queue)
    if which == b"closed":
        return UnavailableError(
            Code.QUEUE_OUT_OF_MEMORY,
            f"Redis has little memory left, and the queue {queue!r} takes no new job",
            retry_after=MEMORY_RETRY_AFTER,
        )
    text, setting = _WHICH[which.decode()]
    return UnavailableError(
        Code.QUEUE_FULL,
        f"{text.format(queue=queue, held=int(held))}, and {setting} is {int(limit):,}",
        retry_after=int(ms) * _MILLISECOND,
    )


class MemoryWatch:
    """Knows whether Redis is short of memory, by a look every few seconds. Safe to share between threads."""

    def __init__(self, client: redis.Redis, share: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._share = share
        self._clock = clock
        self._short = False
        self._look_at = 0.0
        self._looking = threading.Lock()

    def is_short(self) -> bool:
        """Whether more than the share of its memory is taken.

        Raises:
            redis.RedisError: whatever Redis says.
        """
        if self._share <= 0:
            return False
        # One thread looks, and the others go by what was known before.
        if self._clock() >= self._look_at and self._looking.acquire(blocking=False):
            try:
                self._short = self._look()
                self._look_at = self._clock() + MEMORY_LOOK_EVERY.total_seconds()
            finally:
                self._looking.release()
        return self._short

    def _look(self) -> bool:
        try:
            facts: Any = self._client.info("memory")
        except redis.ResponseError:  # not allowed here: then only Redis itself says when it is full
            return False
        limit = int(facts.get("maxmemory", 0))
        return limit > 0 and int(facts.get("used_memory", 0)) > self._share * limit
