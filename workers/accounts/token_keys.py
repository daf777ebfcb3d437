"""The keys that tokens are encrypted with: one that encrypts, and older ones that still decrypt."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken

from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.accounts.secret import Secret

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,50}\Z")
_SETTING = "PENSTOCK_TOKEN_KEYS"


@dataclass(frozen=True, slots=True)
class SealedTokens:
    """Tokens at rest: Fernet's ciphertexts, and the id of the key of both."""

    key_id: str
    access: bytes = field(repr=False)
    refresh: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens in memory. Not every platform gives a refresh token."""

    access: Secret
    refresh: Secret | None = None


class TokenKeys:
    """Seals tokens with the first key, and opens what any of the keys sealed. Safe to share between threads."""

    def __init__(self, keys: Sequence[tuple[str, Fernet]]) -> None:
        self._current, _ = keys[0]
        self._keys: Mapping[str, Fernet] = dict(keys)

    @classmethod
    def from_setting(cls, setting: str | None) -> Self:
        """Read `PENSTOCK_TOKEN_KEYS`: `id:key` parted by commas or line ends, the current one first.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, which names a fault by its place and never by its value.
        """
        entries = [entry.strip() for entry in re.split(r"[,\n]", setting or "") if entry.strip()]
        if not entries:
            raise _invalid("is not set, and accounts' tokens are kept encrypted alone", remedy=_HOW_TO_BEGIN)
        keys = [_read(place, entry) for place, entry in enumerate(entries, start=1)]
        if len({key_id for key_id, _ in keys}) < len(keys):
            raise _invalid("has two keys of one id")
        return cls(keys)

    @property
    def current(self) -> str:
        """The id of the key that encrypts."""
        return self._current

    def seal(self, account_id: UUID, tokens: Tokens) -> SealedTokens:
        """Encrypt an account's tokens. What is sealed opens for this account alone, and each token in its place."""
        fernet = self._keys[self._current]
        refresh = tokens.refresh
        return SealedTokens(
            self._current,
            fernet.encrypt(_bound(account_id, b"a") + tokens.access.get_secret_value().encode()),
            None if refresh is None else fernet.encrypt(_bound(account_id, b"r") + refresh.get_secret_value().encode()),
        )

    def open(self, account_id: UUID, sealed: SealedTokens) -> Tokens:
        """Decrypt an account's tokens.

        Raises:
            PenstockError: `ACCOUNT_TOKEN_UNREADABLE`: the key is missing here, or the ciphertext is not what was made
                for this account.
        """
        fernet = self._keys.get(sealed.key_id)
        if fernet is None:
            raise _unreadable(account_id, f"are encrypted with the key {sealed.key_id!r}, which {_SETTING} lacks")
        access = _decrypt(fernet, account_id, b"a", sealed)
        return Tokens(access, None if sealed.refresh is None else _decrypt(fernet, account_id, b"r", sealed))


#: Told to whoever has no key yet.
_HOW_TO_MAKE_ONE = "penstock accounts generate-key"

_HOW_TO_BEGIN = (
    f"Make a key, once: {_HOW_TO_MAKE_ONE}. Give it to every worker, scheduler and command as {_SETTING}, or in the"
    f" file that {_SETTING}_FILE names, and keep it safe: without it all accounts must be authorised anew."
)


def generate_key(key_id: str) -> str:
    """A new key as an entry of `PENSTOCK_TOKEN_KEYS`.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where the id is none.
    """
    if not _KEY_ID.match(key_id):
        raise InvalidInputError(Code.REQUEST_USAGE, "a key's id is 1 to 50 of A-Z a-z 0-9 . _ -")
    return f"{key_id}:{Fernet.generate_key().decode()}"


def _bound(account_id: UUID, place: bytes) -> bytes:
    """What a token is preceded by, since Fernet binds a ciphertext to nothing: not even to its row."""
    return account_id.bytes + place


def _decrypt(fernet: Fernet, account_id: UUID, place: bytes, sealed: SealedTokens) -> Secret:
    ciphertext = sealed.access if place == b"a" else sealed.refresh or b""
    try:
        plain = fernet.decrypt(ciphertext)
    except InvalidToken:
        raise _unreadable(account_id, f"do not open with the key {sealed.key_id!r}") from None
    bound = _bound(account_id, place)
    if not plain.startswith(bound):
        raise _unreadable(account_id, "are another account's, or stand in each other's place")
    return Secret(plain[len(bound) :].decode())


def _read(place: int, entry: str) -> tuple[str, Fernet]:
    key_id, parted, key = entry.partition(":")
    if not parted or not _KEY_ID.match(key_id):
        raise _invalid(f"its key {place} is not `id:key` with an id of 1 to 50 of A-Z a-z 0-9 . _ -")
    try:
        return key_id, Fernet(key)
    except ValueError:
        raise _invalid(f"its key {place} is not 32 bytes in URL-safe base64; make one by {_HOW_TO_MAKE_ONE}") from None


def _invalid(told: str, remedy: str | None = None) -> InvalidInputError:
    details = {"settings": {_SETTING: told}}
    return InvalidInputError(Code.CONFIG_INVALID, f"{_SETTING}: {told}", remedy=remedy, details=details)


def _unreadable(account_id: UUID, told: str) -> PenstockError:
    return PenstockError(Code.ACCOUNT_TOKEN_UNREADABLE, f"the tokens of the account {account_id} {told}")
