"""Notes who was refused by keys, for the audit, without making a request wait: a thread of its own puts them away."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta

from penstock.producers.queue.audit import OperatorAction
from penstock.producers.queue.refusals import Refusal, RefusalCounts
from penstock.schemas.errors import Code, PenstockError

_log = logging.getLogger(__name__)

PutAway = Callable[[Sequence[OperatorAction]], None]

#: What the audit calls a use of a key that was refused.
ACTION = "api_key.refused"
#: Notes that wait at the most; the oldest go first.
KEPT = 1_000
EVERY = timedelta(seconds=2)
_BATCH = 100
#: Refusals that say something of a key, and not only of a request.
_NOTED = frozenset({Code.AUTH_REQUIRED, Code.AUTH_TOKEN_INVALID, Code.AUTH_TOKEN_EXPIRED, Code.AUTH_SCOPE_MISSING})


class RefusalNotes:
    """Takes notes from any thread.

    Args:
        put_away: has them recorded; raises PenstockError where that is not possible now.
    """

    def __init__(self, put_away: PutAway) -> None:
        self._put_away = put_away
        self._counts = RefusalCounts()
        self._waiting: deque[OperatorAction] = deque(maxlen=KEPT)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-refusals", daemon=True)

    def start(self) -> None:
        """Begin to put notes away."""
        self._thread.start()

    def stop(self, patience: timedelta = timedelta(seconds=2)) -> None:
        """Put away what waits, and end."""
        self._stopping.set()
        self._thread.join(patience.total_seconds())

    def note(self, error: PenstockError, place: str, key: str | None = None) -> None:
        """Note a refusal, where it is one that concerns a key.

        Args:
            error: what the asker is told.
            place: the network that it came from.
            key: the id of the key, where it was one of ours.
        """
        if error.code not in _NOTED:
            return
        entry = self._counts.note(Refusal("unknown" if key is None else f"key {key}", ACTION, place, str(error.code)))
        if entry is not None:
            self._waiting.append(entry)

    def _run(self) -> None:
        while not self._stopping.wait(EVERY.total_seconds()):
            self._round()
        self._round(every=True)

    def _round(self, *, every: bool = False) -> None:
        self._waiting.extend(self._counts.take(every=every))
        while batch := list(self._waiting)[:_BATCH]:
            try:
                self._put_away(batch)
            except PenstockError as error:
                if every:
                    _log.error("%d refusal(s) are not recorded: %s", len(self._waiting), error.message)
                return
            for _ in batch:
                self._waiting.popleft()
