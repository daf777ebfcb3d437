"""API keys as the gateway reads them, over one asynchronous connection of its own."""

import asyncio
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict

from penstock.schemas.errors import Code, UnavailableError

#: libpq knows no shorter one.
CONNECT_WITHIN = timedelta(seconds=2)
#: A server that has not answered by then is hung up on.
ANSWER_WITHIN = timedelta(seconds=2)
#: After a failure nobody waits for the server again until this has passed.
RETRY_AFTER = timedelta(seconds=1)
#: How exact `last_used_at` is, and how often it is written for one key by all gateways together.
USE_PRECISION = timedelta(minutes=1)
#: As the workers' pool has it: a host that lost its power closes no connection.
_NETWORK_LIMITS = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2, "tcp_user_timeout": 5_000}

# Where there is no key of a prefix, a row comes all the same, of the same shape: who measures a refusal learns nothing.
_READ = """
SELECT asked.prefix,
       coalesce(k.key_id, '00000000-0000-0000-0000-000000000000'), coalesce(k.tenant, ''), coalesce(k.scopes, '{}'),
       coalesce(k.secret_id, ''), coalesce(k.digest, decode(repeat('00', 32), 'hex')), k.revoked_at IS NOT NULL,
       k.expires_at - now()
  FROM unnest(%s::text[]) AS asked (prefix)
  LEFT JOIN penstock.api_keys k ON k.prefix = asked.prefix
"""

# Several gateways see one key in use: the first writes, and whoever meets a locked or a fresh row has nothing to add.
# The rows are locked in an order, so that two gateways never wait for each other.
_NOTE_USES = """
WITH uses AS (
    SELECT key_id, now() - ago AS at FROM unnest(%(keys)s::uuid[], %(ago)s::interval[]) AS uses (key_id, ago)
), due AS (
    SELECT k.key_id, uses.at
      FROM penstock.api_keys k JOIN uses USING (key_id)
     WHERE k.last_used_at IS NULL OR k.last_used_at <= uses.at - %(precision)s
     ORDER BY k.key_id
       FOR UPDATE OF k SKIP LOCKED
)
UPDATE penstock.api_keys k SET last_used_at = due.at FROM due WHERE k.key_id = due.key_id
"""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it is stored; where there is none, one of nobody, which matches nothing.

    Attributes:
        secret_id: the secret that `digest` is keyed with; empty for nobody's.
        expires_in: how long it was still good when it was read, by PostgreSQL's clock; None for ever.
    """

    key_id: UUID
    tenant: str
    scopes: Sequence[str]
    secret_id: str
    digest: bytes = field(repr=False)
    revoked: bool
    expires_in: timedelta | None


class ApiKeyReader:
    """Reads keys, and notes that they are used. For one event loop; it connects at the first use.

    There is one connection, and one statement at a time on it: whatever is asked of a gateway, its key checks take no
    more of PostgreSQL than that.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection | None = None
        self._failed_at: float | None = None

    @property
    def is_away(self) -> bool:
        """Whether PostgreSQL did not answer when it was asked last."""
        return self._failed_at is not None

    async def read(self, prefixes: Sequence[str]) -> dict[str, StoredKey]:
        """The key of each prefix; nobody's where there is none.

        Raises:
            UnavailableError: `STORAGE_UNAVAILABLE`.
        """
        rows = await self._run(_READ, [list(prefixes)])
        return {prefix: StoredKey(*row) for prefix, *row in rows}

    async def note_uses(self, uses: Mapping[UUID, timedelta]) -> None:
        """Note how long ago each key was used last, unless that is known to about a minute.

        Raises:
            UnavailableError: `STORAGE_UNAVAILABLE`.
        """
        parameters = {"keys": list(uses), "ago": list(uses.values()), "precision": USE_PRECISION}
        await self._run(_NOTE_USES, parameters)

    async def close(self) -> None:
        """Hang up. A statement that runs fails."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _run(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        async with self._lock:
            if self._failed_at is not None and time.monotonic() < self._failed_at + RETRY_AFTER.total_seconds():
                raise _unavailable("it did not a moment ago")
            try:
                found = await self._execute(statement, parameters)
            except psycopg.Error as error:
                self._failed_at = time.monotonic()
                await self.close()
                raise _unavailable(type(error).__name__, error.sqlstate) from error
            except asyncio.CancelledError:
                # Its answer may still come, and would be taken for that of the next statement.
                await self.close()
                raise
            self._failed_at = None
            return found

    async def _execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        connection = self._connection = self._connection or await self._connect()
        patience = asyncio.get_running_loop().call_later(ANSWER_WITHIN.total_seconds(), _hang_up, connection)
        try:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall() if cursor.description else []
        finally:
            patience.cancel()

    async def _connect(self) -> psycopg.AsyncConnection:
        said = conninfo_to_dict(self._url)
        limits = {name: limit for name, limit in _NETWORK_LIMITS.items() if name not in said}
        return await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            application_name="penstock-gateway-keys",
            connect_timeout=int(CONNECT_WITHIN.total_seconds()),
            prepare_threshold=None,  # a pooler may give each statement another server connection
            **limits,  # type: ignore[arg-type]  # numbers by the names of libpq's options
        )


def _hang_up(connection: psycopg.AsyncConnection) -> None:
    """End a wait for an answer: it fails as if the server had hung up. A server that stands still heeds no cancel."""
    # A second descriptor of the same socket: closing it leaves libpq its own.
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as end:
        end.shutdown(socket.SHUT_RDWR)


def _unavailable(*why: str | None) -> UnavailableError:
    told = f"API keys can't be looked up: PostgreSQL does not answer ({', '.join(filter(None, why))})"
    return UnavailableError(Code.STORAGE_UNAVAILABLE, told)
