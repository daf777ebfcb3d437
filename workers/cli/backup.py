"""`penstock backup`: encrypted backups of the database, and proof that they can be restored."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.backup.comparing import Comparison
from penstock.workers.backup.creation import Created, create_backup
from penstock.workers.backup.keys import BackupKeys
from penstock.workers.backup.keys import generate_key as new_key
from penstock.workers.backup.restoring import restore_backup
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.backup.store import Store
from penstock.workers.backup.verification import (
    require_equal,
    require_target,
    verify_by_restoring,
    verify_file,
    verify_restored,
)
from penstock.workers.cli.environment import environment
from penstock.workers.cli.operator import yes_option
from penstock.workers.cli.output import emit, emit_list, json_option, to_the_second

_COLUMNS = ("name", "created_at", "label", "rows", "bytes", "state", "verified_at")
_LABEL_LENGTH = 100


@click.group(epilog="Example: penstock backup create --label daily")
def backup() -> None:
    """Encrypted backups of the database: make, list, verify, restore."""


def backup_settings() -> tuple[BackupSettings, BackupKeys]:
    """What the commands need.

    Raises:
        InvalidInputError: `CONFIG_INVALID`.
    """
    settings = BackupSettings.from_environment(environment())
    return settings, BackupKeys.from_setting(settings.keys)


def _label(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not 0 < len(value) <= _LABEL_LENGTH or not value.isprintable():
        raise InvalidInputError(Code.REQUEST_USAGE, f"a label is one line of 1 to {_LABEL_LENGTH} characters")
    return value


@backup.command(epilog="Example: penstock backup create --label daily --json")
@click.option("--label", default="by hand", show_default=True, callback=_label, help="Why it is made.")
@json_option
def create(label: str, as_json: bool) -> None:
    """Back up the database, read the file back, and remove what is older than PENSTOCK_BACKUP_KEEP_DAYS."""
    begun = time.monotonic()
    made = create_backup(*backup_settings(), label)
    told = facts(made) | {"seconds": _seconds_since(begun)}
    lines = [summary(made), *(f"removed {name}" for name in made.removed)]
    emit(told, as_json, lambda: "\n".join(lines))


@backup.command("list", epilog="Example: penstock backup list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the backups, the newest first. `good` says that the files are there and authentic at a quick look."""
    settings, keys = backup_settings()
    items = [entry.as_dict() for entry in Store(settings.folder, keys).entries()]
    if not as_json:
        instants = ("created_at", "verified_at")
        items = [item | {name: to_the_second(item[name]) for name in instants} for item in items]
    emit_list(items, None, as_json, _COLUMNS)


@backup.command(epilog="Example: penstock backup verify")
@click.argument("name", required=False)
@click.option("--file-only", is_flag=True, help="Read the file to its end; start and ask no server.")
@click.option("--restored", is_flag=True, help="Compare the target as it is, which was restored before.")
@click.option(
    "--scratch",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the fresh server's data lies meanwhile; the system's temporary folder if absent.",
)
@json_option
def verify(name: str | None, file_only: bool, restored: bool, scratch: Path | None, as_json: bool) -> None:
    """Restore the backup NAME (the newest if absent) into a fresh server, and compare every table with the manifest."""
    if file_only and restored:
        raise InvalidInputError(Code.REQUEST_USAGE, "--file-only and --restored exclude each other")
    begun = time.monotonic()
    settings, keys = backup_settings()
    manifest = Store(settings.folder, keys).manifest(name)
    told: dict[str, Any] = {"name": manifest.name, "verified": True}
    if file_only:
        verify_file(settings, keys, manifest)
        told["depth"] = "file"
    elif restored:
        told |= _compared(verify_restored(settings, manifest)) | {"depth": "compared"}
    else:
        told |= _compared(verify_by_restoring(settings, keys, manifest, scratch)) | {"depth": "restored"}
    told["seconds"] = _seconds_since(begun)
    emit(told, as_json, lambda: f"{manifest.name} is good; depth: {told['depth']}, {told['seconds']} s")


@backup.command(epilog="Example: penstock backup restore penstock-20261121T020000Z-1f2e3d4c --yes")
@click.argument("name")
@yes_option
@json_option
def restore(name: str, yes: bool, as_json: bool) -> None:
    """Restore the backup NAME into the empty database PENSTOCK_BACKUP_TARGET_DATABASE_URL, and compare it."""
    begun = time.monotonic()
    settings, keys = backup_settings()
    url, manifest = require_target(settings), Store(settings.folder, keys).manifest(name)
    if not yes:
        asked = f"Restore {manifest.content.rows} rows of {manifest.created_at.isoformat()} into the target?"
        click.confirm(asked, abort=True, err=True)
    done = restore_backup(settings, keys, manifest, url)
    told = {"name": manifest.name} | _compared(require_equal(manifest, done.comparison))
    told |= {"new_logins": done.new_logins, "seconds": _seconds_since(begun)}
    emit(told, as_json, lambda: "\n".join([f"restored {manifest.name}, and equal to it", *_notes(done.new_logins)]))


@backup.command("generate-key", epilog="Example: penstock backup generate-key 2026a")
@click.argument("key_id", metavar="ID")
@json_option
def generate_key(key_id: str, as_json: bool) -> None:
    """Make a key of this ID for PENSTOCK_BACKUP_KEY. Keep it away from the backups: without it they are lost."""
    key = new_key(key_id)
    emit({"key": key}, as_json, lambda: key)


def facts(made: Created) -> dict[str, Any]:
    """A backup that was made, as commands show it."""
    manifest = made.manifest
    return {
        "name": manifest.name,
        "tables": len(manifest.content.tables),
        "rows": manifest.content.rows,
        "bytes": manifest.size,
        "removed": made.removed,
    }


def summary(made: Created) -> str:
    """The same as a line for people."""
    told = facts(made)
    return f"made {told['name']}: {told['rows']} rows of {told['tables']} tables in {told['bytes']} bytes"


def _compared(comparison: Comparison) -> dict[str, Any]:
    return {"tables": comparison.tables, "rows": comparison.rows, "definitions_compared": comparison.definitions}


def _notes(new_logins: Sequence[str]) -> list[str]:
    return [f"the login {name} was made without a password: give it one" for name in new_logins]


def _seconds_since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)
