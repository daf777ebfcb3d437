"""`penstock migrate`: the database's schema."""

from collections.abc import Sequence
from typing import Any

import click

from penstock.migrations.runner import Migrator
from penstock.workers.backup.creation import create_backup
from penstock.workers.cli.backup import backup_settings, summary
from penstock.workers.cli.environment import environment
from penstock.workers.cli.migration_settings import MigrationSettings
from penstock.workers.cli.output import emit, emit_list, json_option


@click.group(epilog="Example: penstock migrate up")
def migrate() -> None:
    """The database's schema: bring it up, take it down, look at it."""


def _migrator() -> Migrator:
    return Migrator(MigrationSettings.from_environment(environment()).url)


@migrate.command(epilog="Example: penstock migrate up --to 3")
@click.option("--to", "target", type=click.IntRange(1), help="Stop after this version.")
@click.option("--backup", "backup_first", is_flag=True, help="Back up first, where there is work and data to lose.")
@json_option
def up(target: int | None, backup_first: bool, as_json: bool) -> None:
    """Apply what is pending. Safe on a live system, and from several places at once."""
    migrator = _migrator()
    if backup_first and _is_to_change(migrator, target):
        made = create_backup(*backup_settings(), "before a migration")
        # On standard error: the output is about the migrations.
        click.echo(summary(made), err=True)
    applied = migrator.up(target)
    _emit_changes("applied", applied, as_json)


def _is_to_change(migrator: Migrator, target: int | None) -> bool:
    """Whether the schema is there, and something of it is to be applied."""
    entries = migrator.status()
    wanted = [entry for entry in entries if target is None or entry.version <= target]
    has_schema = any(entry.state != "pending" for entry in entries)
    return has_schema and any(entry.state in {"pending", "started"} for entry in wanted)


@migrate.command(epilog="Example: penstock migrate down --to 2 --yes")
@click.option("--to", "target", type=click.IntRange(0), required=True, help="Revert everything above this version.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def down(target: int, yes: bool, as_json: bool) -> None:
    """Revert migrations. Their tables go, and what is in them."""
    if not yes:
        click.confirm(f"Revert every migration above {target}, with the data in its tables?", abort=True, err=True)
    reverted = _migrator().down(target)
    _emit_changes("reverted", reverted, as_json)


@migrate.command(epilog="Example: penstock migrate status --json")
@json_option
def status(as_json: bool) -> None:
    """List the migrations and what became of each."""
    items = [entry.as_dict() for entry in _migrator().status()]
    emit_list(items, None, as_json, ("version", "name", "state", "applied_at"))


@migrate.command(epilog="Example: penstock migrate verify")
@json_option
def verify(as_json: bool) -> None:
    """Check that every applied migration is the file that stands here, and that each role has the rights they give."""
    _migrator().verify()
    emit({"verified": True}, as_json, lambda: "every applied migration is as its file says, and so are the rights")


def _emit_changes(done: str, changes: Sequence[Any], as_json: bool) -> None:
    items = [{"version": change.version, "name": change.name} for change in changes]
    lines = [f"{done} {item['version']:04d} {item['name']}" for item in items] or ["nothing to do"]
    emit({done: items}, as_json, lambda: "\n".join(lines))
