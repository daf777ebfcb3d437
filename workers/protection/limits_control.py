"""What an operator does about rate limits. Each change and its audit entry are one atomic step."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import redis

from penstock.producers.queue.audit import audit_entry
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.scripts import Scripts
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.protection.changes import announce_change
from penstock.workers.protection.keys import GATE_STEPS, gate_keys
from penstock.workers.protection.limits import LONGEST_WINDOW, SHORTEST_WINDOW
from penstock.workers.protection.limits_view import Override, parse_override
from penstock.workers.protection.waking import wake_held

#: A key of names, as gates have them, or such a beginning and a star after a separator.
KEY_PATTERN = r"^[A-Za-z0-9._@+-]+([:/][A-Za-z0-9._@+-]+)*([:/][*])?$"
KEY_LENGTH = 500
#: As exact as numbers are in Redis's scripts.
LARGEST_LIMIT = 10**12

_KEY = re.compile(KEY_PATTERN)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class NewOverride:
    """A limit that an operator sets: so many units a window, for a while or for ever.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where one of them is out of bounds.
    """

    limit: int
    window: timedelta
    lasting: timedelta | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= LARGEST_LIMIT:
            raise InvalidInputError(Code.REQUEST_USAGE, f"a limit is 0 to {LARGEST_LIMIT:,}, not {self.limit:,}")
        if not SHORTEST_WINDOW <= self.window <= LONGEST_WINDOW:
            raise InvalidInputError(Code.REQUEST_USAGE, f"a window has {SHORTEST_WINDOW} to {LONGEST_WINDOW}")
        if self.lasting is not None and self.lasting < _MILLISECOND:
            raise InvalidInputError(Code.REQUEST_USAGE, "an override lasts some time, or for ever")


class LimitControl:
    """Changes limits on behalf of `actor`. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str, actor: str) -> None:
        self._client = client
        self._namespace = namespace
        self._scripts = Scripts(client, GATE_STEPS)
        self._keys = gate_keys(namespace)
        self._actor = actor

    def set_override(self, key: str, new: NewOverride, reason: str) -> Override:
        """Set the limit of a key, or of a pattern such as `account:*`, whatever its callers say. It replaces another.

        Jobs that were told their turns by the limit as it was ask again, in order, 1,000 a second.

        Raises:
            InvalidInputError: `REQUEST_USAGE` where that is no key.
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        require_limit_key(key)
        window_ms = new.window // _MILLISECOND
        lasting_ms = None if new.lasting is None else new.lasting // _MILLISECOND
        details = {"limit": new.limit, "window_ms": window_ms, "lasting_ms": lasting_ms}
        entry = audit_entry(self._actor, "limit.set", key, reason, details).encode()
        arguments = (new.limit, window_ms, reason, self._actor, "" if lasting_ms is None else lasting_ms)
        with redis_errors("setting a limit"):
            text = self._scripts.run("set_limit", self._keys, key, *arguments, entry)
            self._changed(key)
        return parse_override(text, key)

    def clear_override(self, key: str, reason: str) -> bool:
        """Let the callers' own limit hold again. False where there was no override.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        entry = audit_entry(self._actor, "limit.default", key, reason).encode()
        with redis_errors("clearing a limit"):
            cleared = bool(self._scripts.run("clear_limit", self._keys, key, entry))
            self._changed(key)
        return cleared

    def unblock(self, key: str, reason: str) -> bool:
        """Lift the block that a provider's answer put on a key. False where it was not blocked.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        entry = audit_entry(self._actor, "limit.unblock", key, reason).encode()
        with redis_errors("lifting a block"):
            unblocked = bool(self._scripts.run("unblock", self._keys, key, entry))
            wake_held(self._client, self._namespace, lambda blocked_by: blocked_by == f"blocked:{key}")
        return unblocked

    def _changed(self, name: str) -> None:
        """Tell the workers, and wake the jobs that were told turns by the limit as it was."""
        announce_change(self._client, self._namespace)
        wake_held(self._client, self._namespace, self._holds_by(name))

    def _holds_by(self, name: str) -> Callable[[str], bool]:
        if name.endswith("*"):
            return lambda blocked_by: blocked_by.startswith(f"limit:{name[:-1]}")
        # Keys whose callers give it as their default, too; their rules end with it (`limit window default`).
        noted = self._client.hscan_iter(self._keys.key("limited"), count=1_000)
        given = {key.decode() for key, rule in noted if rule.decode().endswith(f" {name}")}
        names = {f"limit:{key}" for key in given | {name}}
        return names.__contains__


def require_limit_key(key: str) -> str:
    """Return a key or pattern that can have an override.

    Raises:
        InvalidInputError: `REQUEST_USAGE`.
    """
    if len(key) > KEY_LENGTH or not _KEY.fullmatch(key):
        told = f"{key[:80]!r} is no key of a limit: names parted by : and /, such as account:123 or account:*"
        raise InvalidInputError(Code.REQUEST_USAGE, told)
    return key
