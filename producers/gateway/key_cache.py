"""What a gateway remembers of keys: those that it has checked, those that it has refused, and their last uses."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar
from uuid import UUID

from penstock.producers.gateway.key_lookups import Found
from penstock.producers.storage.api_keys import USE_PRECISION, StoredKey

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """A mapping with at most `limit` members, of which the least recently used goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._members: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        """What stands for `key`, which is a use of it."""
        if key in self._members:
            self._members.move_to_end(key)
        return self._members.get(key)

    def put(self, key: _Key, value: _Value) -> None:
        """Let `value` stand for `key`, which is a use of it."""
        self._members[key] = value
        self._members.move_to_end(key)
        if len(self._members) > self._limit:
            self._members.popitem(last=False)

    def drop(self, key: _Key) -> None:
        """Forget `key`, if it is there."""
        self._members.pop(key, None)

    def items(self) -> list[tuple[_Key, _Value]]:
        """All members, the least recently used first."""
        return list(self._members.items())

    def __len__(self) -> int:
        return len(self._members)


@dataclass(slots=True)
class KnownKey:
    """A key whose secret was right. Instants are monotonic seconds.

    Attributes:
        prefix: its public part.
        key: as PostgreSQL had it.
        read_at: just before it was asked for: what was changed since is not in it.
        used_at: when it was checked last.
    """

    prefix: str
    key: StoredKey
    read_at: float
    used_at: float

    @classmethod
    def of(cls, prefix: str, found: Found, now: float) -> "KnownKey":
        """A key that was looked up because it is used now."""
        return cls(prefix, found.key, found.asked_at, now)

    def is_expired(self, now: float) -> bool:
        """Whether it has expired, by PostgreSQL's clock and the time since."""
        return self.key.expires_in is not None and self.read_at + self.key.expires_in.total_seconds() <= now

    def is_newer_than(self, age: timedelta, now: float) -> bool:
        """Whether PostgreSQL told it less than `age` ago."""
        return now - self.read_at < age.total_seconds()


@dataclass(slots=True)
class LastUses:
    """When each key was used last, until that is written: at most once a minute for one key."""

    _unwritten: dict[UUID, float] = field(default_factory=dict)
    _written: dict[UUID, float] = field(default_factory=dict)

    def note(self, key_id: UUID, now: float) -> None:
        """Note a use."""
        self._unwritten[key_id] = now

    def due(self, now: float) -> Mapping[UUID, timedelta]:
        """How long ago each key was used whose last use is to be written now."""
        long_ago = now - USE_PRECISION.total_seconds()
        self._written = {key_id: at for key_id, at in self._written.items() if at > long_ago}
        return {
            key_id: timedelta(seconds=now - at) for key_id, at in self._unwritten.items() if key_id not in self._written
        }

    def wrote(self, written: Mapping[UUID, timedelta], now: float) -> None:
        """Note that these were written; a use since then waits for its minute."""
        for key_id, ago in written.items():
            self._written[key_id] = now
            if self._unwritten.get(key_id, now) <= now - ago.total_seconds():
                self._unwritten.pop(key_id, None)
