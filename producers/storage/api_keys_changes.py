"""API keys as operators make, list and end them. Changes need the rights of `penstock_owner`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import class_row

from penstock.producers.storage.api_key_secrets import KeySecrets
from penstock.schemas.api_key import ApiKey, Scope
from penstock.schemas.errors import Code, ConflictError, InvalidInputError, NotFoundError

NAME_LENGTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedKey:
    """A key that somebody wants made. `expires_in` is counted from now; None for a key that does not expire.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where it has no scope, or its name is not one line of 1 to 100 characters.
    """

    tenant: str
    name: str
    scopes: Collection[str]
    created_by: str
    expires_in: timedelta | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= NAME_LENGTH or not self.name.isprintable() or self.name != self.name.strip():
            raise InvalidInputError(Code.REQUEST_USAGE, f"a key's name is one line of 1 to {NAME_LENGTH} characters")
        if not self.scopes:
            raise InvalidInputError(Code.REQUEST_USAGE, f"a key needs a scope at least: {', '.join(Scope)}")


@dataclass(frozen=True, slots=True)
class KeySummary:
    """What of a key may be shown. `state` is `active`, `expired` or `revoked`, by PostgreSQL's clock."""

    key_id: UUID
    tenant: str
    name: str
    prefix: str
    secret_id: str
    scopes: Sequence[str]
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: UUID | None
    last_used_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The key as commands show it."""
        instants = {name: getattr(self, name) for name in ("created_at", "expires_at", "revoked_at", "last_used_at")}
        return {
            "id": str(self.key_id),
            "tenant": self.tenant,
            "name": self.name,
            "prefix": self.prefix,
            "secret_id": self.secret_id,
            "scopes": list(self.scopes),
            "state": self.state,
            "created_by": self.created_by,
            "replaced_by": None if self.replaced_by is None else str(self.replaced_by),
        } | {name: None if at is None else at.isoformat() for name, at in instants.items()}


_COLUMNS = """
    key_id, tenant, name, prefix, secret_id, scopes,
    CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'active' END AS state,
    created_at, created_by, expires_at, revoked_at, replaced_by, last_used_at
"""

_ADD = f"""
INSERT INTO penstock.api_keys (key_id, tenant, name, prefix, secret_id, digest, scopes, created_by, expires_at)
VALUES (%(key_id)s, %(tenant)s, %(name)s, %(prefix)s, %(secret_id)s, %(digest)s, %(scopes)s, %(created_by)s,
        now() + %(expires_in)s::interval)
RETURNING {_COLUMNS}
"""

_LIST = f"""
SELECT {_COLUMNS}
  FROM penstock.api_keys
 WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
   AND (%(all)s OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())))
   AND (%(after_at)s::timestamptz IS NULL OR (created_at, key_id) < (%(after_at)s, %(after_id)s::uuid))
 ORDER BY created_at DESC, key_id DESC
 LIMIT %(limit)s
"""

_LOCK = f"SELECT {_COLUMNS} FROM penstock.api_keys WHERE key_id::text = %(name)s OR prefix = %(name)s FOR UPDATE"

_REVOKE = f"UPDATE penstock.api_keys SET revoked_at = now() WHERE key_id = %s RETURNING {_COLUMNS}"

_REPLACE = f"""
UPDATE penstock.api_keys
   SET replaced_by = %(by)s, expires_at = least(expires_at, now() + %(overlap)s::interval)
 WHERE key_id = %(key_id)s
RETURNING {_COLUMNS}
"""


def add_key(connection: psycopg.Connection, key: ApiKey, secrets: KeySecrets, wanted: WantedKey) -> KeySummary:
    """Store what checks `key`, in the caller's transaction; the key itself is stored nowhere."""
    return _one(
        connection,
        _ADD,
        {
            "key_id": uuid4(),
            "tenant": wanted.tenant,
            "name": wanted.name,
            "prefix": key.prefix,
            "secret_id": secrets.current,
            "digest": secrets.digests(key)[secrets.current],
            "scopes": sorted(set(wanted.scopes)),
            "created_by": wanted.created_by,
            "expires_in": wanted.expires_in,
        },
    )


def list_keys(
    connection: psycopg.Connection,
    tenant: str | None = None,
    *,
    ended_too: bool = False,
    after: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> list[KeySummary]:
    """A page of keys, the newest first.

    Args:
        connection: as a worker or reader logs in.
        tenant: whose; None for everybody's.
        ended_too: those that were revoked or have expired as well.
        after: only those made before this instant and id, which a page ended with.
        limit: keys of the page.
    """
    after_at, after_id = after or (None, None)
    parameters = {"tenant": tenant, "all": ended_too, "after_at": after_at, "after_id": after_id, "limit": limit}
    with connection.cursor(row_factory=class_row(KeySummary)) as cursor:
        return cursor.execute(_LIST.encode(), parameters).fetchall()


def lock_key(connection: psycopg.Connection, name: str) -> KeySummary:
    """The key of that id or prefix, locked until the caller's transaction ends.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where `name` is a key itself.
        NotFoundError: `AUTH_KEY_NOT_FOUND`.
    """
    if ApiKey.parse(name) is not None:
        told = "that is a key, and nobody should type one: name it by its id, or by what stands between pk_ and _"
        raise InvalidInputError(Code.REQUEST_USAGE, told)
    with connection.cursor(row_factory=class_row(KeySummary)) as cursor:
        found = cursor.execute(_LOCK.encode(), {"name": name.removeprefix("pk_")}).fetchone()
    if found is None:
        # What was typed is not repeated: it may be most of a key.
        raise NotFoundError(Code.AUTH_KEY_NOT_FOUND, "there is no API key of that id or prefix")
    return found


def revoke_key(connection: psycopg.Connection, key: KeySummary) -> KeySummary:
    """End a locked key now and for ever; one that is revoked already keeps its instant."""
    return key if key.revoked_at is not None else _one(connection, _REVOKE, [key.key_id])


def replace_key(connection: psycopg.Connection, old: KeySummary, new: KeySummary, overlap: timedelta) -> KeySummary:
    """Let a locked key end after `overlap`, or when it would end anyway if that is sooner, for `new` stands for it."""
    return _one(connection, _REPLACE, {"key_id": old.key_id, "by": new.key_id, "overlap": overlap})


def require_replaceable(key: KeySummary) -> None:
    """See that a key can be rotated.

    Raises:
        ConflictError: `AUTH_KEY_ENDED`.
    """
    if key.state != "active":
        raise ConflictError(Code.AUTH_KEY_ENDED, f"the API key {key.key_id} is {key.state}")
    if key.replaced_by is not None:
        told = f"the API key {key.key_id} was rotated before: {key.replaced_by} stands for it"
        raise ConflictError(Code.AUTH_KEY_ENDED, told, remedy=f"Rotate that one: {key.replaced_by}")


def _one(connection: psycopg.Connection, statement: str, parameters: Any) -> KeySummary:
    with connection.cursor(row_factory=class_row(KeySummary)) as cursor:
        found = cursor.execute(statement.encode(), parameters).fetchone()
    if found is None:
        raise NotFoundError(Code.AUTH_KEY_NOT_FOUND, "the API key is gone")
    return found
