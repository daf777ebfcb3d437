"""How rate limits stand: what is used, what holds, and why."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.instants import instant
from penstock.producers.queue.scripts import Scripts
from penstock.workers.protection.keys import GATE_STEPS, gate_keys

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Override:
    """A limit that an operator set.

    Attributes:
        name: the key or pattern for which it was set.
        expires_at: until when it holds; None for ever.
    """

    name: str
    limit: int
    window: timedelta
    reason: str
    by: str
    at: datetime | None
    expires_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The override as commands and endpoints show it."""
        return {
            "name": self.name,
            "limit": self.limit,
            "window_seconds": self.window.total_seconds(),
            "reason": self.reason,
            "by": self.by,
            "at": self.at and self.at.isoformat(),
            "expires_at": self.expires_at and self.expires_at.isoformat(),
        }


def parse_override(text: bytes, name: str = "") -> Override:
    """The override as Redis keeps it."""
    found = json.loads(text)
    return Override(
        name=str(found.get("name", name)),
        limit=int(found["limit"]),
        window=found["window_ms"] * _MILLISECOND,
        reason=str(found.get("reason", "")),
        by=str(found.get("by", "")),
        at=instant(found.get("at")),
        expires_at=instant(found.get("expires_at")),
    )


@dataclass(frozen=True, slots=True)
class Block:
    """Until when a key is blocked, and why."""

    until: datetime | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The block as commands and endpoints show it."""
        return {"until": self.until and self.until.isoformat(), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class LimitState:
    """How a key stands at one instant.

    Attributes:
        limit: that holds: its callers', or an operator's; None where none does.
        used: in the window that ends now.
        resets_at: from when one more unit fits; None where it fits now, or never will.
        override: the operators' override that holds, of the key or of a pattern that it fits.
    """

    key: str
    limit: int | None
    window: timedelta
    used: int
    resets_at: datetime | None
    override: Override | None
    blocked: Block | None

    @property
    def remaining(self) -> int | None:
        """What is left of the limit; None where none holds."""
        return None if self.limit is None else max(0, self.limit - self.used)

    def as_dict(self) -> dict[str, Any]:
        """The state as commands and endpoints show it."""
        return {
            "key": self.key,
            "limit": self.limit,
            "window_seconds": None if self.limit is None else self.window.total_seconds(),
            "used": self.used,
            "remaining": self.remaining,
            "resets_at": self.resets_at and self.resets_at.isoformat(),
            "override": self.override and self.override.as_dict(),
            "blocked": self.blocked and self.blocked.as_dict(),
        }


class LimitView:
    """Looks at limits, and changes nothing. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._scripts = Scripts(client, GATE_STEPS)
        self._keys = gate_keys(namespace)

    def page(self, count: int, after: str | None = None) -> tuple[list[LimitState], str | None]:
        """Keys in use, blocked keys and overrides, by name, from after `after` on; and where the next page begins.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        with redis_errors("listing limits"):
            names = sorted(name for name in self._names() if after is None or name > after)
            states = self._states(names[:count])
        return states, names[count - 1] if len(names) > count else None

    def look(self, keys: Sequence[str]) -> list[LimitState]:
        """Those of these keys that are in use, blocked or overridden.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        with redis_errors("looking at limits"):
            return self._states([*keys])

    def overridden(self) -> list[LimitState]:
        """How the names stand for which operators have set a limit; these are few, whatever the keys in use are.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        with redis_errors("looking at limits"):
            names = cast("list[bytes]", self._client.hkeys(self._keys.key("limits")))
            return [state for state in self._states(sorted(name.decode() for name in names)) if state.override]

    def _names(self) -> Iterable[str]:
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hkeys(self._keys.key("limited"))
            pipeline.hkeys(self._keys.key("limits"))
            found = cast("list[list[bytes]]", pipeline.execute())
        return {name.decode() for names in found for name in names}

    def _states(self, names: list[str]) -> list[LimitState]:
        if not names:
            return []
        answer = self._scripts.run("limit_states", self._keys, *names)
        # A key may have been left by all since it was noted; of such there is nothing to show.
        return [_state(name, state) for name, state in zip(names, answer, strict=True) if any(state[3:])]


def _state(name: str, answer: list[Any]) -> LimitState:
    limit, window_ms, used, _, fits_us, override, blocked = answer
    noted = json.loads(blocked) if blocked else None
    return LimitState(
        key=name,
        limit=None if limit < 0 else limit,
        window=window_ms * _MILLISECOND,
        used=used,
        resets_at=_EPOCH + timedelta(microseconds=fits_us) if fits_us else None,
        override=parse_override(override) if override else None,
        blocked=noted and Block(instant(noted["until"]), str(noted.get("reason", ""))),
    )
