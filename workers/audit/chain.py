"""How the audit's chain stands: its newest seal, and what waits for the next one."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from penstock.workers.audit.seals import SEAL_COLUMNS, Seal

#: Counting more than this says no more.
CEILING = 10_000

_NEWEST = f"SELECT {SEAL_COLUMNS} FROM penstock.audit_seals ORDER BY number DESC LIMIT 1"
_WAITING = """
SELECT (SELECT count(*) FROM (SELECT FROM penstock.audit_unsealed LIMIT %s) AS found),
       (SELECT now() - added_at FROM penstock.audit_unsealed ORDER BY added_at, action_id LIMIT 1)
"""


@dataclass(frozen=True, slots=True)
class ChainState:
    """How the chain stands.

    Attributes:
        newest: the last seal; None before the first.
        waiting: actions that wait for the next one, counted up to 10,000.
        oldest: how long one of them has waited at the most.
    """

    newest: Seal | None
    waiting: int
    oldest: timedelta

    @property
    def anchor(self) -> str | None:
        """What is worth keeping elsewhere; None before the first seal."""
        return None if self.newest is None else self.newest.anchor

    @property
    def sealed_at(self) -> datetime | None:
        """When the newest seal was made."""
        return None if self.newest is None else instant_of(self.newest.sealed_at)


def newest_seal(connection: psycopg.Connection) -> Seal | None:
    """The last link; None before the first."""
    row = connection.execute(_NEWEST.encode()).fetchone()
    return None if row is None else Seal(*row)


def chain_state(connection: psycopg.Connection) -> ChainState:
    """How the chain stands; walks one small table."""
    waiting, oldest = connection.execute(_WAITING, (CEILING,)).fetchone() or (0, None)
    return ChainState(newest_seal(connection), int(waiting), oldest or timedelta(0))


def instant_of(seconds: str) -> datetime | None:
    """The instant that a seal tells, of seconds since 1970; None where somebody wrote one that is none."""
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return None
