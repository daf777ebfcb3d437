"""The manifest beside a dump: what the database held in the very snapshot that the dump shows, authenticated."""

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from hashlib import sha256
from typing import Any

from penstock.workers.backup.keys import BackupKeys, Lock
from penstock.workers.backup.sealing import damaged

_FORMAT = 1
_USE = b"manifest"


@dataclass(frozen=True, slots=True)
class TableContent:
    """What a table holds. `checksum` is the sum of a hash of each row, so that their order does not matter."""

    rows: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Role:
    """A role that the database's objects or rights name, or a member of such a one; never its password."""

    name: str
    login: bool
    inherit: bool


@dataclass(frozen=True, slots=True)
class Membership:
    """`member` is one of `role`. `inherit` and `set` are None where the server did not know them (before 16)."""

    role: str
    member: str
    admin: bool
    inherit: bool | None
    set: bool | None


@dataclass(frozen=True, slots=True)
class Content:
    """What a database holds, as far as it is compared: rows, sequences, definitions with owners and rights, roles.

    Attributes:
        tables: by qualified name; each partition is one.
        sequences: the value that was given last, by qualified name.
        definitions: a digest of each definition, by kind and name.
    """

    tables: Mapping[str, TableContent]
    sequences: Mapping[str, int]
    definitions: Mapping[str, str]
    roles: Sequence[Role]
    memberships: Sequence[Membership]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables.values())


@dataclass(frozen=True, slots=True)
class Manifest:
    """One backup.

    Attributes:
        label: why it was made, such as `daily`.
        server: the server's version as a number, 180004.
        tool: the major version of the pg_dump that wrote it.
        size: of the dump's file, in bytes; `sha256` is that file's too.
    """

    name: str
    created_at: datetime
    label: str
    database: str
    server: int
    tool: int
    release: str
    size: int
    sha256: str
    content: Content

    def seal(self, keys: BackupKeys) -> bytes:
        """The manifest's file: a line of JSON, and a line with what authenticates it."""
        body = asdict(self) | {"format": _FORMAT, "created_at": self.created_at.isoformat()}
        text = json.dumps(body, sort_keys=True, ensure_ascii=False).encode()
        lock = keys.lock()
        told = {"key_id": lock.key_id, "salt": lock.salt.hex(), "check": lock.check.hex()}
        mac = _mac(keys, lock, text)
        return text + b"\n" + json.dumps(told | {"hmac_sha256": mac}).encode() + b"\n"


def open_manifest(data: bytes, keys: BackupKeys, name: str) -> Manifest:
    """Read the manifest's file of the backup `name`.

    Raises:
        PenstockError: `STORAGE_BACKUP_DAMAGED` or `STORAGE_BACKUP_KEY_UNKNOWN`.
    """
    text, _, rest = data.partition(b"\n")
    try:
        told = json.loads(rest)
        lock = Lock(str(told["key_id"]), bytes.fromhex(told["salt"]), bytes.fromhex(told["check"]))
        mac = str(told["hmac_sha256"])
    except (ValueError, KeyError, TypeError):
        raise damaged(f"the manifest of {name} can't be read: its end is missing or was changed") from None
    if not hmac.compare_digest(_mac(keys, lock, text).encode(), mac.encode()):
        raise damaged(f"the manifest of {name} was changed")
    manifest = _parse(json.loads(text))
    if manifest.name != name:
        raise damaged(f"the manifest of {name} is that of {manifest.name}")
    return manifest


def _mac(keys: BackupKeys, lock: Lock, text: bytes) -> str:
    return hmac.new(keys.unlock(lock, _USE), text, sha256).hexdigest()


def _parse(body: Mapping[str, Any]) -> Manifest:
    if body["format"] != _FORMAT:
        raise damaged(f"the manifest has the format {body['format']}, which this release does not know")
    content = body["content"]
    known = {field.name: body[field.name] for field in fields(Manifest)}
    return Manifest(
        **known
        | {
            "created_at": datetime.fromisoformat(body["created_at"]),
            "content": Content(
                {table: TableContent(**held) for table, held in content["tables"].items()},
                content["sequences"],
                content["definitions"],
                [Role(**role) for role in content["roles"]],
                [Membership(**membership) for membership in content["memberships"]],
            ),
        }
    )
