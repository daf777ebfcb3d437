"""The keys of seals: one that seals, and older ones that still verify. Without any it is plain SHA-256."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from penstock.schemas.errors import Code, InvalidInputError

#: What a seal names where it is made without a key.
PLAIN = ""
KEY_LENGTH = 32

_SETTING = "PENSTOCK_AUDIT_KEYS"
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,50}\Z")


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """Keys by id. `current` is empty where there is none."""

    current: str = PLAIN
    _keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def from_setting(cls, setting: str | None) -> Self:
        """Read `PENSTOCK_AUDIT_KEYS`: `id:key` parted by commas or line ends, the current one first; none if empty.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, which names a fault by its place and never by its value.
        """
        entries = [entry.strip() for entry in re.split(r"[,\n]", setting or "") if entry.strip()]
        keys = [_read(place, entry) for place, entry in enumerate(entries, start=1)]
        if len(dict(keys)) < len(keys):
            raise _invalid("has two keys of one id")
        return cls(keys[0][0], dict(keys)) if keys else cls()

    def knows(self, key_id: str) -> bool:
        """Whether a seal that names this key can be verified here."""
        return key_id == PLAIN or key_id in self._keys

    def digest(self, key_id: str, content: bytes) -> bytes:
        """HMAC-SHA-256 with that key, or SHA-256 for `PLAIN`. Only for a key that is known."""
        if key_id == PLAIN:
            return hashlib.sha256(content).digest()
        return hmac.digest(self._keys[key_id], content, "sha256")


def _read(place: int, entry: str) -> tuple[str, bytes]:
    key_id, _, key = entry.partition(":")
    if not _KEY_ID.match(key_id) or len(key) < KEY_LENGTH:
        raise _invalid(
            f"its key {place} is not `id:key` with an id of 1 to 50 of A-Z a-z 0-9 . _ - and {KEY_LENGTH} characters"
            " at the least"
        )
    return key_id, key.encode()


def _invalid(told: str) -> InvalidInputError:
    return InvalidInputError(
        Code.CONFIG_INVALID,
        f"{_SETTING}: {told}",
        remedy="Make a key by: openssl rand -hex 32. Keep it where nobody who writes the database can read it.",
        details={"settings": {_SETTING: told}},
    )
