"""Refreshing an account's tokens: lease, exchange, store."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.accounts.account import Authorisation
from penstock.workers.accounts.leases import (
    Busy,
    Closed,
    Newer,
    RefreshLease,
    due_refreshes,
    end_authorisation,
    give_back,
    put_off,
    store_renewed,
    take_lease,
)
from penstock.workers.accounts.renewal import RETRY_AFTER, renewal_of
from penstock.workers.accounts.store import GivenTokens
from penstock.workers.accounts.token_keys import TokenKeys, Tokens
from penstock.workers.database.transaction import Transactions

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Renewed:
    """The platform gave new tokens; without a refresh token among them the old one stays. No end: `expires_at` None."""

    tokens: Tokens
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The platform will never give new tokens for these: a person must authorise the account anew."""

    code: Code = Code.ACCOUNT_TOKEN_EXPIRED


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer, or one that may be another one later."""

    code: Code
    retry_after: timedelta | None = None


#: Asks a platform for new tokens. It ends well within `leases.LEASE`, and tells what it got instead of raising.
Exchange = Callable[[Authorisation], Renewed | Refused | Unanswered]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """New tokens are stored, by this call or another one's: read them. `version` is theirs."""

    version: int


@dataclass(frozen=True, slots=True)
class NotNow:
    """No new tokens, for a reason that passes: come again after a while, at no cost. No code: another one is at it."""

    code: Code | None
    retry_after: timedelta


@dataclass(frozen=True, slots=True)
class AuthorisationEnded:
    """The account waits for a person or is disabled; its posts are to be parked."""

    code: str | None


class DueOutcome(StrEnum):
    """What became of an account that the calendar has refreshed."""

    REFRESHED = "refreshed"
    #: A person must authorise it anew, or it is disabled.
    ENDED = "ended"
    #: The platform gave no tokens now; it is asked again.
    UNANSWERED = "unanswered"
    #: Another process is at it.
    BUSY = "busy"
    #: No key opens its tokens.
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class DueRefresh:
    """An account that the calendar has refreshed, and what became of it."""

    account_id: UUID
    platform: str
    outcome: DueOutcome


#: Tokens that no key opens are tried again after this: a process with the key may have them by then.
UNREADABLE_AGAIN = timedelta(hours=1)
#: How soon to look again whether another process has refreshed the tokens: it takes about a second.
LOOK_AGAIN = timedelta(seconds=2)


