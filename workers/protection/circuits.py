"""Circuits: calls to what fails are refused for a while, by all processes together. docs/decisions/0011 says how."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pybreaker
import redis

from penstock.producers.queue.scripts import Argument
from penstock.workers.protection.circuits_breaker import Heard, LetIn, SharedBreaker
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_deadline import AWAY_SECONDS, DeadlineScripts
from penstock.workers.protection.circuits_listening import LogListener, SentryListener
from penstock.workers.protection.circuits_view import CircuitOpenError, CircuitState
from penstock.workers.settings import WorkerSettings


class Circuits(CircuitControl):
    """Guards calls by circuits, which all processes of a namespace share. Safe to share between threads.

    Nothing connects until the first call. Where Redis can't be asked, that is known within 0.3 s, and the setting
    `PENSTOCK_GATES_WHEN_REDIS_DOWN` decides, as for all gates: by default calls are refused, and their jobs wait; with
    `open` they go through, unguarded and uncounted.

    Args:
        client: best without replays: each try of its own prolongs what a question without an answer leaves behind.
        namespace: prefix of the keys.
        settings: those that begin with `circuit_`, and `gates_when_redis_down`.
        listeners: told beside those of logs, metrics and Sentry; of a change by each thread that notices it.
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        settings: WorkerSettings,
        listeners: Sequence[pybreaker.CircuitBreakerListener] = (),
    ) -> None:
        super().__init__(client, namespace)
        self._settings = settings
        self._policy = _policy(settings)
        self._listeners = (LogListener(), SentryListener(), *listeners)
        self._steps = DeadlineScripts(client, namespace)
        self._thread = threading.local()

    @contextmanager
    def guard(self, name: str, holder: str | None = None) -> Iterator[None]:
        """Run the block if the circuit lets it in, and count how it ends. Other threads run theirs meanwhile.

        A failure is an error that another attempt may not meet again (`judge_failure`): `PoolTimeout` is one, an error
        of the data is none; an error may know better (`KnowsForCircuit`). Interrupts and exceeded limits count neither
        way. Keep only the call itself in the block.

        Args:
            name: the circuit, such as `platform:instagram`. Names are few: they are labels of metrics.
            holder: where the circuit was asked for this call already, the text that it was asked with.

        Raises:
            CircuitOpenError: it does not let the call in.
        """
        call = self.ask(name, holder)
        try:
            yield
        except BaseException as error:
            self.tell(name, call, error)
            raise
        self.tell(name, call)

    def ask(self, name: str, holder: str | None = None) -> LetIn | None:
        """Ask to be let in, as `guard` does; whoever asks has to `tell` or `leave`. None where nobody could be asked.

        Raises:
            CircuitOpenError: the circuit does not let the call in.
        """
        holder = holder or uuid4().hex
        answer = self._steps.run("circuit_ask", name, holder)
        if answer is None:
            if self._settings.gates_when_redis_down == "closed":
                raise CircuitOpenError(name, timedelta(seconds=AWAY_SECONDS), "can't be asked: Redis does not answer")
            return None
        wait_ms, state, generation, probing, changed = answer
        self._breaker(name).hear(Heard(CircuitState(state.decode()), changed=bool(changed)))
        if wait_ms >= 0:
            raise CircuitOpenError(name, timedelta(milliseconds=wait_ms))
        return LetIn(holder, generation.decode(), bool(probing))

    def tell(self, name: str, call: LetIn | None, error: BaseException | None = None) -> None:
        """Tell how a call ended: with an error, or well.

        An error with an attribute `counts_for_circuit` (`KnowsForCircuit`) says itself whether it is a failure.
        """
        if call is not None:
            self._breaker(name).settle(call, error)

    def leave(self, name: str, call: LetIn | None) -> None:
        """Tell that no call was made after all: nothing is counted, and another one may try in its place."""
        if call is not None:
            self._breaker(name).leave(call)

    def close(self) -> None:
        """Ask and tell nothing more."""
        self._steps.close()

    def _breaker(self, name: str) -> SharedBreaker:
        """This thread's breaker: it holds its lock while it books a call, and keeps what this thread heard last."""
        breakers: dict[str, SharedBreaker] | None = getattr(self._thread, "breakers", None)
        if breakers is None:
            breakers = self._thread.breakers = {}
        if name not in breakers:

            def tell(call: LetIn, outcome: str) -> Heard | None:
                return self._tell(name, call, outcome)

            breakers[name] = SharedBreaker(name, self._settings.circuit_failures, self._listeners, tell)
        return breakers[name]

    def _tell(self, name: str, call: LetIn, outcome: str) -> Heard | None:
        answer = self._steps.run("circuit_tell", name, call.holder, call.generation, outcome, *self._policy)
        if answer is None:
            return None
        state, failures, changed = answer
        return Heard(CircuitState(state.decode()), failures, bool(changed))


def _policy(settings: WorkerSettings) -> tuple[Argument, ...]:
    """As the step `circuit_tell` takes it."""
    seconds = (
        settings.circuit_window_seconds,
        settings.circuit_open_seconds,
        settings.circuit_open_limit_seconds,
        settings.circuit_probe_seconds,
        settings.circuit_ramp_seconds,
    )
    return settings.circuit_failures, *(round(one * 1_000) for one in seconds)
