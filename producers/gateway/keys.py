"""Who calls the gateway: checks the key that a request shows, and knows within two seconds that one was revoked."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from penstock.producers.gateway.key_cache import KnownKey, LastUses, Recent
from penstock.producers.gateway.key_lookups import KeyLookups
from penstock.producers.settings import ApiKeySettings
from penstock.producers.storage.api_key_secrets import Digests, KeySecrets
from penstock.producers.storage.api_keys import ApiKeyReader, StoredKey
from penstock.schemas.api_key import ApiKey, Scope
from penstock.schemas.errors import Code, PenstockError, UnavailableError

_log = logging.getLogger(__name__)

#: How long what PostgreSQL told of a key is believed: a revoked key is refused after this at the latest.
TRUST = timedelta(seconds=1.75)
#: How often the keys in use are read again, so that requests seldom wait for it.
READ_AGAIN_EVERY = timedelta(seconds=0.75)
#: A key that was used within this is in use.
IN_USE = timedelta(seconds=10)
#: How long a key that was refused is refused unasked. Nobody can have guessed one before it was made.
REFUSED_TRUST = timedelta(seconds=5)
#: What looking up a wrong key takes is rounded up to a multiple of this. PostgreSQL takes some microseconds longer to
#: find a row than to find none; behind this nobody can measure them.
REFUSE_EVERY = timedelta(milliseconds=5)
#: Keys that are remembered, and keys that are remembered as refused; a hundred bytes or a few each.
KNOWN_LIMIT, REFUSED_LIMIT = 10_000, 10_000
#: Keys that are read again at once.
READ_AGAIN_LIMIT = 1_000
#: A stop does not wait longer for the last uses to be written.
LAST_WORDS_WITHIN = timedelta(seconds=3)

_SHOW_ONE = "Send `Authorization: Bearer` with a key; an operator makes one by: penstock keys create."

#: Told `hit` (answered from memory), `miss` (looked up) or `stale` (believed although PostgreSQL is away).
Observe = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a tenant, and what it may do.

    Attributes:
        key_id: the key by which it was known; None where the gateway asks for none.
    """

    key_id: UUID | None
    tenant: str
    scopes: frozenset[str]

    @classmethod
    def without_key(cls, tenant: str) -> Self:
        """Whoever reaches a gateway on loopback that asks for no keys: may do everything for `tenant`."""
        return cls(None, tenant, frozenset(Scope))

    def require(self, scope: Scope) -> None:
        """See that this may be done.

        Raises:
            PenstockError: `AUTH_SCOPE_MISSING`, which names the scope.
        """
        if scope not in self.scopes:
            told = f"the API key {self.key_id} lacks the scope {scope}"
            raise PenstockError(Code.AUTH_SCOPE_MISSING, told, details={"scope": str(scope)})


