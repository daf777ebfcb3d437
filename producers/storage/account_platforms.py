"""What a producer may know of an account: to which platform it belongs."""

from typing import Any
from uuid import UUID

import psycopg


def platform_of(connection: psycopg.Connection[Any], tenant: str, account_id: UUID) -> str | None:
    """The platform of a tenant's account; None where it has none of that id."""
    row = connection.execute(
        "SELECT platform FROM penstock.social_accounts WHERE tenant = %s AND account_id = %s", (tenant, account_id)
    ).fetchone()
    return None if row is None else str(row[0])
