"""Notes on what happened at the door (log-ins, refusals) and on acts that no other step records.

They go into the list of the gates in Redis, which the schedulers record in PostgreSQL for ever; straight into
PostgreSQL where Redis is away; and where both are, they wait here, bounded, and are told in the log.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import redis

from penstock.producers.queue.audit import OperatorAction, audit_entry
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.refusals import Refusal, RefusalCounts
from penstock.schemas.errors import PenstockError
from penstock.workers.protection.keys import gate_keys
from penstock.workers.sidecar.presence import within

_log = logging.getLogger(__name__)

#: Notes that wait at the most; of more the oldest are told in the log alone.
KEPT = 1_000
RETRY_EVERY = timedelta(seconds=1)
_LIMIT = timedelta(seconds=1.5)
#: How often it is seen whether a minute of refusals is over, while there are any.
_COUNTS_EVERY = timedelta(seconds=5)
#: Each puts 100 notes away.
_LAST_TRIES = 10


class AuditNotes:
    """Takes notes without making anybody wait: a thread of its own puts them away.

    Args:
        client: the connection to Redis.
        namespace: of the deployment.
        record: puts actions straight into PostgreSQL, those that are there already once.
    """

    def __init__(
        self, client: "redis.Redis", namespace: str, record: Callable[[Sequence[OperatorAction]], None]
    ) -> None:
        self._client = client
        self._key = gate_keys(namespace).key("audit")
        self._record = record
        self._refusals = RefusalCounts()
        self._waiting: deque[OperatorAction] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-audit-notes", daemon=True)

    def start(self) -> None:
        """Begin to put notes away."""
        self._thread.start()

    def stop(self, patience: timedelta = timedelta(seconds=1)) -> None:
        """Put away what waits, and end."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(patience.total_seconds())
        with self._lock:
            left = len(self._waiting)
        if left:
            _log.error("%d note(s) of the audit could not be put away; each stands in this log", left)

    def note(
        self, actor: str, action: str, target: str, reason: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """Note that `actor` did `action` to `target` now."""
        self._add(audit_entry(_clean(actor), action, _clean(target), _clean(reason), details))

    def note_refusal(self, actor: str, action: str, place: str, code: str = "") -> None:
        """Note that `actor` was kept out: at once where it is the first of its minute, else with a count after it."""
        entry = self._refusals.note(Refusal(_clean(actor), action, _clean(place), code))
        if entry is not None:
            self._add(entry)

    def _add(self, entry: OperatorAction) -> None:
        _log.info("audit: %s %s %s", entry.actor, entry.action, entry.target)
        with self._lock:
            self._waiting.append(entry)
            if len(self._waiting) > KEPT:
                lost = self._waiting.popleft()
                _log.error("audit, told here alone: %s %s %s at %s", lost.actor, lost.action, lost.target, lost.at)
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Notes that are not put away yet."""
        return len(self._waiting)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(_COUNTS_EVERY.total_seconds() if len(self._refusals) else None)
            self._wake.clear()
            self._add_counted()
            while not self._put_away() and not self._stopping.wait(RETRY_EVERY.total_seconds()):
                pass
        self._add_counted(every=True)
        for _ in range(_LAST_TRIES):
            if self._put_away():
                break

    def _add_counted(self, *, every: bool = False) -> None:
        for entry in self._refusals.take(every=every):
            self._add(entry)

    def _put_away(self) -> bool:
        with self._lock:
            batch = list(self._waiting)[:100]
        if not batch:
            return True
        with within(_LIMIT):
            if not (self._to_redis(batch) or self._to_postgresql(batch)):
                return False
        with self._lock:
            done = {entry.action_id for entry in batch}
            self._waiting = deque(entry for entry in self._waiting if entry.action_id not in done)
            return not self._waiting

    def _to_redis(self, batch: Sequence[OperatorAction]) -> bool:
        try:
            with redis_errors("noting who did what"):
                self._client.rpush(self._key, *(entry.encode() for entry in batch))
        except PenstockError:
            return False
        return True

    def _to_postgresql(self, batch: Sequence[OperatorAction]) -> bool:
        try:
            self._record(batch)
        except PenstockError:
            return False
        return True


def _clean(text: str) -> str:
    """Bounded, and of what PostgreSQL can store."""
    return text[:500].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