class KeyCheck:
    """Checks keys for one event loop. `async with` it around whatever serves requests.

    A key is refused in the same way whether its prefix is known or not: the same digests, the same query with an answer
    of the same shape, the same comparison, in a time that is rounded up. What is remembered stands under the digest of
    the whole key, so that who tries secrets for a known prefix finds nothing there.

    Args:
        reader: reads keys from PostgreSQL; closed with this.
        secrets: key the digests.
        grace: how long a known key is good since PostgreSQL told of it last, while PostgreSQL is away.
        observe: told how each check was answered.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        reader: ApiKeyReader,
        secrets: KeySecrets,
        grace: timedelta,
        *,
        observe: Observe = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._secrets = secrets
        self._grace = grace
        self._observe = observe
        self._clock = clock
        self._lookups = KeyLookups(reader.read, clock)
        self._known: Recent[bytes, KnownKey] = Recent(KNOWN_LIMIT)
        self._refused: Recent[bytes, float] = Recent(REFUSED_LIMIT)
        self._uses = LastUses()
        self._upkeep: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._upkeep = asyncio.create_task(self._keep_up(), name="penstock-key-upkeep")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait({self._upkeep})
        with suppress(UnavailableError, TimeoutError):
            await asyncio.wait_for(self.write_uses(), LAST_WORDS_WITHIN.total_seconds())
        await self._lookups.close()
        await self._reader.close()

    async def check(self, header: str | None) -> Principal:
        """Who shows this value of the header `Authorization`.

        Raises:
            PenstockError: `AUTH_REQUIRED` where there is none; `AUTH_TOKEN_INVALID` where it is no key, an unknown one
                or a revoked one; `AUTH_TOKEN_EXPIRED`.
            UnavailableError: `STORAGE_UNAVAILABLE`: the key is not known here, and PostgreSQL is away.
        """
        key = _read_header(header)
        digests = self._secrets.digests(key)
        known = await self._find(key.prefix, digests)
        known.used_at = self._clock()
        _require_good(known)
        self._uses.note(known.key.key_id, known.used_at)
        return Principal(known.key.key_id, known.key.tenant, frozenset(known.key.scopes))

    async def read_again(self) -> None:
        """Read the keys in use again, so that what was revoked is known and requests need not wait.

        Raises:
            UnavailableError: `STORAGE_UNAVAILABLE`.
        """
        now = self._clock()
        in_use = [(name, known) for name, known in self._known.items() if now - known.used_at < IN_USE.total_seconds()]
        chunks = [in_use[start : start + READ_AGAIN_LIMIT] for start in range(0, len(in_use), READ_AGAIN_LIMIT)]
        # While PostgreSQL is away it is asked even if nobody asks here: its return is to be noticed.
        for chunk in chunks or ([[]] if self._reader.is_away else []):
            asked_at = self._clock()
            found = await self._reader.read([known.prefix for _, known in chunk])
            for name, known in chunk:
                self._renew(name, known, found[known.prefix], asked_at)

    async def write_uses(self) -> None:
        """Write when keys were used last, those that are due.

        Raises:
            UnavailableError: `STORAGE_UNAVAILABLE`.
        """
        now = self._clock()
        due = self._uses.due(now)
        if due:
            await self._reader.note_uses(due)
            self._uses.wrote(due, now)

    async def _find(self, prefix: str, digests: Digests) -> KnownKey:
        name = digests[self._secrets.current]
        known, now = self._known.get(name), self._clock()
        if known is not None and known.is_newer_than(TRUST, now):
            self._observe("hit")
            return known
        if known is not None and self._reader.is_away and known.is_newer_than(self._grace, now):
            self._observe("stale")
            return known
        if now < (self._refused.get(name) or now):
            self._observe("hit")
            raise _invalid()
        try:
            return await self._look_up(name, prefix, digests)
        except UnavailableError:
            if known is None or not known.is_newer_than(self._grace, self._clock()):
                raise
            self._observe("stale")
            return known

    async def _look_up(self, name: bytes, prefix: str, digests: Digests) -> KnownKey:
        self._observe("miss")
        began = asyncio.get_running_loop().time()
        found = await self._lookups.find(prefix)
        if not self._secrets.match(digests, found.key.secret_id, found.key.digest):
            self._known.drop(name)
            self._refused.put(name, self._clock() + REFUSED_TRUST.total_seconds())
            await _round_off(began)
            raise _invalid()
        known = KnownKey.of(prefix, found, self._clock())
        self._known.put(name, known)
        return known

    def _renew(self, name: bytes, known: KnownKey, found: StoredKey, asked_at: float) -> None:
        """Take over what was read of a known key; forget it where it is another one now, or none."""
        if (found.key_id, found.digest) != (known.key.key_id, known.key.digest):
            self._known.drop(name)
        elif asked_at > known.read_at:
            known.key, known.read_at = found, asked_at

    async def _keep_up(self) -> None:
        was_away = False
        while True:
            await asyncio.sleep(READ_AGAIN_EVERY.total_seconds())
            try:
                await self.read_again()
                await self.write_uses()
            except UnavailableError as error:
                if not was_away:
                    _log.warning("%s; known keys are good for %s", error.message, self._grace)
                was_away = True
            except Exception:
                # Requests read their keys by themselves then; this must go on when the cause is gone.
                _log.exception("reading API keys again failed")
            else:
                if was_away:
                    _log.info("API keys can be looked up again")
                was_away = False


def open_key_check(
    database_url: str, settings: ApiKeySettings, *, observe: Observe = lambda _: None
) -> KeyCheck | None:
    """The check that the settings ask for; None where there is no secret, and so no keys.

    Raises:
        InvalidInputError: `CONFIG_INVALID`.
    """
    if settings.api_key_secret is None:
        return None
    secrets = KeySecrets.from_setting(settings.api_key_secret)
    return KeyCheck(ApiKeyReader(database_url), secrets, settings.api_key_grace, observe=observe)


def _read_header(header: str | None) -> ApiKey:
    if not header:
        raise PenstockError(Code.AUTH_REQUIRED, "the request shows no API key", remedy=_SHOW_ONE)
    scheme, _, text = header.partition(" ")
    key = ApiKey.parse(text.strip(" ")) if scheme.lower() == "bearer" else None
    if key is None:
        raise PenstockError(Code.AUTH_TOKEN_INVALID, "the header Authorization shows no API key", remedy=_SHOW_ONE)
    return key


async def _round_off(began: float) -> None:
    """Wait until what began then, by the loop's clock, has taken a whole number of `REFUSE_EVERY`."""
    step = REFUSE_EVERY.total_seconds()
    taken = asyncio.get_running_loop().time() - began
    await asyncio.sleep(step - taken % step)


def _invalid() -> PenstockError:
    # Nothing here tells whether the prefix is known.
    return PenstockError(Code.AUTH_TOKEN_INVALID, "the API key is none of ours")


def _require_good(known: KnownKey) -> None:
    # Only who has the whole key is told this much.
    details = {"key_id": str(known.key.key_id)}
    if known.key.revoked:
        raise PenstockError(Code.AUTH_TOKEN_INVALID, f"the API key {known.key.key_id} was revoked", details=details)
    if known.is_expired(known.used_at):
        raise PenstockError(Code.AUTH_TOKEN_EXPIRED, f"the API key {known.key.key_id} has expired", details=details)
