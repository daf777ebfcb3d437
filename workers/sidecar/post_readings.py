"""What a sidecar reads of PostgreSQL about posts and accounts for `/metrics`: samples by the name of the metric."""

import psycopg

from penstock.workers.accounts.overview import watch_accounts
from penstock.workers.database.failures import storage_errors
from penstock.workers.posts.watch import watch_posts

#: As `shared_readings.Samples`.
Samples = dict[str, list[tuple[tuple[str, ...], float]]]


def read_posts(connection: psycopg.Connection) -> Samples:
    """Posts that are not out yet, and accounts. Platforms are few, so they are labels.

    Raises:
        PenstockError: of the family `STORAGE_`.
    """
    with storage_errors():
        posts, accounts = watch_posts(connection), watch_accounts(connection)
    return {
        "penstock_posts": [(labels, float(count)) for labels, count in sorted(posts.counts.items())],
        "penstock_posts_overdue_seconds": [((), posts.overdue.total_seconds())],
        "penstock_accounts": [(labels, float(count)) for labels, count in sorted(accounts.counts.items())],
        "penstock_accounts_token_ends_soon": [
            ((platform,), float(count)) for platform, count in sorted(accounts.ending.items())
        ],
    }
