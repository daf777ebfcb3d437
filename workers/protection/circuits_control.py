"""What operators see and do of circuits. Each change and its audit entry are one atomic step."""

from datetime import timedelta
from typing import Literal

import redis

from penstock.producers.queue.audit import audit_entry
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.scripts import Scripts
from penstock.workers.protection.circuits_view import CircuitState, CircuitView
from penstock.workers.protection.keys import GATE_STEPS, gate_keys
from penstock.workers.protection.waking import wake_held

#: What a circuit can be forced to be.
Forceable = Literal[CircuitState.OPEN, CircuitState.CLOSED]

_MS = timedelta(milliseconds=1)


class CircuitControl:
    """Looks at circuits and forces them. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._scripts = Scripts(client, GATE_STEPS)
        self._keys = gate_keys(namespace)

    def state(self, name: str) -> CircuitView:
        """A circuit as it is now; one that nobody has asked for yet is closed.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        return self._look(name)[0]

    def states(self) -> list[CircuitView]:
        """Every circuit that was ever asked or forced, by name.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        return self._look()

    def force(self, name: str, state: Forceable, reason: str, by: str, expires: timedelta | None = None) -> bool:
        """Open or close a circuit whatever its calls say, at once and everywhere. What held before is replaced.

        Jobs that wait for one that is closed ask again, in order, 1,000 a second.

        Args:
            name: the circuit, such as `platform:instagram`.
            state: what it is to be.
            reason: why, in the operator's words.
            by: who.
            expires: after this it goes by its calls again; None for never.

        Returns:
            False where nobody had asked for the circuit before: the name may be mistyped.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        verb = "open" if state is CircuitState.OPEN else "close"
        seconds = None if expires is None else expires.total_seconds()
        entry = audit_entry(by, f"circuit.{verb}", name, reason, {"for_seconds": seconds})
        ends = "" if expires is None else max(1, expires // _MS)
        with redis_errors("forcing a circuit"):
            known = self._scripts.run("circuit_force", self._keys, name, str(state), by, reason, ends, entry.encode())
            if state is CircuitState.CLOSED:
                self._wake(name)
        return bool(known)

    def auto(self, name: str, reason: str, by: str) -> bool:
        """Let a circuit go by its calls again. False where it was not forced.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        entry = audit_entry(by, "circuit.auto", name, reason)
        with redis_errors("releasing a circuit"):
            released = bool(self._scripts.run("circuit_auto", self._keys, name, entry.encode()))
            if released:
                self._wake(name)
        return released

    def _wake(self, name: str) -> None:
        wake_held(self._client, self._namespace, lambda blocked_by: blocked_by == f"circuit:{name}")

    def _look(self, *names: str) -> list[CircuitView]:
        with redis_errors("looking at circuits"):
            now, *answers = self._scripts.run("circuit_list", self._keys, *names)
        return [CircuitView.decode(now, answer) for answer in answers]
