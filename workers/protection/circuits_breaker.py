"""pybreaker's breaker over a circuit that is shared through Redis.

The breaker keeps the books of calls and tells listeners of changes. What a circuit does is decided in Redis, in one
atomic step for each question: of pybreaker's own storage in Redis every process would get a probe of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pybreaker

from penstock.workers.protection.circuits_ends import is_failure, learned_nothing
from penstock.workers.protection.circuits_view import CircuitState


@dataclass(frozen=True, slots=True)
class LetIn:
    """A call that a circuit let in.

    Attributes:
        holder: a text of its own.
        generation: of the circuit, when it let the call in.
        probing: whether it is the one that tries.
    """

    holder: str
    generation: str
    probing: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """What Redis said of a circuit.

    Attributes:
        failures: those that count.
        changed: whether the circuit is so by this very step.
    """

    state: CircuitState
    failures: int = 0
    changed: bool = False


#: Tells Redis how a call ended (`success`, `failure`, `neither`); None where Redis could not be told.
Tell = Callable[[LetIn, str], Heard | None]


class SharedStorage(pybreaker.CircuitBreakerStorage):
    """One thread's view of a shared circuit. What the breaker would write is decided in Redis already."""

    def __init__(self, tell: Tell) -> None:
        super().__init__("redis")
        self._tell = tell
        self._call: LetIn | None = None
        self.heard = Heard(CircuitState.CLOSED)

    def ended(self, call: LetIn) -> None:
        """Take the call that the breaker is about to hear the end of."""
        self._call = call

    def tell(self, outcome: str) -> None:
        """Tell Redis, once for each call."""
        call, self._call = self._call, None
        if call is not None:
            self.heard = self._tell(call, outcome) or self.heard

    @property
    def state(self) -> str:
        """What Redis last said."""
        return str(self.heard.state)

    @state.setter
    def state(self, state: str) -> None:
        """Nothing: Redis decides."""

    def increment_counter(self) -> None:
        """A call failed."""
        self.tell("failure")

    def reset_counter(self) -> None:
        """A call succeeded, which makes up for no failure, so only the word of the one that tries is of interest."""
        if self._call is not None and self._call.probing:
            self.tell("success")

    @property
    def counter(self) -> int:
        """Failures that count."""
        return self.heard.failures

    @property
    def success_counter(self) -> int:
        """1 where the call that tried has closed the circuit."""
        return int(self.heard.changed and self.heard.state is CircuitState.CLOSED)

    @property
    def opened_at(self) -> datetime | None:
        """Nothing: no process's clock is asked for when a circuit may be tried."""
        return None

    @opened_at.setter
    def opened_at(self, _at: datetime) -> None:
        """Nothing: Redis's clock was taken."""


class SharedBreaker(pybreaker.CircuitBreaker):
    """A breaker whose changes of state are those of the shared circuit. For one thread: its lock is held in calls."""

    def __init__(
        self, name: str, failures: int, listeners: Sequence[pybreaker.CircuitBreakerListener], tell: Tell
    ) -> None:
        self.shared = SharedStorage(tell)
        super().__init__(
            fail_max=failures,
            exclude=[lambda error: not is_failure(error)],
            listeners=listeners,
            state_storage=self.shared,
            name=name,
        )

    @property
    def changed_it(self) -> bool:
        """Whether the circuit is what it is by this breaker's last step: true for one breaker of all."""
        return self.shared.heard.changed

    def hear(self, heard: Heard) -> None:
        """Take what Redis said, and tell the listeners of what is new."""
        self.shared.heard = heard
        self.follow()

    def settle(self, call: LetIn, error: BaseException | None) -> None:
        """Take the end of a call, which tells Redis where that is of interest, and the listeners of what is new."""
        self.shared.ended(call)
        if learned_nothing(error):
            if call.probing:
                self.shared.tell("neither")
        elif self.shared.heard.state is CircuitState.OPEN:
            # A call within this one found it open. The breaker lets no end of a call in then.
            self._settle_open(error)
        else:
            self._book(error)
        self.follow()

    def leave(self, call: LetIn) -> None:
        """Take that no call was made: whoever was to try makes room for the next one."""
        if call.probing:
            self.shared.ended(call)
            self.shared.tell("neither")
            self.follow()

    def follow(self) -> None:
        """Take the state of the shared circuit."""
        if self.shared.state != self._state.name:
            self.state = self.shared.state

    def open(self) -> bool:
        """Follow the circuit; the breaker raises what the call raised."""
        self.follow()
        return False

    def half_open(self) -> None:
        """Follow the circuit."""
        self.follow()

    def close(self) -> None:
        """Follow the circuit."""
        self.follow()

    def _settle_open(self, error: BaseException | None) -> None:
        if error is not None and is_failure(error):
            self.shared.increment_counter()
        else:
            self.shared.reset_counter()

    def _book(self, error: BaseException | None) -> None:
        def end() -> None:
            if error is not None:
                raise error

        frames = None if error is None else error.__traceback__
        try:
            self.call(end)
        except BaseException as raised:
            if raised is not error:
                raise
            # Whoever reads the traceback wants the call's frames, and none of this.
            error.__traceback__ = frames
