"""`penstock migrate`: the database's schema."""

from collections.abc import Sequence
from typing import Any

import click

from penstock.migrations.runner import Migrator
from penstock.workers.cli.environment import worker_settings
from penstock.workers.cli.output import emit, emit_list, json_option


@click.group(epilog="Example: penstock migrate up")
def migrate() -> None:
    """The database's schema: bring it up, take it down, look at it."""


def _migrator() -> Migrator:
    settings = worker_settings()
    return Migrator(settings.migration_database_url or settings.database_url)


@migrate.command(epilog="Example: penstock migrate up --to 3")
@click.option("--to", "target", type=click.IntRange(1), help="Stop after this version.")
@json_option
def up(target: int | None, as_json: bool) -> None:
    """Apply what is pending. Safe on a live system, and from several places at once."""
    applied = _migrator().up(target)
    _emit_changes("applied", applied, as_json)


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
    """Check that every applied migration is the file that stands here, byte for byte."""
    _migrator().verify()
    emit({"verified": True}, as_json, lambda: "every applied migration is as its file says")


def _emit_changes(done: str, changes: Sequence[Any], as_json: bool) -> None:
    items = [{"version": change.version, "name": change.name} for change in changes]
    lines = [f"{done} {item['version']:04d} {item['name']}" for item in items] or ["nothing to do"]
    emit({done: items}, as_json, lambda: "\n".join(lines))
