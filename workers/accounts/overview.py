"""Accounts of all tenants as operators see them: lists, and counts. Nothing here reads a token."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from penstock.workers.accounts.account import AccountState
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.pages import Page, read_cursor, require_limit, write_cursor
from penstock.workers.telemetry.queries import timed_query

#: Parked posts of one account that are counted: more say no more.
WAITING_CEILING = 1_000
#: A token that ends within this, though nobody refreshes it when it is needed, wants a look.
ENDS_SOON = timedelta(days=7)
_ORDER = "accounts by id"

# Only those accounts' tokens end that nobody renews when they are needed: those of the calendar, whose refreshes must
# have failed for days by then, and those without a refresh token.
_ENDS_SOON = f"""
    account.state = '{AccountState.ACTIVE}' AND account.token_expires_at < now() + %(soon)s
    AND (account.refresh_due_at IS NOT NULL OR account.refresh_token_ciphertext IS NULL)
"""
_LIST = f"""
SELECT account_id, tenant, owner, platform, external_id, name, state, state_code, state_changed_at, token_expires_at,
       refresh_due_at, refreshed_at, refresh_code, created_at,
       coalesce({_ENDS_SOON}, false) AS ends_soon,
       (SELECT count(*) FROM (
            SELECT FROM penstock.scheduled_posts post
             WHERE post.account_id = account.account_id AND post.parked_at IS NOT NULL LIMIT %(ceiling)s
        ) AS waiting)::integer AS posts_waiting
  FROM penstock.social_accounts account
 WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(owner)s::text IS NULL OR owner = %(owner)s)
   AND (%(platform)s::text IS NULL OR platform = %(platform)s) AND (%(state)s::text IS NULL OR state = %(state)s)
   AND (%(after)s::uuid IS NULL OR account_id > %(after)s)
 ORDER BY account_id
 LIMIT %(rows)s
"""
_COUNTS = "SELECT platform, state, count(*) FROM penstock.social_accounts GROUP BY 1, 2"
_ENDING = f"SELECT platform, count(*) FROM penstock.social_accounts account WHERE {_ENDS_SOON} GROUP BY 1"


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account of a list.

    Attributes:
        ends_soon: its token ends within a week, and is not one that is renewed when it is needed.
        posts_waiting: posts that are due and wait for it, 1,000 at the most.
    """

    account_id: UUID
    tenant: str
    owner: str
    platform: str
    external_id: str
    name: str
    state: str
    state_code: str | None
    state_changed_at: datetime
    token_expires_at: datetime | None
    refresh_due_at: datetime | None
    refreshed_at: datetime
    refresh_code: str | None
    created_at: datetime
    ends_soon: bool
    posts_waiting: int

    def as_dict(self) -> dict[str, Any]:
        """The account as endpoints show it."""
        texts = ("tenant", "owner", "platform", "external_id", "name", "state", "state_code", "refresh_code")
        instants = ("state_changed_at", "token_expires_at", "refresh_due_at", "refreshed_at", "created_at")
        return {
            "account_id": str(self.account_id),
            **{name: getattr(self, name) for name in texts},
            **{name: None if (at := getattr(self, name)) is None else at.isoformat() for name in instants},
            "token_ends_soon": self.ends_soon,
            "posts_waiting": self.posts_waiting,
        }


@dataclass(frozen=True, slots=True)
class AccountsFilter:
    """Accounts that are all of this; what is None does not matter."""

    state: AccountState | None = None
    platform: str | None = None
    tenant: str | None = None
    owner: str | None = None


class AccountList:
    """Lists accounts. Safe to share between threads."""

    def __init__(self, pool: "ConnectionPool[psycopg.Connection]") -> None:
        self._pool = pool

    def list(self, chosen: AccountsFilter, *, limit: int = 50, cursor: str | None = None) -> Page[ListedAccount]:
        """A page of the accounts that the filter means, by id.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID` for a limit or cursor that is none.
            PenstockError: of the family `STORAGE_`.
        """
        require_limit(limit)
        after = None if cursor is None else read_cursor(cursor, _ORDER, UUID)[0]
        parameters = {name: getattr(chosen, name) for name in chosen.__slots__}
        parameters |= {"soon": ENDS_SOON, "ceiling": WAITING_CEILING, "after": after, "rows": limit + 1}
        with storage_errors(), self._pool.connection() as connection, timed_query("select", "social_accounts"):
            reader = connection.cursor(row_factory=class_row(ListedAccount))
            rows = reader.execute(_LIST.encode(), parameters, prepare=False).fetchall()
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(rows[:limit], None if last is None else write_cursor(_ORDER, last.account_id))


@dataclass(frozen=True, slots=True)
class AccountsWatch:
    """How many accounts there are, by platform and state; and by platform those whose token ends soon."""

    counts: Mapping[tuple[str, str], int]
    ending: Mapping[str, int]

    def total(self, state: AccountState) -> int:
        """Accounts of all platforms."""
        return sum(count for (_, of_state), count in self.counts.items() if of_state == state)


def watch_accounts(connection: psycopg.Connection) -> AccountsWatch:
    """Count.

    Raises:
        psycopg.Error: as any statement.
    """
    counts = connection.execute(_COUNTS).fetchall()
    ending = connection.execute(_ENDING.encode(), {"soon": ENDS_SOON}).fetchall()
    return AccountsWatch({(row[0], row[1]): int(row[2]) for row in counts}, {row[0]: int(row[1]) for row in ending})
