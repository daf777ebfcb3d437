"""The tokens that a run speaks with: read, renewed before their end, refreshed where they were refused."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.accounts.account import Authorisation
from penstock.workers.accounts.exchanges import Exchanges
from penstock.workers.accounts.refresh import AuthorisationEnded, NotNow, Refreshed, TokenRefresh
from penstock.workers.accounts.renewal import renewal_of
from penstock.workers.accounts.store import account_gate, load_authorisation, require_reauthorisation
from penstock.workers.accounts.token_keys import TokenKeys
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.platforms.catalogue import Platforms

_log = logging.getLogger(__name__)

#: How soon to look again where an operator has something to mend: a missing key.
MEND_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Wait:
    """No tokens now; come again after `delay`, at no cost."""

    delay: timedelta
    error: PenstockError | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The account is not active: its posts wait for a person."""


class Authoriser:
    """Gives the tokens of accounts. Safe to share between threads.

    Args:
        transactions: run each step by itself.
        keys: the setting `PENSTOCK_TOKEN_KEYS`. Without it every account waits, and the other kinds of a worker run.
        platforms: refresh tokens.
        holder: names this process, for people who look at the row of an account.
        clock: now, aware.
    """

    def __init__(
        self,
        transactions: Transactions,
        keys: str | None,
        platforms: Platforms,
        holder: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._missing: InvalidInputError | None = None
        try:
            self._keys = TokenKeys.from_setting(keys)
        except InvalidInputError as error:
            if keys:
                raise
            self._missing = error
            return
        exchanges = Exchanges(platforms.tokens, clock)
        self._refresh = TokenRefresh(transactions, self._keys, exchanges.by_platform(), holder, clock)

    def authorise(self, account_id: UUID) -> Authorisation | Wait | Closed:
        """The tokens of an account, good for some minutes at least where the platform can be had to renew them.

        Raises:
            NotFoundError: `ACCOUNT_NOT_FOUND`.
            PenstockError: of the `STORAGE_` family.
        """
        if self._missing is not None:
            return Wait(MEND_AFTER, self._missing)
        try:
            found = self._transactions.run(lambda transaction: self._load(transaction, account_id))
        except PenstockError as error:
            if error.code != Code.ACCOUNT_TOKEN_UNREADABLE:
                raise
            return Wait(MEND_AFTER, error)
        if isinstance(found, Closed) or not self._ends_soon(found):
            return found
        renewed = self.renew(found)
        if isinstance(renewed, Wait) and found.expires_at is not None and found.expires_at > self._clock():
            return found
        return renewed

    def renew(self, refused: Authorisation) -> Authorisation | Wait | Closed:
        """Newer tokens than those that were refused or are about to end. Raises as `authorise`."""
        match self._refresh.refresh(refused.account_id, refused.version):
            case Refreshed():
                return self._transactions.run(lambda transaction: self._load(transaction, refused.account_id))
            case NotNow(retry_after=retry_after):
                return Wait(retry_after)
            case AuthorisationEnded():
                return Closed()

    def end(self, refused: Authorisation, code: Code) -> None:
        """Note that the platform takes these tokens no more, and that a person has to authorise the account anew."""
        ended = self._transactions.run(
            lambda transaction: require_reauthorisation(
                transaction.connection, refused.account_id, refused.version, code
            )
        )
        if ended:
            told = "the account %s of %s must be authorised anew (%s); its posts wait"
            _log.error(told, refused.account_id, refused.platform, code, extra={"code": code})

    def _load(self, transaction: Transaction, account_id: UUID) -> Authorisation | Closed:
        if not account_gate(transaction.connection, account_id).is_open:
            return Closed()
        return load_authorisation(transaction.connection, self._keys, account_id)

    def _ends_soon(self, found: Authorisation) -> bool:
        return found.wants_renewal(self._clock(), renewal_of(found.platform).before_use)
