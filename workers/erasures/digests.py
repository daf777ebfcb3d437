"""Keyed digests of what names people, and the value itself under the same keys as long as somebody looks for it.

The keys are those of accounts' tokens. Without them a copy of the database tells nothing about who was erased, and
can't be tried against.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Self
from uuid import UUID

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.accounts.secret import Secret
from penstock.workers.accounts.token_keys import SealedTokens, TokenKeys, Tokens
from penstock.workers.erasures.subjects import Subject

_SETTING = "PENSTOCK_TOKEN_KEYS"
#: Parts the keys of digests from those that encrypt.
_PURPOSE = b"penstock.person_data.1"


class SubjectKeys:
    """Digests subjects, and seals values. Safe to share between threads."""

    def __init__(self, seals: TokenKeys, digesting: Sequence[tuple[str, bytes]]) -> None:
        self._seals = seals
        self._keys: Mapping[str, bytes] = dict(digesting)

    @classmethod
    def from_setting(cls, setting: str | None) -> Self:
        """Read `PENSTOCK_TOKEN_KEYS`.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, which names a fault by its place and never by its value.
        """
        seals = TokenKeys.from_setting(setting)
        entries = [entry.strip().partition(":") for entry in re.split(r"[,\n]", setting or "") if entry.strip()]
        return cls(seals, [(key_id, _derived(key)) for key_id, _, key in entries])

    @property
    def current(self) -> str:
        """The id of the key that new digests are made with."""
        return self._seals.current

    def digest(self, tenant: str, subject: Subject, key_id: str | None = None) -> bytes:
        """The 32 bytes that stand for a subject of a tenant.

        Raises:
            InvalidInputError: `CONFIG_INVALID` where the key is not known here.
        """
        named = [tenant, subject.kind, subject.form_id, subject.question_id, subject.value]
        return hmac.new(self._key(key_id or self.current), compact_json(named), hashlib.sha256).digest()

    def require(self, key_ids: Sequence[str]) -> None:
        """See that digests made with these keys can be compared here.

        Raises:
            InvalidInputError: `CONFIG_INVALID`.
        """
        for key_id in key_ids:
            self._key(key_id)

    def seal(self, request_id: UUID, value: str) -> bytes:
        """Encrypt the value that a request names; it opens for this request alone."""
        return self._seals.seal(request_id, Tokens(Secret(value))).access

    def open(self, request_id: UUID, key_id: str, sealed: bytes) -> str:
        """Decrypt the value that a request names.

        Raises:
            PenstockError: `CONFIG_INVALID` where the key is not known here, `ACCOUNT_TOKEN_UNREADABLE` where the
                ciphertext is another request's.
        """
        self._key(key_id)
        return self._seals.open(request_id, SealedTokens(key_id, sealed)).access.get_secret_value()

    def _key(self, key_id: str) -> bytes:
        if key_id not in self._keys:
            told = f"it lacks the key {key_id!r}, with which a person was named whose data was erased"
            raise InvalidInputError(Code.CONFIG_INVALID, f"{_SETTING}: {told}", details={"settings": {_SETTING: told}})
        return self._keys[key_id]


def _derived(fernet_key: str) -> bytes:
    return hmac.new(base64.urlsafe_b64decode(fernet_key), _PURPOSE, hashlib.sha256).digest()
