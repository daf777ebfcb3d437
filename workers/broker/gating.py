"""Asks the gates of a delivery's jobs, and says where those go that may not run now."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import redis

from penstock.workers.broker.delivery import OpenedJob
from penstock.workers.broker.leases import Settlement, Verb
from penstock.workers.job import Job
from penstock.workers.protection.gates import Gates, JobGates, Question, Refusal
from penstock.workers.protection.keys import gate_keys
from penstock.workers.protection.limits import tenant_use
from penstock.workers.protection.mirror import Mirror
from penstock.workers.protection.pauses import OFFER_EVERY, Pauses, park_of_pause
from penstock.workers.registry import Registration

#: What refuses many at once for one instant is asked again a little later by each, and not by all together.
_JITTER = timedelta(seconds=1)
#: Who waited for so long comes in the middle of that; and the part of it that chance has.
_HALFWAY = timedelta(seconds=30)
_CHANCE = 0.1
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Ready = tuple[OpenedJob, Job]


class Gatekeeper:
    """Lets jobs run, or sends them away without an attempt. Safe to share between threads.

    Every job has the gate keys of its kind and its tenant and takes of the limit of the two; a kind may add more
    (`Registration.gates`). Where one of these counts a job once, for it needs several runs, the limit of the two does.

    Args:
        tenant_limit: the limit of a tenant and kind: a number (0 for none), and its window.
    """

    def __init__(
        self, gates: Gates, registrations: Mapping[str, Registration], tenant_limit: tuple[int, timedelta]
    ) -> None:
        self._gates = gates
        self._registrations = registrations
        self._limit, self._window = tenant_limit

    def admit(self, ready: Sequence[Ready]) -> tuple[list[Ready], list[Settlement]]:
        """The jobs that may run, and how the leases of the others end."""
        if self._concern_none(ready):
            return list(ready), []
        gates = [self._gates_of(job) for _, job in ready]
        asked = [place for place, one in enumerate(gates) if not self._gates.lets_in(one)]
        if not asked:
            return list(ready), []
        answers = self._gates.ask([_question(*ready[place], gates[place]) for place in asked])
        refusals = {place: refusal for place, refusal in zip(asked, answers, strict=True) if refusal is not None}
        admitted = [one for place, one in enumerate(ready) if place not in refusals]
        return admitted, [_settlement(ready[place][0], refusal) for place, refusal in refusals.items()]

    def _concern_none(self, ready: Sequence[Ready]) -> bool:
        """Whether no gate concerns any of these, by one look for all jobs of a tenant and kind."""
        for kind, tenant in {(job.kind, job.tenant) for _, job in ready}:
            if self._registrations[kind].gates is not None or not self._gates.concerns_none(self._common(tenant, kind)):
                return False
        return True

    def _common(self, tenant: str, kind: str, *, once: bool = False) -> JobGates:
        return _common_gates(tenant, kind, self._limit, self._window, once=once)

    def _gates_of(self, job: Job) -> JobGates:
        added = self._registrations[job.kind].gates
        if added is None:
            return self._common(job.tenant, job.kind)
        own = added(job)
        common = self._common(job.tenant, job.kind, once=any(use.once for use in own.uses))
        return JobGates((*common.keys, *own.keys), own.circuits, (*common.uses, *own.uses))


@lru_cache(maxsize=10_000)
def _common_gates(tenant: str, kind: str, limit: int, window: timedelta, *, once: bool) -> JobGates:
    """What every job of a tenant and a kind has to pass."""
    return JobGates((f"kind:{kind}", f"tenant:{tenant}"), uses=(tenant_use(tenant, kind, limit, window, once=once),))


def _question(opened: OpenedJob, job: Job, gates: JobGates) -> Question:
    # One that was told its turn before, and came too early all the same, has its place.
    return Question(job.holder, gates, lines_up=opened.leased.postpones == 0, job=str(job.job_id))


def _settlement(opened: OpenedJob, refusal: Refusal) -> Settlement:
    if refusal.retry_after is None:
        # A pause: in order, until the key is resumed. Some are offered now and then, should that go unheard.
        parking = {
            "key": park_of_pause(refusal.blocked_by.removeprefix("paused:")),
            "blocked_by": refusal.blocked_by,
            "offer": OFFER_EVERY // _MILLISECOND,
        }
        return Settlement(opened.leased, Verb.PARK, parking)
    delay = refusal.retry_after
    detail: dict[str, str | int] = {"blocked_by": refusal.blocked_by}
    jitter = timedelta()
    if not refusal.blocked_by.startswith("limit:"):
        jitter = min(_JITTER, delay) * _place(opened.header.enqueued_at, refusal.turn)
    delay += jitter
    if refusal.turn is not None:
        # Each has its own turn, and their order must not hang on how soon each lease ends.
        detail["at"] = (refusal.turn + jitter - _EPOCH) // _MILLISECOND
    detail["delay"] = -(-delay // _MILLISECOND)
    return Settlement(opened.leased, Verb.POSTPONE, detail)


def _place(enqueued_at: datetime, turn: datetime | None) -> float:
    """A job's place among those that come back for one instant, 0 to 1: the longer it waits by then the earlier.

    A part is left to chance, so that those that were enqueued together don't come together.
    """
    chance = random.random()  # noqa: S311  no secret hangs on it
    if turn is None:
        return chance
    waited = max(timedelta(), turn - enqueued_at)
    return (1 - _CHANCE) / (1 + waited / _HALFWAY) + _CHANCE * chance


@dataclass(frozen=True, slots=True)
class GateCopies:
    """What a process keeps in memory so that most jobs cost no question: paused keys, and operators' limits."""

    pauses: Pauses
    overrides: "Mirror[bytes]"

    def start(self) -> None:
        """Read the copies, and keep them up to date."""
        self.pauses.start()
        self.overrides.start()

    def refresh(self) -> None:
        """Read them anew: somebody announced a change."""
        self.pauses.refresh()
        self.overrides.refresh()

    def stop(self) -> None:
        """Let them be."""
        self.pauses.stop()
        self.overrides.stop()


def gate_copies(client: redis.Redis, namespace: str) -> GateCopies:
    """Make the copies; nothing connects yet."""
    limits = gate_keys(namespace).key("limits")
    return GateCopies(Pauses(client, namespace), Mirror(client, limits, lambda _key, text: text))


#: What admits everything: for processes that ask no gates.
Admit = Callable[[Sequence[Ready]], tuple[list[Ready], list[Settlement]]]


def admit_all(ready: Sequence[Ready]) -> tuple[list[Ready], list[Settlement]]:
    """Let every job run."""
    return list(ready), []
