"""Some 20,000 posts of all states at once, for what is asked of many."""

import uuid
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from tests.posts_kit import Connection, new_account

TENANTS = 3
PLATFORMS = ("instagram", "facebook", "youtube", "mastodon")

# Of a hundred posts of the past 1 is parked, 2 are late, 4 are held, 5 dead, 3 expired, 6 cancelled, 1 is of unknown
# outcome, 1 claimed and 1 being published; the rest are out. Those of the future wait, or were cancelled.
_FILL = """
INSERT INTO penstock.scheduled_posts
       (post_id, tenant, owner, account_id, platform, content, state, due_at, grace, digest, attempts, attempt_ends_by,
        published_at, claimed_by, claimed_at, parked_at)
SELECT gen_random_uuid(), 'tenant-' || n %% %(tenants)s, 'owner-' || n %% 7, (%(accounts)s::uuid[])[1 + n %% 4],
       (%(platforms)s::text[])[1 + n %% 4], '{"text": "Herons at dusk."}', p.state, p.due_at, INTERVAL '1 hour', '', 1,
       now(), CASE WHEN p.state = 'published' THEN p.due_at + INTERVAL '1 second' * (n %% 20) END,
       gen_random_uuid(), now(), CASE WHEN n %% 100 = 0 AND p.state = 'scheduled' AND p.due_at < now() THEN now() END
  FROM (
    SELECT n, date_trunc('second', now()) + INTERVAL '1 hour' * (n %% 1440 - 720) - INTERVAL '1 second' * (n %% 5)
               - INTERVAL '10 minutes' AS due_at,
           CASE WHEN n %% 1440 > 720 THEN CASE WHEN n %% 10 = 3 THEN 'cancelled' ELSE 'scheduled' END
                WHEN n %% 100 < 3 THEN 'scheduled' WHEN n %% 100 < 7 THEN 'held' WHEN n %% 100 < 12 THEN 'dead'
                WHEN n %% 100 < 15 THEN 'expired' WHEN n %% 100 < 21 THEN 'cancelled'
                WHEN n %% 100 < 22 THEN 'unknown_outcome' WHEN n %% 100 < 23 THEN 'claimed'
                WHEN n %% 100 < 24 THEN 'publishing' ELSE 'published' END AS state
      FROM generate_series(1, %(count)s) AS n
  ) AS p
"""


class Stored(NamedTuple):
    """What a test compares answers with."""

    post_id: uuid.UUID
    tenant: str
    owner: str
    account_id: uuid.UUID
    platform: str
    state: str
    due_at: datetime
    parked: bool


def fill(connection: Connection, count: int = 20_000) -> list[Stored]:
    """Store them, of an account of each platform; returns all that are stored, by their instants."""
    accounts = [new_account(connection, platform) for platform in PLATFORMS]
    values: dict[str, Any] = {"tenants": TENANTS, "accounts": accounts, "platforms": list(PLATFORMS), "count": count}
    connection.execute(_FILL, values)
    return stored(connection)


def analyze(admin_url: str) -> None:
    """What the autovacuum does some time later."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE penstock.scheduled_posts, penstock.social_accounts")


def stored(connection: Connection) -> list[Stored]:
    rows = connection.execute(
        "SELECT post_id, tenant, owner, account_id, platform, state, due_at, parked_at IS NOT NULL"
        "  FROM penstock.scheduled_posts ORDER BY due_at, post_id"
    )
    return [Stored(*row) for row in rows]
