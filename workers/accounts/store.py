"""Accounts in PostgreSQL: `penstock.social_accounts`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from penstock.producers.storage.posts_parked import release_parked
from penstock.schemas.errors import Code, ConflictError, NotFoundError
from penstock.workers.accounts.account import Account, AccountState, Authorisation, NewAccount
from penstock.workers.accounts.token_keys import SealedTokens, TokenKeys

_COLUMNS = """
    account_id, tenant, owner, platform, external_id, name, state, state_code, state_changed_at, key_id, tokens_version,
    token_expires_at, refresh_due_at, refreshed_at, refresh_code, metadata, created_at
"""

_ADD = """
INSERT INTO penstock.social_accounts
       (account_id, tenant, owner, platform, external_id, name, metadata, token_ciphertext, refresh_token_ciphertext,
        key_id, token_expires_at, refresh_due_at)
VALUES (%(account_id)s, %(tenant)s, %(owner)s, %(platform)s, %(external_id)s, %(name)s, %(metadata)s, %(access)s,
        %(refresh)s, %(key_id)s, %(expires_at)s, %(due_at)s)
ON CONFLICT DO NOTHING
"""

# Absent filters are NULL. Ids order the page; owner and platform have an index that does.
_LIST = f"""
SELECT {_COLUMNS} FROM penstock.social_accounts
 WHERE tenant = %(tenant)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)
   AND (%(platform)s::text IS NULL OR platform = %(platform)s) AND (%(state)s::text IS NULL OR state = %(state)s)
   AND (%(after)s::uuid IS NULL OR account_id > %(after)s)
 ORDER BY account_id
 LIMIT %(limit)s
"""

# A new fence: a refresh that is under way began with a token that is of no use any more.
_REAUTHORISE = """
UPDATE penstock.social_accounts
   SET state = 'active', state_code = NULL, state_changed_at = now(), token_ciphertext = %(access)s,
       refresh_token_ciphertext = %(refresh)s, key_id = %(key_id)s, tokens_version = tokens_version + 1,
       token_expires_at = %(expires_at)s, refresh_due_at = %(due_at)s, refreshed_at = now(), refresh_code = NULL,
       refresh_lease_until = NULL, refresh_lease_by = NULL, refresh_fence = refresh_fence + 1, updated_at = now()
 WHERE tenant = %(tenant)s AND account_id = %(account_id)s
"""

_DEAD = """
UPDATE penstock.social_accounts
   SET state = 'reauthorize', state_code = %(code)s, state_changed_at = now(), updated_at = now()
 WHERE account_id = %(account_id)s AND state = 'active' AND tokens_version = %(seen)s
"""

_DISABLE = """
UPDATE penstock.social_accounts
   SET state = 'disabled', state_code = 'ACCOUNT_DISABLED', state_changed_at = now(), updated_at = now()
 WHERE tenant = %s AND account_id = %s AND state <> 'disabled'
"""
_ENABLE = """
UPDATE penstock.social_accounts
   SET state = 'active', state_code = NULL, state_changed_at = now(), updated_at = now()
 WHERE tenant = %s AND account_id = %s AND state = 'disabled'
"""


@dataclass(frozen=True, slots=True)
class GivenTokens:
    """Sealed tokens that a platform gave, until when they live, and when the calendar has them refreshed."""

    sealed: SealedTokens
    expires_at: datetime | None
    due_at: datetime | None

    def as_parameters(self) -> dict[str, Any]:
        """The parameters of the statements that store them."""
        return {
            "access": self.sealed.access,
            "refresh": self.sealed.refresh,
            "key_id": self.sealed.key_id,
            "expires_at": self.expires_at,
            "due_at": self.due_at,
        }


@dataclass(frozen=True, slots=True)
class AccountGate:
    """Whether posts of an account may go out now, and why not."""

    state: AccountState
    code: str | None = None

    @property
    def is_open(self) -> bool:
        """True where they may."""
        return self.state is AccountState.ACTIVE


def add_account(connection: psycopg.Connection[Any], tenant: str, account: NewAccount, tokens: GivenTokens) -> None:
    """Add an account, active.

    Raises:
        ConflictError: `ACCOUNT_CONFLICT` where the tenant has it already.
    """
    parameters = tokens.as_parameters() | {
        "account_id": account.account_id,
        "tenant": tenant,
        "owner": account.owner,
        "platform": account.platform,
        "external_id": account.external_id,
        "name": account.name,
        "metadata": Jsonb(account.metadata),
    }
    if connection.execute(_ADD, parameters).rowcount == 0:
        told = f"the tenant {tenant!r} has the account {account.external_id!r} of {account.platform} already"
        raise ConflictError(Code.ACCOUNT_CONFLICT, told)


def find_account(connection: psycopg.Connection[Any], tenant: str, account_id: UUID) -> Account | None:
    """One account of a tenant."""
    with connection.cursor(row_factory=class_row(Account)) as cursor:
        statement = f"SELECT {_COLUMNS} FROM penstock.social_accounts WHERE tenant = %s AND account_id = %s"
        return cursor.execute(statement, (tenant, account_id)).fetchone()


def platform_of(connection: psycopg.Connection[Any], tenant: str, account_id: UUID) -> str | None:
    """The platform of an account of a tenant, which never changes; None where there is no such account."""
    row = connection.execute(
        "SELECT platform FROM penstock.social_accounts WHERE tenant = %s AND account_id = %s", (tenant, account_id)
    ).fetchone()
    return None if row is None else str(row[0])


def list_accounts(
    connection: psycopg.Connection[Any],
    tenant: str,
    *,
    owner: str | None = None,
    platform: str | None = None,
    state: AccountState | None = None,
    after: UUID | None = None,
    limit: int = 100,
) -> list[Account]:
    """A page of a tenant's accounts by id, those after `after`."""
    parameters = {"tenant": tenant, "owner": owner, "platform": platform, "state": state, "after": after}
    with connection.cursor(row_factory=class_row(Account)) as cursor:
        return cursor.execute(_LIST, parameters | {"limit": limit}).fetchall()


