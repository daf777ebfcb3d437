"""The loop that records operators' actions, which steps of queues and gates noted in Redis, in PostgreSQL for ever."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_OID, uuid5

import redis

from penstock.producers.queue.audit import OperatorAction
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.errors import PenstockError
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.database.transaction import Transactions
from penstock.workers.protection.keys import gate_keys
from penstock.workers.scheduler.each_queue import for_each_queue

_log = logging.getLogger(__name__)

ROUND_ENTRIES = 100


class AuditTrail:
    """Reads the head of each queue's list and of the gates', commits it, and only then removes what it read.

    Killed between the two, the entries are read again and recorded once, by their ids. Entries are removed by value,
    so several schedulers at once remove no more than they have recorded.
    """

    name = "audit"
    interval = timedelta(seconds=2)
    channel = None

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        transactions: Transactions,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._transactions = transactions
        self._clock = clock

    def run_once(self) -> bool:
        """Record a round of the gates' entries and of each queue's; True where there are more.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`; what was not recorded stays in Redis.
        """
        try:
            more = any(for_each_queue(lambda queue: self._drain(QueueKeys(self._namespace, queue))))
        finally:
            # A queue's fault must not keep the gates' entries waiting.
            more_of_gates = self._drain(gate_keys(self._namespace))
        return more or more_of_gates

    def _drain(self, keys: QueueKeys) -> bool:
        key = keys.key("audit")
        with redis_errors("reading the audit"):
            entries: list[bytes] = self._client.lrange(key, 0, ROUND_ENTRIES - 1)  # type: ignore[assignment]
        if not entries:
            return False
        actions = [self._action_of(entry, keys.queue) for entry in entries]
        self._transactions.run(lambda transaction: record_actions(transaction.connection, actions))
        with redis_errors("removing recorded entries"), self._client.pipeline(transaction=False) as pipeline:
            for entry in entries:
                pipeline.lrem(key, 1, entry)  # type: ignore[arg-type]  # bytes do as well
            pipeline.execute()
        return len(entries) == ROUND_ENTRIES

    def _action_of(self, entry: bytes, queue: str) -> OperatorAction:
        try:
            return OperatorAction.decode(entry)
        except PenstockError as error:
            _log.warning("%s; it is recorded as it is", error.message, extra={"code": error.code})
            # The same bytes give the same id, so that it too is recorded once.
            identity = uuid5(NAMESPACE_OID, f"{queue}/{entry.hex()}")
            details = {"hex": entry.hex()}
            return OperatorAction(identity, self._clock(), "unknown", "audit.unreadable", queue, "", details)
