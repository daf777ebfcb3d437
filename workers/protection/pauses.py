"""Pauses by gate key: jobs of a kind, a platform, an account or a tenant wait, in all queues and on all workers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import redis

from penstock.producers.queue.audit import audit_entry
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.counts import Pause, parse_pause
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.scripts import Scripts
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import Queue, require_name
from penstock.workers.protection.changes import announce_change
from penstock.workers.protection.keys import GATE_STEPS, gate_keys
from penstock.workers.protection.mirror import REFRESH_EVERY, Mirror

#: What can be paused besides whole queues.
PAUSABLE = ("kind", "platform", "account", "tenant")
#: Parked jobs a second that a resumed key lets go, of each queue.
RESUME_RATE = 200.0
#: How often some of a park are offered all the same: a job may be parked an instant after its key was resumed.
OFFER_EVERY = timedelta(seconds=30)
#: A copy that is older says nothing of what has been resumed.
_FRESH = 2 * REFRESH_EVERY

_PARK = "paused:"


@dataclass(frozen=True, slots=True)
class PausedKey:
    """A gate key that is paused, by whom, why, and when."""

    key: str
    pause: Pause

    def as_dict(self) -> dict[str, Any]:
        """The pause as commands and endpoints show it."""
        return {"key": self.key, **self.pause.as_dict()}


def pausable_key(what: str, name: str) -> str:
    """The gate key of a kind, platform, account or tenant.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where it is none of these, or that is no name.
    """
    if what not in PAUSABLE:
        raise InvalidInputError(Code.REQUEST_USAGE, f"{what[:80]!r} can't be paused, only {', '.join(PAUSABLE)}")
    return f"{what}:{require_name(name, Code.REQUEST_USAGE, f'the name of a {what}')}"


def park_of_pause(key: str) -> str:
    """The key under which jobs of a paused gate key are parked; it is what blocks them, too."""
    return _PARK + key


class Pauses:
    """Which gate keys are paused. Safe to share between threads.

    `paused` and `is_resumed` answer from memory, from a copy that is read again when a change is announced, and now and
    then, once `start` was called.
    """

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._scripts = Scripts(client, GATE_STEPS)
        self._keys = gate_keys(namespace)
        self._mirror = Mirror(client, self._keys.key("paused"), _parse)

    def start(self) -> None:
        """Keep the copy up to date from now on; where Redis is away nothing counts as paused until it answers."""
        self._mirror.start()

    def stop(self) -> None:
        """Let the copy be."""
        self._mirror.stop()

    def refresh(self) -> None:
        """Have the copy read anew now: somebody announced a change."""
        self._mirror.refresh()

    @property
    def age(self) -> timedelta | None:
        """The copy's age; None where there is none yet."""
        return self._mirror.age

    def paused(self, keys: Iterable[str]) -> PausedKey | None:
        """The first of these gate keys that is paused, by the copy in memory; None where none is."""
        known = self._mirror.values
        return next((PausedKey(key, known[key]) for key in keys if key in known), None)

    def is_resumed(self, park: str) -> bool:
        """Whether jobs that are parked under this key may go: it is that of a pause, which is over for certain."""
        age = self._mirror.age
        if not park.startswith(_PARK) or age is None or age > _FRESH:
            return False
        return park.removeprefix(_PARK) not in self._mirror.values

    def ask(self, keys: Sequence[str]) -> tuple[str, str] | None:
        """What blocks jobs of these gate keys now, and why; one round trip, None where nothing does.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        with redis_errors("asking for pauses"):
            answer = self._scripts.run("paused", self._keys, *keys)
        return None if answer is None else (answer[0].decode(), answer[1].decode())

    def list(self) -> "list[PausedKey]":
        """All that is paused now, by key.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        return [PausedKey(key, pause) for key, pause in sorted(self._mirror.read().items())]


class PauseControl:
    """Pauses and resumes gate keys on behalf of `actor`. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str, actor: str) -> None:
        self._client = client
        self._gates = Scripts(client, GATE_STEPS)
        self._queues = Scripts(client)
        self._namespace = namespace
        self._actor = actor

    def pause(self, key: str, reason: str) -> bool:
        """Let no further job of a gate key run; running ones end. False where it was paused already.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`. Do it again then.
        """
        entry = audit_entry(self._actor, "queue.pause", key, reason).encode()
        with redis_errors("pausing"):
            changed = bool(self._gates.run("pause_key", gate_keys(self._namespace), key, self._actor, reason, entry))
            announce_change(self._client, self._namespace)
            # A ramp of a resume before would send jobs round and round.
            self._release(key, 0)
        return changed

    def resume(self, key: str, reason: str) -> tuple[bool, int]:
        """Let jobs of a gate key run again: those that wait for it in order, 200 a second of each queue.

        Done again it begins where an attempt before was cut short.

        Returns:
            Whether the key was paused, and how many jobs wait for it.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`. Do it again then.
        """
        entry = audit_entry(self._actor, "queue.resume", key, reason).encode()
        with redis_errors("resuming"):
            changed = bool(self._gates.run("resume_key", gate_keys(self._namespace), key, entry))
            announce_change(self._client, self._namespace)
            return changed, self._release(key, RESUME_RATE)

    def _release(self, key: str, rate: float) -> int:
        answers = [
            self._queues.run("release", QueueKeys(self._namespace, queue), park_of_pause(key), 0, rate)
            for queue in Queue
        ]
        return sum(int(parked) for _released, parked in answers)


def _parse(_key: str, text: bytes) -> Pause:
    try:
        found = parse_pause(text)
    except (ValueError, AttributeError, TypeError):
        found = None
    # What stands there is paused, whatever it says.
    return found or Pause("", "", None)
