"""The keys that backups are encrypted with: one that encrypts, and older ones that still decrypt."""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from penstock.schemas.errors import Code, InvalidInputError, PenstockError

KEY_BYTES = 32
SALT_BYTES = 32

_SETTING = "PENSTOCK_BACKUP_KEY"
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,50}\Z")
_HOW_TO_MAKE_ONE = "penstock backup generate-key"


@dataclass(frozen=True, slots=True)
class Lock:
    """What a file says of its key, in clear: enough to find the key again and to tell a wrong one, and no more."""

    key_id: str
    salt: bytes
    check: bytes


@dataclass(frozen=True, slots=True)
class BackupKeys:
    """Keys by id. Each file has keys of its own, derived from one of these and the file's salt."""

    current: str
    _keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def from_setting(cls, setting: str | None) -> Self:
        """Read `PENSTOCK_BACKUP_KEY`: `id:key` parted by commas or line ends, the current one first.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, which names a fault by its place and never by its value.
        """
        entries = [entry.strip() for entry in re.split(r"[,\n]", setting or "") if entry.strip()]
        if not entries:
            raise _invalid("is not set, and backups are made encrypted alone", f"Make a key, once: {_HOW_TO_MAKE_ONE}.")
        keys = [_read(place, entry) for place, entry in enumerate(entries, start=1)]
        if len(dict(keys)) < len(keys):
            raise _invalid("has two keys of one id")
        return cls(keys[0][0], dict(keys))

    def lock(self) -> Lock:
        """A lock for a new file, of the current key."""
        salt = secrets.token_bytes(SALT_BYTES)
        return Lock(self.current, salt, _derive(self._keys[self.current], salt, b"check")[:16])

    def unlock(self, lock: Lock, use: bytes) -> bytes:
        """The 32 bytes that a file's key is for this use.

        Raises:
            PenstockError: `STORAGE_BACKUP_KEY_UNKNOWN`: the key is missing here, or is another one of the same id.
        """
        key = self._keys.get(lock.key_id)
        if key is None:
            raise _unknown(f"is encrypted with the key {lock.key_id!r}, which {_SETTING} lacks")
        if not hmac.compare_digest(_derive(key, lock.salt, b"check")[:16], lock.check):
            raise _unknown(f"is encrypted with another key than the one that {_SETTING} calls {lock.key_id!r}")
        return _derive(key, lock.salt, use)


def generate_key(key_id: str) -> str:
    """A new key as an entry of `PENSTOCK_BACKUP_KEY`.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where the id is none.
    """
    if not _KEY_ID.match(key_id):
        raise InvalidInputError(Code.REQUEST_USAGE, "a key's id is 1 to 50 of A-Z a-z 0-9 . _ -")
    return f"{key_id}:{base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def _derive(key: bytes, salt: bytes, use: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=b"penstock backup 1 " + use).derive(key)


def _read(place: int, entry: str) -> tuple[str, bytes]:
    key_id, parted, text = entry.partition(":")
    if not parted or not _KEY_ID.match(key_id):
        raise _invalid(f"its key {place} is not `id:key` with an id of 1 to 50 of A-Z a-z 0-9 . _ -")
    try:
        key = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise _invalid(f"its key {place} is not 32 bytes in URL-safe base64; make one by {_HOW_TO_MAKE_ONE}")
    return key_id, key


def _invalid(told: str, remedy: str | None = None) -> InvalidInputError:
    details: dict[str, Sequence[str] | Mapping[str, str]] = {"settings": {_SETTING: told}}
    return InvalidInputError(Code.CONFIG_INVALID, f"{_SETTING}: {told}", remedy=remedy, details=details)


def _unknown(told: str) -> PenstockError:
    return PenstockError(Code.STORAGE_BACKUP_KEY_UNKNOWN, f"the backup {told}")
