"""The secrets that digests of API keys are keyed with: one for new keys, and older ones that still check theirs."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Self

from penstock.schemas.api_key import ApiKey
from penstock.schemas.errors import Code, InvalidInputError

_SETTING = "PENSTOCK_API_KEY_SECRET"
_SECRET_ID = re.compile(r"[A-Za-z0-9._-]{1,50}")
#: 32 characters of base64 are 192 bits.
_SECRET = re.compile(r"[!-~]{32,1000}")
_HOW_TO_MAKE_ONE = "python -c \"import secrets; print('k1:' + secrets.token_urlsafe(32))\""

#: A key's digest under each secret, by the secret's id.
Digests = Mapping[str, bytes]


class KeySecrets:
    """Makes and compares digests of keys: HMAC-SHA-256 of the whole key. Safe to share between threads.

    Without the secrets a copy of the table tells nothing about the keys, and can't be tried against.
    """

    def __init__(self, named: Sequence[tuple[str, bytes]]) -> None:
        self._current, _ = named[0]
        self._secrets: Mapping[str, bytes] = dict(named)

    @classmethod
    def from_setting(cls, setting: str | None) -> Self:
        """Read `PENSTOCK_API_KEY_SECRET`: `id:secret` parted by commas or line ends, the current one first.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, which names a fault by its place and never by its value.
        """
        entries = [entry.strip() for entry in re.split(r"[,\n]", setting or "") if entry.strip()]
        if not entries:
            raise _invalid(f"is not set: give it what this prints: {_HOW_TO_MAKE_ONE}")
        named = [_read(place, entry) for place, entry in enumerate(entries, start=1)]
        if len({secret_id for secret_id, _ in named}) < len(named):
            raise _invalid("has two secrets of one id")
        return cls(named)

    @property
    def current(self) -> str:
        """The id of the secret that new keys are digested with."""
        return self._current

    def knows(self, secret_id: str) -> bool:
        """Whether keys of that secret can be checked here."""
        return secret_id in self._secrets

    def digests(self, key: ApiKey) -> Digests:
        """The key's digest under each secret: the same work for every key, whether it is known or not."""
        text = key.text.encode()
        return {
            secret_id: hmac.new(secret, text, hashlib.sha256).digest() for secret_id, secret in self._secrets.items()
        }

    def match(self, digests: Digests, secret_id: str, stored: bytes) -> bool:
        """Whether `stored`, made with the secret of that id, is the digest of the key, compared in constant time.

        A secret that is not known here takes as long, and matches nothing.
        """
        offered = digests.get(secret_id, bytes(hashlib.sha256().digest_size))
        return hmac.compare_digest(offered, stored) & self.knows(secret_id)


def _read(place: int, entry: str) -> tuple[str, bytes]:
    secret_id, parted, secret = entry.partition(":")
    if not parted or not _SECRET_ID.fullmatch(secret_id):
        raise _invalid(f"its secret {place} is not `id:secret` with an id of 1 to 50 of A-Z a-z 0-9 . _ -")
    if not _SECRET.fullmatch(secret):
        raise _invalid(
            f"its secret {place} is not 32 to 1,000 visible ASCII characters; one is made by {_HOW_TO_MAKE_ONE}"
        )
    return secret_id, secret.encode()


def _invalid(told: str) -> InvalidInputError:
    return InvalidInputError(Code.CONFIG_INVALID, f"{_SETTING}: {told}", details={"settings": {_SETTING: told}})
