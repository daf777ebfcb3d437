"""Waiting where a queue is full: for how long, who is told of it, and how it is given up."""

import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeVar

from penstock.schemas.errors import Code, UnavailableError

#: What a call does where its queue is full: tell its caller so, or wait and go on by itself.
OnFull = Literal["raise", "wait"]

#: What says that there is no room now, and may be later.
FULL_CODES = frozenset({Code.QUEUE_FULL, Code.QUEUE_OUT_OF_MEMORY, Code.RATE_LIMIT_EXCEEDED, Code.REQUEST_OVERLOADED})

#: The longest pause between two tries: workers may come at any time, whatever the pace was before.
_LONGEST_PAUSE = timedelta(seconds=10)
_USUAL_PAUSE = timedelta(seconds=2)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pause that begins.

    Attributes:
        error: what there is no room for, and why.
        pause: how long until the next try.
        waited: how long this call has waited before.
    """

    error: UnavailableError
    pause: timedelta
    waited: timedelta


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call waits for room.

    Attributes:
        limit: the longest wait of one call in all; then the error is raised that it would have raised at once.
        on_wait: called before each pause, in the thread that waits.
        stop: ends the wait when it is set, with the same error. A submit that fails sets it, so that its other batches
            do not go on waiting: a patience is for one submit.
    """

    limit: timedelta = timedelta(minutes=5)
    on_wait: Callable[[Waiting], None] | None = None
    stop: threading.Event = field(default_factory=threading.Event, compare=False)


def patience_of(on_full: OnFull | Patience) -> Patience | None:
    """The patience that a call was asked for; None where it is to raise at once."""
    if isinstance(on_full, Patience):
        return on_full
    return Patience() if on_full == "wait" else None


def patiently(
    call: Callable[[], Answer],
    patience: Patience | None,
    codes: Collection[Code] = FULL_CODES,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] | None = None,
) -> Answer:
    """What `call` returns, called again and again while it raises one of `codes`.

    Raises:
        UnavailableError: of one of `codes`, where the patience is over.
        PenstockError: whatever else `call` raises, at once.
    """
    began = clock()
    while True:
        try:
            return call()
        except UnavailableError as error:
            waited = timedelta(seconds=clock() - began)
            if patience is None or error.code not in codes or waited >= patience.limit or patience.stop.is_set():
                raise
            pause = min(_pause(error), patience.limit - waited)
            if patience.on_wait is not None:
                patience.on_wait(Waiting(error, pause, waited))
            (sleep or patience.stop.wait)(pause.total_seconds())


def _pause(error: UnavailableError) -> timedelta:
    asked = min(error.retry_after or _USUAL_PAUSE, _LONGEST_PAUSE)
    # Those that were refused together should not come back together.
    return asked * random.uniform(0.8, 1.2)  # noqa: S311  no secret hangs on it
