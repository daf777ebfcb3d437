"""`penstock archive`: what left the database and was archived before."""

from typing import Any

import click

from penstock.migrations.rights import act_as_owner, may_act_as_owner
from penstock.migrations.runner import require_current
from penstock.producers.queue.audit import audit_entry
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.archives.archive import ArchiveFolder, Manifest, verify_archive
from penstock.workers.archives.restoring import Restored, restore_archive
from penstock.workers.cli.environment import open_database, worker_settings
from penstock.workers.cli.operator import login_name, reason_option, yes_option
from penstock.workers.cli.output import emit, emit_list, json_option
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.settings import WorkerSettings

_COLUMNS = ("name", "table", "rows", "size", "created_at")


@click.group(epilog="Example: penstock archive list")
def archive() -> None:
    """Archives of old partitions and old actions, in PENSTOCK_ARCHIVE_DIR: list, verify, restore."""


@archive.command("list", epilog="Example: penstock archive list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the archives, by name."""
    emit_list([found.as_dict() for found in _folder(worker_settings()).manifests()], None, as_json, _COLUMNS)


@archive.command(epilog="Example: penstock archive verify submissions_y2020m01-20261121T213000Z")
@click.argument("name", required=False)
@json_option
def verify(name: str | None, as_json: bool) -> None:
    """Read the archive NAME (all if absent) to its end and compare it with its manifest."""
    folder = _folder(worker_settings())
    found = folder.manifests() if name is None else [folder.manifest(name)]
    for manifest in found:
        verify_archive(folder, manifest)
    rows = sum(manifest.rows for manifest in found)
    emit(
        {"verified": len(found), "rows": rows},
        as_json,
        lambda: f"{len(found):,} archive(s) of {rows:,} row(s) are good",
    )


@archive.command(epilog="Example: penstock archive restore submissions_y2020m01-20261121T213000Z --reason audit --yes")
@click.argument("name")
@click.option("--in-place", is_flag=True, help="Into the table that they came from; retention takes them again.")
@reason_option
@yes_option
@json_option
def restore(name: str, in_place: bool, reason: str, yes: bool, as_json: bool) -> None:
    """Put the rows of the archive NAME into a table of their own, penstock.restored_…, or where they came from.

    What was erased since then for a person's sake comes back with them: see docs/audit.md.
    """
    settings = worker_settings()
    folder = _folder(settings)
    manifest = folder.manifest(name)
    if not yes:
        where = "where they came from" if in_place else "a table of their own"
        click.confirm(f"Restore {manifest.rows:,} row(s) of {manifest.source} into {where}?", abort=True, err=True)
    done = _restore(settings, folder, manifest, reason, in_place=in_place)
    value = {"name": name, "table": done.table, "restored": done.rows, "known": done.known}
    told = f"{done.rows:,} row(s) restored into {done.table}; {done.known:,} were there"
    emit(value, as_json, lambda: told)


def _restore(
    settings: WorkerSettings, folder: ArchiveFolder, manifest: Manifest, reason: str, *, in_place: bool
) -> Restored:
    """Restore as the owner, and record that in the same transaction.

    Raises:
        PenstockError: `STORAGE_PERMISSION_DENIED` where the login may not act as the owner.
    """
    url = settings.migration_database_url or settings.database_url
    with open_database(url) as connection, connection.transaction():
        require_current(connection)
        if not may_act_as_owner(connection):
            raise PenstockError(
                Code.STORAGE_PERMISSION_DENIED,
                f"the role {connection.info.user} may not restore archives",
                remedy="Set PENSTOCK_MIGRATION_DATABASE_URL to a login that migrates.",
            )
        act_as_owner(connection)
        done = restore_archive(connection, folder, manifest, in_place=in_place)
        details: dict[str, Any] = {"table": done.table, "rows": done.rows, "known": done.known}
        record_actions(connection, [audit_entry(login_name(), "archive.restore", manifest.name, reason, details)])
    return done


def _folder(settings: WorkerSettings) -> ArchiveFolder:
    if settings.archive_dir is None:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            "PENSTOCK_ARCHIVE_DIR is not set",
            remedy="Set it to the folder that the scheduler archives to.",
        )
    return ArchiveFolder(settings.archive_dir)
