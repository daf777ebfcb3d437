"""Who refreshes an account's token: one at a time in the whole cluster, by a lease in the account's row.

A lease has a fence: a number that grows with each lease and each authorisation. What its holder brings is taken only
while the fence is the account's latest, so a holder that was stopped for longer than its lease can change nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from penstock.schemas.errors import Code, NotFoundError
from penstock.workers.accounts.account import AccountState, Authorisation
from penstock.workers.accounts.store import AccountGate, GivenTokens, authorisation_of
from penstock.workers.accounts.token_keys import TokenKeys

#: Longer than an exchange of tokens can take.
LEASE = timedelta(seconds=60)

# By PostgreSQL's clock, since those of workers may differ.
_TAKE = """
UPDATE penstock.social_accounts
   SET refresh_lease_until = clock_timestamp() + %(span)s, refresh_lease_by = %(holder)s,
       refresh_fence = refresh_fence + 1
 WHERE account_id = %(account_id)s AND state = 'active'
   AND (refresh_lease_until IS NULL OR refresh_lease_until < clock_timestamp())
   AND (%(seen)s::bigint IS NULL OR tokens_version = %(seen)s)
RETURNING platform, external_id, key_id, token_ciphertext, refresh_token_ciphertext, tokens_version, token_expires_at,
       refresh_fence
"""
_LOOK = """
SELECT state, state_code, tokens_version,
       greatest(refresh_lease_until - clock_timestamp(), INTERVAL '0') AS lease_left
  FROM penstock.social_accounts WHERE account_id = %s
"""
_RENEW = """
UPDATE penstock.social_accounts
   SET token_ciphertext = %(access)s, refresh_token_ciphertext = %(refresh)s, key_id = %(key_id)s,
       tokens_version = tokens_version + 1, token_expires_at = %(expires_at)s, refresh_due_at = %(due_at)s,
       refreshed_at = now(), refresh_lease_until = NULL, refresh_lease_by = NULL, refresh_code = NULL,
       updated_at = now()
 WHERE account_id = %(account_id)s AND refresh_fence = %(fence)s
RETURNING tokens_version
"""
# The calendar's next try; who refreshes when a token is used comes back by himself.
_GIVE_BACK = """
UPDATE penstock.social_accounts
   SET refresh_lease_until = NULL, refresh_lease_by = NULL, refresh_code = %(code)s, updated_at = now(),
       refresh_due_at = CASE WHEN refresh_due_at IS NOT NULL THEN %(again_at)s END
 WHERE account_id = %(account_id)s AND refresh_fence = %(fence)s
"""
_END = """
UPDATE penstock.social_accounts
   SET state = 'reauthorize', state_code = %(code)s, state_changed_at = now(), refresh_lease_until = NULL,
       refresh_lease_by = NULL, refresh_code = %(code)s, updated_at = now()
 WHERE account_id = %(account_id)s AND refresh_fence = %(fence)s AND state = 'active'
"""
_PUT_OFF = """
UPDATE penstock.social_accounts SET refresh_due_at = %(again_at)s, refresh_code = %(code)s, updated_at = now()
 WHERE account_id = %(account_id)s AND tokens_version = %(seen)s AND refresh_due_at IS NOT NULL
"""
_DUE = """
SELECT account_id, platform, tokens_version FROM penstock.social_accounts
 WHERE state = 'active' AND refresh_due_at <= %(now)s
   AND (refresh_lease_until IS NULL OR refresh_lease_until < clock_timestamp())
 ORDER BY refresh_due_at, account_id
 LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class RefreshLease:
    """The right to refresh an account's tokens, until `LEASE` after it was taken."""

    authorisation: Authorisation
    fence: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else refreshes them. `lease_left` is the longest that this can last."""

    lease_left: timedelta


@dataclass(frozen=True, slots=True)
class Newer:
    """Newer tokens than those that were seen are there: read them."""

    version: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The account is not active, and nobody refreshes its tokens."""

    gate: AccountGate


def take_lease(
    connection: psycopg.Connection[Any], keys: TokenKeys, account_id: UUID, holder: str, seen: int | None
) -> RefreshLease | Busy | Newer | Closed:
    """Take the lease of an account. Commit before anything is asked of the platform.

    Args:
        connection: within a transaction.
        keys: open the tokens.
        account_id: whose tokens are to be refreshed.
        holder: who asks, for people who look at the row.
        seen: the version of the tokens that did not do; None to refresh whatever is there.

    Raises:
        NotFoundError: `ACCOUNT_NOT_FOUND`.
        PenstockError: `ACCOUNT_TOKEN_UNREADABLE`; roll back, so that the lease is not taken.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        parameters = {"account_id": account_id, "holder": holder, "seen": seen, "span": LEASE}
        row = cursor.execute(_TAKE, parameters).fetchone()
        if row is not None:
            return RefreshLease(authorisation_of(keys, account_id, row), row["refresh_fence"])
        row = cursor.execute(_LOOK, (account_id,)).fetchone()
    if row is None:
        raise NotFoundError(Code.ACCOUNT_NOT_FOUND, f"there is no account {account_id}")
    gate = AccountGate(AccountState(row["state"]), row["state_code"])
    if not gate.is_open:
        return Closed(gate)
    if seen is not None and row["tokens_version"] != seen:
        return Newer(row["tokens_version"])
    # Without one, it was given back between the two statements.
    return Busy(row["lease_left"] or timedelta())


def store_renewed(connection: psycopg.Connection[Any], lease: RefreshLease, tokens: GivenTokens) -> int | None:
    """Store what the exchange brought and end the lease; the new version, or None where the lease is not the latest."""
    parameters = tokens.as_parameters() | _of(lease)
    row = connection.execute(_RENEW, parameters).fetchone()
    return None if row is None else int(row[0])


def give_back(connection: psycopg.Connection[Any], lease: RefreshLease, code: Code, again_at: datetime) -> bool:
    """End the lease without new tokens; the calendar comes again at an instant. False where it is not the latest."""
    parameters = _of(lease) | {"code": code, "again_at": again_at}
    return connection.execute(_GIVE_BACK, parameters).rowcount == 1


def end_authorisation(connection: psycopg.Connection[Any], lease: RefreshLease, code: Code) -> bool:
    """End the lease, and have the account wait for a person. False where the lease is not the latest."""
    return connection.execute(_END, _of(lease) | {"code": code}).rowcount == 1


def put_off(connection: psycopg.Connection[Any], account_id: UUID, seen: int, code: Code, again_at: datetime) -> None:
    """Have the calendar come again later to an account whose tokens, of version `seen`, could not even be opened."""
    connection.execute(_PUT_OFF, {"account_id": account_id, "seen": seen, "code": code, "again_at": again_at})


def due_refreshes(connection: psycopg.Connection[Any], now: datetime, limit: int = 100) -> list[tuple[UUID, str, int]]:
    """The accounts that the calendar has refreshed by now, their platforms, and the versions of their tokens."""
    return connection.execute(_DUE, {"now": now, "limit": limit}).fetchall()


def _of(lease: RefreshLease) -> dict[str, Any]:
    return {"account_id": lease.authorisation.account_id, "fence": lease.fence}
