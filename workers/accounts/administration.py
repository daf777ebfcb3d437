"""What operators do to accounts. Each change and its audit are one transaction; tokens are in neither."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg

from penstock.producers.queue.audit import OperatorAction, audit_entry
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.schemas.names import require_name
from penstock.schemas.text import is_storable, trim
from penstock.workers.accounts.account import Account, NewAccount
from penstock.workers.accounts.renewal import RENEWALS, renewal_of
from penstock.workers.accounts.rotation import Rotated, rotate
from penstock.workers.accounts.store import GivenTokens, add_account, disable, enable, find_account, reauthorise
from penstock.workers.accounts.token_keys import TokenKeys, Tokens
from penstock.workers.database.operator_actions import is_recorded, record_actions, require_reason
from penstock.workers.database.transaction import Transaction, Transactions

#: Characters of a platform's id of an account, and of the name that people give it.
TEXT_LIMIT = 200
#: Rounds of a rotation, each for what got new tokens in the one before.
ROTATION_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Granted:
    """Tokens that a platform gave just now. `expires_in`: how long the first of them to end lives; None for ever."""

    tokens: Tokens
    expires_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ChangedAccount:
    """An account after a change. `changed`: it was not so before; `released`: posts that waited for it and go now."""

    account: Account
    changed: bool = True
    released: int = 0


_Change = Callable[[psycopg.Connection[Any]], ChangedAccount]


class AccountAdministration:
    """Adds and changes accounts. Safe to share between threads.

    Each method raises:
        InvalidInputError: `REQUEST_USAGE` without name or reason.
        NotFoundError: `ACCOUNT_NOT_FOUND`.
        PenstockError: of the family `STORAGE_`; nothing has changed then, unless the answer to COMMIT was lost.

    Args:
        transactions: one for each change.
        clock: now, aware; tells when tokens end.
    """

    def __init__(self, transactions: Transactions, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._transactions = transactions
        self._clock = clock

    def add(
        self, who_and_why: tuple[str, str], tenant: str, account: NewAccount, keys: TokenKeys, granted: Granted
    ) -> ChangedAccount:
        """Add an account, active.

        Raises:
            InvalidInputError: `ACCOUNT_INVALID_PLATFORM`, or `REQUEST_USAGE` for an owner, id or name that is none.
            ConflictError: `ACCOUNT_CONFLICT` where the tenant has it already.
        """
        known = _require_usable(account)
        tokens = self._given(known.account_id, known.platform, keys, granted)

        def change(connection: psycopg.Connection[Any]) -> ChangedAccount:
            add_account(connection, tenant, known, tokens)
            return ChangedAccount(_found(connection, tenant, known.account_id))

        return self._decide("add", who_and_why, tenant, known.account_id, change)

    def reauthorise(
        self, who_and_why: tuple[str, str], tenant: str, account_id: UUID, keys: TokenKeys, granted: Granted
    ) -> ChangedAccount:
        """Give an account new tokens and take it into use again, whatever kept it; its posts that waited go."""

        def change(connection: psycopg.Connection[Any]) -> ChangedAccount:
            platform = _found(connection, tenant, account_id).platform
            released = reauthorise(connection, tenant, account_id, self._given(account_id, platform, keys, granted))
            return ChangedAccount(_found(connection, tenant, account_id), released=released)

        return self._decide("reauthorize", who_and_why, tenant, account_id, change)

    def disable(self, who_and_why: tuple[str, str], tenant: str, account_id: UUID) -> ChangedAccount:
        """Take an account out of use; its posts wait."""

        def change(connection: psycopg.Connection[Any]) -> ChangedAccount:
            changed = disable(connection, tenant, account_id)
            return ChangedAccount(_found(connection, tenant, account_id), changed)

        return self._decide("disable", who_and_why, tenant, account_id, change)

    def enable(self, who_and_why: tuple[str, str], tenant: str, account_id: UUID) -> ChangedAccount:
        """Take an account into use again that was disabled; its posts that waited go."""

        def change(connection: psycopg.Connection[Any]) -> ChangedAccount:
            changed = enable(connection, tenant, account_id)
            return ChangedAccount(_found(connection, tenant, account_id), changed)

        return self._decide("enable", who_and_why, tenant, account_id, change)

    def rotate_keys(self, who_and_why: tuple[str, str], keys: TokenKeys, on_progress: Callable[[int], None]) -> Rotated:
        """Encrypt all tokens of all tenants with the current key; that it was begun is recorded before.

        What got new tokens meanwhile is met by another round, a few times.

        Args:
            who_and_why: name and reason.
            keys: the current one first, and all that tokens may be encrypted with.
            on_progress: told how many accounts were changed so far.
        """
        by, reason = require_reason(*who_and_why)
        entry = audit_entry(by, "account.rotate_keys", keys.current, reason)
        self._transactions.run(lambda transaction: record_actions(transaction.connection, [entry]))
        changed = 0
        for _ in range(ROTATION_ROUNDS):
            done = rotate(self._transactions, keys, on_progress=on_progress)
            changed += done.changed
            if not done.changed_meanwhile:
                break
        return replace(done, changed=changed)

    def _given(self, account_id: UUID, platform: str, keys: TokenKeys, granted: Granted) -> GivenTokens:
        now = self._clock()
        expires_at = None if granted.expires_in is None else now + granted.expires_in
        due_at = renewal_of(platform).due_at(now, expires_at)
        return GivenTokens(keys.seal(account_id, granted.tokens), expires_at, due_at)

    def _decide(
        self, action: str, who_and_why: tuple[str, str], tenant: str, account_id: UUID, change: _Change
    ) -> ChangedAccount:
        by, reason = require_reason(*who_and_why)
        entry = audit_entry(by, f"account.{action}", str(account_id), reason, {"tenant": tenant})
        changed: ChangedAccount | None = None

        def work(transaction: Transaction) -> ChangedAccount:
            nonlocal changed
            connection = transaction.connection
            if changed is not None and is_recorded(connection, entry):
                return changed
            before = find_account(connection, tenant, account_id)
            changed = change(connection)
            if changed.changed:
                _record(connection, entry, before, changed)
            return changed

        return self._transactions.run(work)


def _record(
    connection: psycopg.Connection[Any], entry: OperatorAction, before: Account | None, after: ChangedAccount
) -> None:
    account = after.account
    difference = {
        "platform": account.platform,
        "external_id": account.external_id,
        "from": None if before is None else before.state,
        "to": account.state,
        "released": after.released,
    }
    record_actions(connection, [replace(entry, details={**entry.details, **difference})])


def _found(connection: psycopg.Connection[Any], tenant: str, account_id: UUID) -> Account:
    found = find_account(connection, tenant, account_id)
    if found is None:
        raise NotFoundError(Code.ACCOUNT_NOT_FOUND, f"there is no account {account_id}")
    return found


def new_account(platform: str, external_id: str, name: str, owner: str) -> NewAccount:
    """An account with an id of its own, to be added."""
    return NewAccount(uuid4(), owner, platform, external_id, name, {})


def _require_usable(account: NewAccount) -> NewAccount:
    if account.platform not in RENEWALS:
        told = f"no platform {account.platform[:50]!r}; there are {', '.join(sorted(RENEWALS))}"
        raise InvalidInputError(Code.ACCOUNT_INVALID_PLATFORM, told)
    require_name(account.owner, Code.REQUEST_USAGE, "an owner")
    external_id, name = trim(account.external_id), trim(account.name)
    for what, text in (("id at the platform", external_id), ("name", name)):
        if not text or len(text) > TEXT_LIMIT or not is_storable(text):
            raise InvalidInputError(Code.REQUEST_USAGE, f"an account's {what} has 1 to {TEXT_LIMIT} characters")
    return replace(account, external_id=external_id, name=name)