class TokenRefresh:
    """Refreshes tokens, one account at a time in the whole cluster. Safe to share between threads.

    Args:
        transactions: run each step by itself; the exchange is made outside of them.
        keys: open and seal tokens.
        exchanges: by platform.
        holder: names this process, for people who look at the row of an account.
        clock: now, aware.
    """

    def __init__(
        self,
        transactions: Transactions,
        keys: TokenKeys,
        exchanges: Mapping[str, Exchange],
        holder: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._transactions = transactions
        self._keys = keys
        self._exchanges = exchanges
        self._holder = holder
        self._clock = clock

    def refresh(self, account_id: UUID, seen: int | None = None) -> Refreshed | NotNow | AuthorisationEnded:
        """See that newer tokens are there than those of version `seen`.

        Raises:
            NotFoundError: `ACCOUNT_NOT_FOUND`.
            PenstockError: `ACCOUNT_TOKEN_UNREADABLE`, or of the `STORAGE_` family.
        """
        taken = self._transactions.run(
            lambda transaction: take_lease(transaction.connection, self._keys, account_id, self._holder, seen)
        )
        match taken:
            case RefreshLease():
                return self._exchange(taken)
            case Newer(version):
                return Refreshed(version)
            case Closed(gate):
                return AuthorisationEnded(gate.code)
            case Busy(lease_left):
                return NotNow(None, min(lease_left, LOOK_AGAIN))

    def refresh_due(self, limit: int = 100) -> list[DueRefresh]:
        """Refresh what the calendar says, one after the other; returns what became of each.

        Tokens that can't be opened are told of and put off, so that they are in nobody's way.

        Raises:
            PenstockError: of the `STORAGE_` family.
        """
        now = self._clock()
        due = self._transactions.run(lambda transaction: due_refreshes(transaction.connection, now, limit))
        return [
            DueRefresh(account_id, platform, self._refresh_due(account_id, seen)) for account_id, platform, seen in due
        ]

    def _refresh_due(self, account_id: UUID, seen: int) -> DueOutcome:
        try:
            answer = self.refresh(account_id, seen)
        except PenstockError as error:
            if error.code is not Code.ACCOUNT_TOKEN_UNREADABLE:
                raise
            _log.error("%s", error.message, extra={"code": error.code})
            self._put_off(account_id, seen)
            return DueOutcome.UNREADABLE
        match answer:
            case Refreshed():
                return DueOutcome.REFRESHED
            case AuthorisationEnded():
                return DueOutcome.ENDED
            case NotNow(code):
                return DueOutcome.BUSY if code is None else DueOutcome.UNANSWERED

    def _put_off(self, account_id: UUID, seen: int) -> None:
        again_at = self._clock() + UNREADABLE_AGAIN
        code = Code.ACCOUNT_TOKEN_UNREADABLE
        self._transactions.run(lambda transaction: put_off(transaction.connection, account_id, seen, code, again_at))

    def _exchange(self, lease: RefreshLease) -> Refreshed | NotNow | AuthorisationEnded:
        exchange = self._exchanges.get(lease.authorisation.platform)
        if exchange is None:
            # Nothing renews such a token, so only a person can.
            return self._end(lease, Refused())
        try:
            answer = exchange(lease.authorisation)
        except Exception:
            self._give_back(lease, Unanswered(Code.INTERNAL_ERROR))
            raise
        match answer:
            case Renewed():
                return self._store(lease, answer)
            case Refused():
                return self._end(lease, answer)
            case Unanswered():
                return self._give_back(lease, answer)

    def _store(self, lease: RefreshLease, renewed: Renewed) -> Refreshed | NotNow:
        before = lease.authorisation
        tokens = Tokens(renewed.tokens.access, renewed.tokens.refresh or before.tokens.refresh)
        given = GivenTokens(
            self._keys.seal(before.account_id, tokens),
            renewed.expires_at,
            renewal_of(before.platform).due_at(self._clock(), renewed.expires_at),
        )
        version = self._transactions.run(lambda transaction: store_renewed(transaction.connection, lease, given))
        if version is None:
            _log.warning("the lease to refresh the account %s was over before its tokens came", before.account_id)
            return NotNow(Code.PLATFORM_API_TIMEOUT, LOOK_AGAIN)
        _log.info("refreshed the tokens of the account %s of %s", before.account_id, before.platform)
        return Refreshed(version)

    def _end(self, lease: RefreshLease, refused: Refused) -> AuthorisationEnded | NotNow:
        ended = self._transactions.run(
            lambda transaction: end_authorisation(transaction.connection, lease, refused.code)
        )
        if not ended:
            return NotNow(refused.code, LOOK_AGAIN)
        account = lease.authorisation
        _log.error(
            "the account %s of %s must be authorised anew (%s); its posts wait",
            account.account_id,
            account.platform,
            refused.code,
        )
        return AuthorisationEnded(refused.code)

    def _give_back(self, lease: RefreshLease, answer: Unanswered) -> NotNow:
        wait = RETRY_AFTER if answer.retry_after is None else answer.retry_after
        again_at = self._clock() + wait
        self._transactions.run(lambda transaction: give_back(transaction.connection, lease, answer.code, again_at))
        account = lease.authorisation
        _log.warning("no new tokens for the account %s of %s (%s)", account.account_id, account.platform, answer.code)
        return NotNow(answer.code, wait)
