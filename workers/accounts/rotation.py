"""Encrypting all tokens anew with the current key, while they are used and refreshed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.accounts.token_keys import SealedTokens, TokenKeys
from penstock.workers.database.transaction import Transaction, Transactions

_log = logging.getLogger(__name__)

#: Accounts of one transaction.
CHUNK = 100

# No lock is held while keys are used: what changed meanwhile is met by the comparison of ciphertexts below.
_OTHERS = """
SELECT account_id, key_id, token_ciphertext, refresh_token_ciphertext FROM penstock.social_accounts
 WHERE key_id <> %(current)s AND (%(after)s::uuid IS NULL OR account_id > %(after)s)
 ORDER BY account_id
 LIMIT %(limit)s
"""
# No ciphertext is made twice, so the one that was read says that nothing has changed. The tokens are the same, and so
# is their version.
_REPLACE = """
UPDATE penstock.social_accounts
   SET token_ciphertext = %(access)s, refresh_token_ciphertext = %(refresh)s, key_id = %(key_id)s, updated_at = now()
 WHERE account_id = %(account_id)s AND token_ciphertext = %(old_access)s
   AND refresh_token_ciphertext IS NOT DISTINCT FROM %(old_refresh)s
"""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did. `changed_meanwhile` had new tokens stored at that moment; run it again for them."""

    changed: int
    changed_meanwhile: int
    unreadable: tuple[UUID, ...]

    @property
    def is_complete(self) -> bool:
        """Whether no token needs an older key any more."""
        return not self.changed_meanwhile and not self.unreadable


def rotate(
    transactions: Transactions,
    keys: TokenKeys,
    chunk: int = CHUNK,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Rotated:
    """Encrypt with the current key whatever another one encrypted, `chunk` accounts a transaction.

    It can be interrupted and run again, and by several at once. Keys that are older may be removed when `is_complete`
    was true, and every process has the current key in the first place. `on_progress` is told, after each chunk, how
    many accounts were changed so far.

    Raises:
        PenstockError: of the `STORAGE_` family; what was committed stands.
    """
    changed, missed = 0, 0
    unreadable: list[UUID] = []
    after: UUID | None = None
    while True:
        found, last = transactions.run(partial(_rotate_chunk, keys=keys, after=after, limit=chunk))
        changed, missed = changed + found.changed, missed + found.changed_meanwhile
        unreadable += found.unreadable
        on_progress(changed)
        if last is None:
            return Rotated(changed, missed, tuple(unreadable))
        after = last


def _rotate_chunk(
    transaction: Transaction, keys: TokenKeys, after: UUID | None, limit: int
) -> tuple[Rotated, UUID | None]:
    """Rotate some accounts; tells the last one of them, or None where no more are left."""
    with transaction.connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_OTHERS, {"current": keys.current, "after": after, "limit": limit}).fetchall()
    done = [_rotate_one(transaction.connection, keys, row) for row in rows]
    unreadable = tuple(row["account_id"] for row, result in zip(rows, done, strict=True) if result is None)
    counts = Rotated(done.count(True), done.count(False), unreadable)
    return counts, rows[-1]["account_id"] if rows else None


def _rotate_one(connection: psycopg.Connection[Any], keys: TokenKeys, row: dict[str, Any]) -> bool | None:
    """True: done; False: changed meanwhile; None: unreadable."""
    account_id: UUID = row["account_id"]
    old = SealedTokens(row["key_id"], row["token_ciphertext"], row["refresh_token_ciphertext"])
    try:
        new = keys.seal(account_id, keys.open(account_id, old))
    except PenstockError as error:
        if error.code is not Code.ACCOUNT_TOKEN_UNREADABLE:
            raise
        _log.error("%s", error.message)
        return None
    parameters = {
        "account_id": account_id,
        "access": new.access,
        "refresh": new.refresh,
        "key_id": new.key_id,
        "old_access": old.access,
        "old_refresh": old.refresh,
    }
    return connection.execute(_REPLACE, parameters).rowcount == 1