def find_by_reference(connection: psycopg.Connection[Any], tenant: str, platform: str, reference: str) -> list[Account]:
    """The account of that id at the platform; where there is none, those of that name."""
    named = f"SELECT {_COLUMNS} FROM penstock.social_accounts WHERE tenant = %s AND platform = %s AND "
    with connection.cursor(row_factory=class_row(Account)) as cursor:
        for column in ("external_id", "name"):
            statement = f"{named} {column} = %s ORDER BY account_id LIMIT 2"
            found = cursor.execute(statement.encode(), (tenant, platform, reference)).fetchall()
            if found:
                return found
    return []


def account_gate(connection: psycopg.Connection[Any], account_id: UUID) -> AccountGate:
    """Whether posts of the account may go out. Asked before each step; the post is parked where they may not.

    Raises:
        NotFoundError: `ACCOUNT_NOT_FOUND`.
    """
    found = connection.cursor(row_factory=dict_row).execute(
        "SELECT state, state_code FROM penstock.social_accounts WHERE account_id = %s", (account_id,)
    )
    row = found.fetchone()
    if row is None:
        raise _not_found(account_id)
    return AccountGate(AccountState(row["state"]), row["state_code"])


def inactive_among(connection: psycopg.Connection[Any], account_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the accounts whose posts may not go out.

    Their rows stay locked until the caller's transaction ends, so that what it parks can't miss a release: an account
    becomes active either before this, and is not among them, or after the posts are parked.
    """
    # In one order everywhere, so that two transactions can't wait for each other.
    found = connection.execute(
        "SELECT account_id FROM penstock.social_accounts WHERE account_id = ANY(%s) AND state <> 'active'"
        " ORDER BY account_id FOR SHARE",
        (list(account_ids),),
    )
    return {row[0] for row in found}


def load_authorisation(connection: psycopg.Connection[Any], keys: TokenKeys, account_id: UUID) -> Authorisation:
    """The account with its tokens, to be used at once and kept nowhere.

    Raises:
        NotFoundError: `ACCOUNT_NOT_FOUND`.
        PenstockError: `ACCOUNT_TOKEN_UNREADABLE`.
    """
    row = (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT platform, external_id, key_id, token_ciphertext, refresh_token_ciphertext, tokens_version,"
            " token_expires_at FROM penstock.social_accounts WHERE account_id = %s",
            (account_id,),
        )
        .fetchone()
    )
    if row is None:
        raise _not_found(account_id)
    return authorisation_of(keys, account_id, row)


def authorisation_of(keys: TokenKeys, account_id: UUID, row: dict[str, Any]) -> Authorisation:
    """What a row with an account's ciphertexts says."""
    sealed = SealedTokens(row["key_id"], row["token_ciphertext"], row["refresh_token_ciphertext"])
    return Authorisation(
        account_id,
        row["platform"],
        row["external_id"],
        keys.open(account_id, sealed),
        row["tokens_version"],
        row["token_expires_at"],
    )


def require_reauthorisation(connection: psycopg.Connection[Any], account_id: UUID, seen: int, code: Code) -> bool:
    """Note that the platform takes the tokens of version `seen` no more and that none can be had but from a person.

    False where newer tokens are there meanwhile, or the account is not active: nothing changes then.
    """
    parameters = {"account_id": account_id, "seen": seen, "code": code}
    return connection.execute(_DEAD, parameters).rowcount == 1


def reauthorise(connection: psycopg.Connection[Any], tenant: str, account_id: UUID, tokens: GivenTokens) -> int:
    """Give the account new tokens and let its parked posts go, in the order of their instants; returns how many.

    Raises:
        NotFoundError: `ACCOUNT_NOT_FOUND`.
    """
    parameters = tokens.as_parameters() | {"tenant": tenant, "account_id": account_id}
    if connection.execute(_REAUTHORISE, parameters).rowcount == 0:
        raise _not_found(account_id)
    return release_parked(connection, account_id)


def disable(connection: psycopg.Connection[Any], tenant: str, account_id: UUID) -> bool:
    """Take the account out of use; False where it is so already or is not there."""
    return connection.execute(_DISABLE, (tenant, account_id)).rowcount == 1


def enable(connection: psycopg.Connection[Any], tenant: str, account_id: UUID) -> bool:
    """Take the account into use again and let its parked posts go; False where it is not disabled or not there."""
    if connection.execute(_ENABLE, (tenant, account_id)).rowcount == 0:
        return False
    release_parked(connection, account_id)
    return True


def _not_found(account_id: UUID) -> NotFoundError:
    return NotFoundError(Code.ACCOUNT_NOT_FOUND, f"there is no account {account_id}")
