"""Flags: what is switched off, or on for a part of all, while everything runs; and what is done instead."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import redis

from penstock.producers.queue.audit import audit_entry
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.instants import instant
from penstock.producers.queue.scripts import Scripts
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import require_name
from penstock.workers.protection.changes import announce_change
from penstock.workers.protection.keys import GATE_STEPS, gate_keys
from penstock.workers.protection.mirror import Mirror

#: The options of `Flags.choose` that every caller has: what is done where the flag is on, and where it is off.
ON, OFF = "on", "off"
_KEEP, _NONE = "=", ""

Option = TypeVar("Option")


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag that an operator has set.

    Attributes:
        percent: of all keys it is on for so many: 0 is nobody, 100 is everybody.
        fallback: the option that is chosen where it is off; None for the caller's own.
    """

    name: str
    percent: float
    fallback: str | None
    by: str
    reason: str
    at: datetime | None

    def is_on(self, key: str) -> bool:
        """Whether it is on for a key. A key that is in stays in while the percentage rises."""
        return point_of(self.name, key) < self.percent

    def as_dict(self) -> dict[str, Any]:
        """The flag as commands and endpoints show it."""
        return {
            "flag": self.name,
            "percent": self.percent,
            "fallback": self.fallback,
            "by": self.by,
            "reason": self.reason,
            "at": self.at and self.at.isoformat(),
        }


def point_of(flag: str, key: str) -> float:
    """Where a key stands between 0 (included) and 100 (never reached), the same everywhere and for ever.

    By SHA-256 of both, so that the keys that are first in one flag are not those of another.
    """
    digest = hashlib.sha256(f"{flag}\n{key}".encode(errors="surrogatepass")).digest()
    # 48 bits and a factor of 100 are exact enough in a float for the largest to stay below 100.
    return int.from_bytes(digest[:6]) / 2**48 * 100


class Flags:
    """The flags of a namespace, from memory: a copy that is read again when a change is announced.

    While Redis is away the last known flags hold. Safe to share between threads.
    """

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._mirror = Mirror(client, gate_keys(namespace).key("flags"), _parse)

    def start(self) -> None:
        """Keep the copy up to date from now on; where Redis is away no flag is set until it answers."""
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

    def is_on(self, name: str, key: str, *, default: bool = True) -> bool:
        """Whether a flag is on for a key (a tenant, or what the caller parts by); `default` where nobody has set it."""
        found = self._mirror.values.get(name)
        return default if found is None else found.is_on(key)

    def choose(self, name: str, key: str, options: Mapping[str, Option], *, default: bool = True) -> Option:
        """The option `on` where a flag is on for a key; else the one that the flag names as its fallback, or `off`.

        A fallback that is none of the caller's options is passed over: an operator's slip must not fail jobs.

        Raises:
            KeyError: where the options lack `on` or `off`.
        """
        switched_on, switched_off = options[ON], options[OFF]
        if self.is_on(name, key, default=default):
            return switched_on
        found = self._mirror.values.get(name)
        return switched_off if found is None else options.get(found.fallback or OFF, switched_off)

    def list(self) -> "list[Flag]":
        """All flags that are set, by name, read now.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        return [flag for _name, flag in sorted(self._mirror.read().items())]


class FlagControl:
    """Sets flags on behalf of `actor`; each change and its audit entry are one step. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str, actor: str) -> None:
        self._client = client
        self._namespace = namespace
        self._scripts = Scripts(client, GATE_STEPS)
        self._keys = gate_keys(namespace)
        self._actor = actor

    def set(self, name: str, percent: float, reason: str, fallback: str | None = None) -> Flag:
        """Set a flag to a percentage.

        Args:
            name: of the flag; the code that asks for it knows it.
            percent: 0 (off for everybody) to 100 (on for everybody).
            reason: why.
            fallback: the option to choose where it is off; "" for the caller's own, None for the one that it has.

        Raises:
            InvalidInputError: `REQUEST_USAGE`.
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        require_name(name, Code.REQUEST_USAGE, "a flag")
        if fallback:
            require_name(fallback, Code.REQUEST_USAGE, "a fallback")
        if not 0 <= percent <= 100:
            raise InvalidInputError(Code.REQUEST_USAGE, f"a percentage is 0 to 100, and not {percent}")
        details = {"percent": percent} | ({} if fallback is None else {"fallback": fallback})
        entry = audit_entry(self._actor, "flag.set", name, reason, details).encode()
        told = _KEEP if fallback is None else fallback or _NONE
        with redis_errors("setting a flag"):
            text = self._scripts.run("set_flag", self._keys, name, repr(percent), told, self._actor, reason, entry)
            announce_change(self._client, self._namespace)
        return _parse(name, text)


def _parse(name: str, text: bytes) -> Flag:
    found = json.loads(text)
    percent = found.get("percent") if isinstance(found, dict) else None
    if not isinstance(percent, (int, float)):
        raise ValueError("no flag")  # noqa: TRY004  to the caller it is one more thing that can't be read
    fallback = found.get("fallback")
    return Flag(
        name,
        percent,
        None if fallback is None else str(fallback),
        str(found.get("by", "")),
        str(found.get("reason", "")),
        instant(found.get("at")),
    )
