"""Posts that are due and wait for their account: they go when it is active again."""

from typing import Any
from uuid import UUID

import psycopg

_RELEASE = """
UPDATE penstock.scheduled_posts SET parked_at = NULL, updated_at = now()
 WHERE account_id = %s AND parked_at IS NOT NULL
"""
# A safety net: whoever makes an account active releases its posts in the same transaction.
_RELEASE_FORGOTTEN = """
UPDATE penstock.scheduled_posts p SET parked_at = NULL, updated_at = now()
  FROM penstock.social_accounts a
 WHERE p.parked_at IS NOT NULL AND a.account_id = p.account_id AND a.state = 'active'
"""


def release_parked(connection: psycopg.Connection[Any], account_id: UUID) -> int:
    """Let the account's parked posts be claimed, in the order of their instants; returns how many there are.

    Call it in the transaction that makes the account active, after that.
    """
    return connection.execute(_RELEASE, (account_id,)).rowcount


def count_parked(connection: psycopg.Connection[Any], account_id: UUID) -> int:
    """How many posts are due and wait for the account."""
    row = connection.execute(
        "SELECT count(*) FROM penstock.scheduled_posts WHERE account_id = %s AND parked_at IS NOT NULL", (account_id,)
    ).fetchone()
    return int(row[0]) if row else 0


def release_forgotten(connection: psycopg.Connection[Any]) -> int:
    """Let parked posts of active accounts be claimed; returns how many there were. There should be none."""
    return connection.execute(_RELEASE_FORGOTTEN).rowcount
