"""What the checks ask."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime

import psycopg
import redis

from penstock.workers.health.vitals import Vitals
from penstock.workers.settings import WorkerSettings


def _unbounded() -> AbstractContextManager[None]:
    return nullcontext()


def _unknown() -> datetime | None:
    return None


@dataclass(frozen=True, slots=True)
class Sources:
    """The servers, and what is known of them.

    Attributes:
        connection: gives a connection to PostgreSQL for the length of a block.
        vitals: what processes of this machine tell of themselves; None where nobody reads their metrics.
        bounded: what surrounds each look, so that it ends in time.
        postgresql_away_since, redis_away_since: since when a server has not answered; None where it does or where
            nobody keeps an eye on it.
    """

    settings: WorkerSettings
    connection: Callable[[], AbstractContextManager[psycopg.Connection]]
    client: "redis.Redis"
    vitals: Callable[[], Vitals] | None = None
    bounded: Callable[[], AbstractContextManager[None]] = _unbounded
    postgresql_away_since: Callable[[], datetime | None] = _unknown
    redis_away_since: Callable[[], datetime | None] = _unknown
