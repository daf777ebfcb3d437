"""Whether a backup is one: it is restored into a fresh server, and held against its manifest."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.backup.comparing import Comparison, compare
from penstock.workers.backup.fresh_server import fresh_server
from penstock.workers.backup.keys import BackupKeys
from penstock.workers.backup.manifest import Manifest
from penstock.workers.backup.reading import proofread
from penstock.workers.backup.restoring import restore_backup, target
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.backup.store import Store
from penstock.workers.backup.tools import find_tools

#: As many differences are told; the rest is counted.
_TOLD = 50


def verify_by_restoring(
    settings: BackupSettings, keys: BackupKeys, manifest: Manifest, scratch: Path | None
) -> Comparison:
    """Restore into an empty database, the target or an embedded server's, and note it where all is equal.

    Raises:
        PenstockError: of the family `STORAGE_`: `STORAGE_BACKUP_DIFFERS` where it is not what it should be.
    """
    with ExitStack() as stack:
        url = settings.target_url or stack.enter_context(fresh_server(scratch))
        comparison = require_equal(manifest, restore_backup(settings, keys, manifest, url).comparison)
    now = datetime.now(UTC)
    facts = {"verified_at": now.isoformat(), "tables": comparison.tables, "rows": comparison.rows}
    Store(settings.folder, keys).note_verified(manifest.name, facts)
    return comparison


def verify_restored(settings: BackupSettings, manifest: Manifest) -> Comparison:
    """Compare the settings' target, into which the backup was restored, as it is now.

    Raises:
        PenstockError: of the family `STORAGE_`, or `CONFIG_INVALID` where there is no target.
    """
    with target(require_target(settings)) as connection:
        return require_equal(manifest, compare(connection, manifest))


def verify_file(settings: BackupSettings, keys: BackupKeys, manifest: Manifest) -> None:
    """Read the file to its end, without any server.

    Raises:
        PenstockError: of the family `STORAGE_BACKUP_`.
    """
    proofread(Store(settings.folder, keys), keys, manifest, find_tools(manifest.tool, settings.tools))


def require_equal(manifest: Manifest, comparison: Comparison) -> Comparison:
    """The comparison, which must have found nothing.

    Raises:
        PenstockError: `STORAGE_BACKUP_DIFFERS`, with the differences.
    """
    found = comparison.differences
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise PenstockError(
            Code.STORAGE_BACKUP_DIFFERS,
            f"the database is not what {manifest.name} was made of: {found[0]}{more}",
            details={"differences": list(found[:_TOLD]), "count": len(found)},
        )
    return comparison


def require_target(settings: BackupSettings) -> str:
    """The URL that backups are restored into.

    Raises:
        InvalidInputError: `CONFIG_INVALID`.
    """
    if settings.target_url is None:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            "no database is named to restore into",
            remedy="Set PENSTOCK_BACKUP_TARGET_DATABASE_URL to an empty database, as a superuser of it or its owner.",
        )
    return settings.target_url
