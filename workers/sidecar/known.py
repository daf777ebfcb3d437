"""The last good answer of each read, so that a page has something to show while a server is away.

Those who ask the same at once share one flight; the flights have threads of their own, so that requests wait for
each of them no longer than their own time.
"""

import contextvars
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitTimeoutError
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.workers.sidecar.presence import seconds_left, within

_log = logging.getLogger(__name__)
T = TypeVar("T")

#: The longest wait for one read; what comes later is there for the next one.
PATIENCE = timedelta(seconds=1.5)
#: Answers that are kept; those that nobody asked for longest go first.
KEPT = 500
_THREADS = 8
#: What says that the answer can't be had now. Anything else (not found, not allowed) is an answer.
_PASSING = frozenset(
    {
        *(Code.QUEUE_UNAVAILABLE, Code.QUEUE_REFUSED, Code.QUEUE_OUT_OF_MEMORY),
        *(Code.REQUEST_TIMEOUT, Code.STORAGE_UNAVAILABLE, Code.STORAGE_TIMEOUT, Code.STORAGE_CONFLICT),
    }
)


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What is known.

    Attributes:
        value: what the read gave.
        as_of: when it gave that.
        stale: True where a newer answer was wanted and could not be had.
        error: why not.
    """

    value: T
    as_of: datetime
    stale: bool = False
    error: PenstockError | None = None

    @property
    def age(self) -> timedelta:
        """How old the answer is."""
        return datetime.now(UTC) - self.as_of

    def as_dict(self) -> dict[str, Any]:
        """`as_of` (RFC 3339) and `stale`, to be added to what an endpoint shows."""
        return {"as_of": self.as_of.isoformat(timespec="milliseconds"), "stale": self.stale}


class Known:
    """Keeps answers by name. Safe to share between threads."""

    def __init__(self, patience: timedelta = PATIENCE, kept: int = KEPT) -> None:
        self._patience = patience
        self._kept = kept
        self._lock = threading.Lock()
        self._answers: OrderedDict[Hashable, Answer[Any]] = OrderedDict()
        self._flights: dict[Hashable, Future[Answer[Any]]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="penstock-known")

    def read(
        self,
        name: Hashable,
        ask: Callable[[], T],
        *,
        fresh_for: timedelta = timedelta(0),
        patience: timedelta | None = None,
    ) -> Answer[T]:
        """Ask, or give what is known.

        Args:
            name: what is asked for, with all that the answer depends on, such as `("queue", "posts")`. Never by whom:
                what is known to one is given to all.
            ask: gets the answer; runs in another thread.
            fresh_for: an answer no older than this is given without asking.
            patience: the longest wait; 1.5 s where absent.

        Raises:
            PenstockError: what `ask` raised, where nothing is known; `REQUEST_TIMEOUT` where it took too long. What
                says that a thing is not there or not allowed is raised even where something is known.
        """
        with self._lock:
            known = self._recall(name)
            if known is not None and known.age <= fresh_for:
                return known
            flight = self._flights.get(name) or self._take_off(name, ask)
        try:
            return cast("Answer[T]", flight.result(self._wait_seconds(patience)))
        except WaitTimeoutError:
            error: PenstockError = UnavailableError(
                Code.REQUEST_TIMEOUT, "the answer takes longer than a page may wait"
            )
        except PenstockError as raised:
            if raised.code not in _PASSING:
                raise
            error = raised
        if known is None:
            raise error
        return Answer(known.value, known.as_of, stale=True, error=error)

    def last(self, name: Hashable) -> Answer[Any] | None:
        """What is known, without asking; `stale`, since nobody looked whether it still holds."""
        with self._lock:
            known = self._recall(name)
        return known and Answer(known.value, known.as_of, stale=True)

    def close(self) -> None:
        """End the threads; flights that are under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _recall(self, name: Hashable) -> Answer[Any] | None:
        known = self._answers.get(name)
        if known is not None:
            self._answers.move_to_end(name)
        return known

    def _wait_seconds(self, patience: timedelta | None) -> float:
        wait = (patience or self._patience).total_seconds()
        left = seconds_left()
        return wait if left is None else min(wait, left)

    def _take_off(self, name: Hashable, ask: Callable[[], T]) -> "Future[Answer[Any]]":
        # The flight serves others too, so the limit is its own and not that of the request that began it.
        context = contextvars.Context()
        flight: Future[Answer[Any]] = self._threads.submit(context.run, self._fly, name, ask)
        self._flights[name] = flight
        flight.add_done_callback(lambda done: self._land(name, done))
        return flight

    def _fly(self, name: Hashable, ask: Callable[[], T]) -> Answer[Any]:
        with within(self._patience + timedelta(seconds=0.2)):
            answer: Answer[Any] = Answer(ask(), datetime.now(UTC))
        with self._lock:
            self._answers[name] = answer
            self._answers.move_to_end(name)
            while len(self._answers) > self._kept:
                self._answers.popitem(last=False)
        return answer

    def _land(self, name: Hashable, flight: "Future[Answer[Any]]") -> None:
        # Without the lock: a flight may end within `_take_off`, and of dictionaries this one step is atomic.
        if self._flights.get(name) is flight:
            self._flights.pop(name, None)
