"""Which gates would hold letters if they were requeued now, until when, and why.

Each letter has the gates of its kind and tenant; what its kind adds is asked of one letter for all that are about the
same (kind, tenant, form, platform, account), with its payload.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import redis

from penstock.producers.queue.inspection import QueueInspector
from penstock.schemas.names import Queue
from penstock.workers.dead_letters.letters import plain
from penstock.workers.job import Job
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_view import CircuitState, CircuitView
from penstock.workers.protection.gates import JobGates
from penstock.workers.protection.limits import tenant_use
from penstock.workers.protection.limits_view import LimitState, LimitView
from penstock.workers.protection.pauses import Pauses
from penstock.workers.registry import Registration

_log = logging.getLogger(__name__)

#: Keys of limits that are looked through; more say nothing.
_LIMIT_PAGES, _LIMIT_ROWS = 10, 1_000


@dataclass(frozen=True, slots=True)
class Alike:
    """Letters whose gates are taken for the same. `one` is any of them, and `payload` that one's (None: not read)."""

    kind: str
    queue: str
    tenant: str
    platform: str | None
    account: str | None
    letters: int
    one: UUID
    enqueued_at: datetime
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Held:
    """A gate that would hold letters now.

    Attributes:
        gate: `queue:NAME`, `paused:KEY`, `circuit:NAME`, `limit:KEY` or `blocked:KEY`.
        until: when it lets jobs in again by itself; None where that is not known.
        letters: how many it would hold; of a limit, how many are under it.
    """

    gate: str
    reason: str
    until: datetime | None
    letters: int

    def as_dict(self) -> dict[str, Any]:
        """The gate as a JSON object."""
        return {"gate": self.gate, "reason": self.reason, "until": plain(self.until), "letters": self.letters}


class HoldingGates:
    """Looks at gates, and takes nothing of them. Safe to share between threads.

    Args:
        registrations: of the kinds that this process knows.
        tenant_limit: the limit of a tenant and kind, as workers have it: a number (0 for none), and its window.
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        registrations: Mapping[str, Registration],
        tenant_limit: tuple[int, timedelta],
    ) -> None:
        self._queues = QueueInspector(client, namespace)
        self._pauses = Pauses(client, namespace)
        self._circuits = CircuitControl(client, namespace)
        self._limits = LimitView(client, namespace)
        self._registrations = registrations
        self._limit, self._window = tenant_limit

    def holding(self, letters: Sequence[Alike]) -> list[Held]:
        """The gates that would hold some of these letters, those that hold most first.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        gates = [(one, self._gates_of(one)) for one in letters]
        found = [*self._paused_queues(letters), *self._paused_keys(gates)]
        found += [*self._open_circuits(gates), *self._full_limits(gates)]
        return sorted((held for held in found if held.letters), key=lambda held: (-held.letters, held.gate))

    def _gates_of(self, one: Alike) -> JobGates:
        own = self._own_gates(one)
        use = tenant_use(one.tenant, one.kind, self._limit, self._window)
        return JobGates((f"kind:{one.kind}", f"tenant:{one.tenant}", *own.keys), own.circuits, (use, *own.uses))

    def _own_gates(self, one: Alike) -> JobGates:
        """What the kind adds; where that can't be asked, what its subjects suggest."""
        registration = self._registrations.get(one.kind)
        if registration is not None and registration.gates is None:
            return JobGates()
        if registration is not None and registration.gates is not None and one.payload is not None:
            try:
                return registration.gates(Job(one.one, one.kind, one.tenant, one.enqueued_at, 1, one.payload))
            except Exception as error:
                # The kind's own code, on a payload that may be what the job died of.
                _log.debug("the gates of a letter can't be told: %s", type(error).__name__)
        subjects = (("platform", one.platform), ("account", one.account))
        return JobGates(tuple(f"{what}:{name}" for what, name in subjects if name))

    def _paused_queues(self, letters: Sequence[Alike]) -> Iterable[Held]:
        for queue in {one.queue for one in letters} & set(Queue):
            pause = self._queues.counts(Queue(queue)).paused
            if pause is not None:
                count = sum(one.letters for one in letters if one.queue == queue)
                yield Held(f"queue:{queue}", f"paused by {pause.by}: {pause.reason}", None, count)

    def _paused_keys(self, gates: Sequence[tuple[Alike, JobGates]]) -> Iterable[Held]:
        for paused in self._pauses.list():
            told = f"paused by {paused.pause.by}: {paused.pause.reason}"
            count = sum(one.letters for one, own in gates if paused.key in own.keys)
            yield Held(f"paused:{paused.key}", told, None, count)

    def _open_circuits(self, gates: Sequence[tuple[Alike, JobGates]]) -> Iterable[Held]:
        if not any(own.circuits for _, own in gates):
            return
        for view in self._circuits.states():
            if view.state is not CircuitState.CLOSED:
                count = sum(one.letters for one, own in gates if view.name in own.circuits)
                yield Held(f"circuit:{view.name}", _told_circuit(view), _until(view), count)

    def _full_limits(self, gates: Sequence[tuple[Alike, JobGates]]) -> Iterable[Held]:
        units: dict[str, int] = {}
        for _, own in gates:
            for use in own.uses:
                units[use.key] = max(use.weight, units.get(use.key, 0))
        for state in self._states(frozenset(units)):
            count = sum(one.letters for one, own in gates if any(use.key == state.key for use in own.uses))
            if state.blocked is not None:
                yield Held(f"blocked:{state.key}", state.blocked.reason, state.blocked.until, count)
            elif state.remaining is not None and state.remaining < units[state.key]:
                told = f"{state.used:,} of {state.limit:,} are used"
                yield Held(f"limit:{state.key}", told, state.resets_at, count)

    def _states(self, keys: frozenset[str]) -> Iterable[LimitState]:
        after: str | None = None
        for _ in range(_LIMIT_PAGES):
            states, after = self._limits.page(_LIMIT_ROWS, after)
            yield from (state for state in states if state.key in keys)
            if after is None:
                return


def _told_circuit(view: CircuitView) -> str:
    if view.forced is not None:
        return f"{view.state} by {view.forced.by}: {view.forced.reason}"
    return f"{view.state}"


def _until(view: CircuitView) -> datetime | None:
    return view.forced.until if view.forced is not None else view.open_until or view.probe_until
